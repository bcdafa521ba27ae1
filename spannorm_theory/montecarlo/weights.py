"""Real weight matrices: the reference engine.

A weight set is one block's matrices for a batch of networks; ``weights(x, name)`` applies one to tensors
of shape (networks, tokens, inputs). Its backward pass gives the gradient at the input and leaves each
matrix's squared gradient norm in ``grad_norms`` without forming the gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..base.errors import InputError
from ..base.quantities import Key
from ..layers.multiplier_op import Multiply
from .draws import drawn
from .metrics import gram, product_norm, token_modes
from .randomness import Purpose, Randomness


@dataclass(frozen=True)
class Matrix:
    """The law of one weight matrix: ``inputs`` x ``outputs`` entries of mean 0 and variance std^2, which are
    independent and normal unless :func:`.draws.drawn` says otherwise; what it puts out is multiplied by
    ``factor``."""

    inputs: int
    outputs: int
    std: float
    draw: str = "normal"
    factor: float = 1.0


class Weights(ABC):
    """One block's weight matrices for a batch of networks, each to be applied at most once.

    Attributes:
        matrices: their laws by name.
        grad_norms: after a backward pass |dLoss/dW|_F^2 of each matrix, float64 of shape (networks,).
        gradients: dLoss/dW itself, kept in place of its norm where this is a mapping.
        observed: what branches measured of themselves on the way, per (stream, quantity) one tensor
            (networks,).
        whole: whether a matrix's random numbers depend on how many tokens it is applied to.
    """

    whole = False

    def __init__(self, matrices: Mapping[str, Matrix], layer: int) -> None:
        self.matrices = matrices
        self.grad_norms: dict[str, torch.Tensor] = {}
        self.gradients: dict[str, torch.Tensor] | None = None
        self.observed: dict[Key, torch.Tensor] = {}
        self._layer = layer
        self._used: set[str] = set()

    def __call__(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """x W for the matrix called ``name``, times its factor; shape (networks, tokens, outputs)."""
        if name in self._used:
            raise InputError(
                f"the matrix {name} of block {self._layer} is applied twice; a block has one attention and "
                "one feed-forward branch, each used once"
            )
        self._used.add(name)
        y, factor = self._apply(x, name), self.matrices[name].factor
        return y if factor == 1 else y * factor

    @abstractmethod
    def multiply(self, x: torch.Tensor, factor: float, name: str) -> torch.Tensor:
        """x times the learnt multiplier called ``name``, which starts at ``factor``."""

    @abstractmethod
    def dropout(self, x: torch.Tensor, purpose: Purpose, rate: float) -> torch.Tensor:
        """Inverted dropout of ``x``."""

    @abstractmethod
    def passed(self, kind: str, y: torch.Tensor) -> None:
        """Told of ``y``, which the branch of this ``kind`` puts out."""

    @abstractmethod
    def _apply(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """``x`` times a matrix that has not been used yet."""


class RandomWeights(Weights):
    """Weights of random networks, which are a function of their random numbers."""

    def __init__(self, matrices: Mapping[str, Matrix], random: Randomness, layer: int) -> None:
        super().__init__(matrices, layer)
        self._random = random

    def multiply(self, x: torch.Tensor, factor: float, name: str) -> torch.Tensor:
        """x times ``factor``; leaves the squared gradient of the multiplier in ``grad_norms``."""
        y: torch.Tensor = Multiply.apply(x, factor, name, self.grad_norms)  # type: ignore[no-untyped-call]
        return y

    def dropout(self, x: torch.Tensor, purpose: Purpose, rate: float) -> torch.Tensor:
        """Inverted dropout of ``x``; the mask is the same whenever the block is computed."""
        return dropped(x, self._random, self._layer, purpose, rate)

    def passed(self, kind: str, y: torch.Tensor) -> None:
        """Nothing: streams are measured, not branches."""


def dropped(x: torch.Tensor, random: Randomness, layer: int, purpose: Purpose, rate: float) -> torch.Tensor:
    """Inverted dropout of ``x`` by the masks of random networks."""
    if not rate:
        return x
    kept = random.kept(layer, purpose, x.numel() // len(random.networks), rate)
    return x * kept.view(x.shape).to(x.dtype) / (1 - rate)


class ExplicitWeights(RandomWeights):
    """Matrices that are drawn and multiplied by."""

    def __init__(self, matrices: Mapping[str, Matrix], random: Randomness, layer: int) -> None:
        super().__init__(matrices, random, layer)
        sizes = [m.inputs * m.outputs for m in matrices.values()]
        numbers = random.normal(layer, Purpose.FORWARD, sum(sizes))
        entries = torch.split(numbers, sizes, 1)
        self._entries = {
            name: drawn(part.view(-1, matrix.inputs, matrix.outputs), matrix.draw)
            for (name, matrix), part in zip(matrices.items(), entries, strict=True)
        }

    def matrix(self, name: str) -> torch.Tensor:
        """The matrix called ``name``; shape (networks, inputs, outputs)."""
        return self._entries[name] * self.matrices[name].std

    def _apply(self, x: torch.Tensor, name: str) -> torch.Tensor:
        z, std = self._entries[name], self.matrices[name].std
        y: torch.Tensor = ExplicitProduct.apply(x, z, std, name, self)  # type: ignore[no-untyped-call]
        return y

    def received(self, name: str, x: torch.Tensor, g: torch.Tensor) -> None:
        """Keep what the matrix called ``name`` receives, X^T G or its squared norm."""
        if self.gradients is None:
            self.grad_norms[name] = weight_grad_norm(x, g)
        else:
            self.gradients[name] = torch.bmm(token_modes(x).mT, token_modes(g))


class ExplicitProduct(torch.autograd.Function):
    """y = std X Z with Z the standardised matrix; says on the way back what W = std Z receives."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, z: torch.Tensor, std: float, name: str, weights: ExplicitWeights
    ) -> torch.Tensor:
        """std X Z."""
        ctx.save_for_backward(x, z)
        ctx.std, ctx.name, ctx.weights = std, name, weights
        return torch.bmm(x, z).mul_(std)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """std G Z^T."""
        x, z = ctx.saved_tensors
        (g,) = grads
        ctx.weights.received(ctx.name, x, g)
        return torch.bmm(g, z.mT).mul_(ctx.std), None, None, None, None


def weight_grad_norm(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """|X^T G|_F^2 by whichever product is smaller; float64 of shape (networks,)."""
    tokens, inputs, outputs = *x.shape[1:], g.shape[2]
    if tokens * (inputs + outputs) < inputs * outputs:
        return product_norm(gram(token_modes(x)), gram(token_modes(g)))
    gradient = torch.bmm(token_modes(x).mT, token_modes(g))
    return gradient.double().square().sum((1, 2))
