"""Weights of a block that are parameters, and all parameters of a random network as it is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch.nn import functional

from ..montecarlo.boundary import token_ids
from ..montecarlo.program import Program
from ..montecarlo.randomness import Purpose, Randomness
from ..montecarlo.weights import ExplicitWeights, Matrix, Weights
from ..spec.architecture import Architecture


class ParameterWeights(Weights):
    """One block's matrices and multipliers as tensors that plain operations read, so that autograd, its
    forward mode and ``torch.compile`` pass them.

    Args:
        tensors: matrices (inputs, outputs) and multipliers (width,) by name.
        matrices: the laws of the former.
        training: whether there is dropout.
    """

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], matrices: Mapping[str, Matrix], layer: int, training: bool
    ) -> None:
        super().__init__(matrices, layer)
        self._tensors, self._training = tensors, training

    def multiply(self, x: torch.Tensor, factor: float, name: str) -> torch.Tensor:
        """x times the multiplier as it is now, wherever it started."""
        return x * self._tensors[name]

    def dropout(self, x: torch.Tensor, purpose: Purpose, rate: float) -> torch.Tensor:
        """Inverted dropout of ``x`` while training, with masks of torch's own generator."""
        return functional.dropout(x, rate, self._training)

    def passed(self, kind: str, y: torch.Tensor) -> None:
        """Nothing: hooks of a module see what it puts out."""

    def _apply(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ self._tensors[name]


def of_block(program: Program, random: Randomness, layer: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Matrices and multipliers of a block of the one network of ``random``, by name: those that the explicit
    engine of ``simulate`` draws."""
    drawn = ExplicitWeights(program.matrices(layer), random, layer)
    for name in filter(lambda name: program.applies(name, layer), drawn.matrices):
        yield name, drawn.matrix(name)[0].clone()
    for name, start in program.starts(layer).items():
        yield name, torch.full((program.arch.width,), start, dtype=random.dtype, device=random.device)


def of_ends(arch: Architecture, random: Randomness) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters beside those of blocks: ``embedding`` (types, width) and ``positions`` (tokens, width) where
    the input is token ids, ``head`` (width, types) where the loss is a cross-entropy.

    ``simulate`` draws embeddings of no types but those that its step has. The table has these rows at their
    ids, and elsewhere others of that law.
    """
    n, d, step, types = arch.tokens, arch.width, arch.step_tokens, arch.vocabulary
    if arch.reads_ids:
        own, at_position = (moment**0.5 for moment in arch.embedding_moments)
        table = random.normal(0, Purpose.EMBEDDING, types * d).view(types, d)
        numbers = random.normal(0, Purpose.INPUT, (step + n) * d).view(step + n, d)
        ids = token_ids(arch, random, Purpose.IDS)[0]
        table[ids.flip(0)] = numbers[:step].flip(0)  # of several tokens of one type, the first
        yield "embedding", own / arch.embedding_multiplier * table
        if arch.position_variance:
            yield "positions", at_position * numbers[step:]
    if arch.loss == "cross-entropy":
        std = float((arch.head_gain / d) ** 0.5) / arch.logit_multiplier
        yield "head", std * random.normal(0, Purpose.LOSS, d * types).view(d, types)
