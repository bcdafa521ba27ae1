"""Changes that a small step of matrices makes in one network: derivatives in autograd's forward mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.autograd import forward_ad

from ..modules.parameters import ParameterWeights
from ..modules.transformer import Transformer
from ..montecarlo.program import Program
from ..montecarlo.randomness import Purpose, Randomness
from ..montecarlo.weights import Matrix, dropped

Tensors = Mapping[str, torch.Tensor]
Streams = tuple[torch.Tensor, ...]


class Watched(ParameterWeights):
    """Parameters that keep what matrices read and branches put out; dropout has the network's own masks.

    Attributes:
        read: input of each matrix by name.
        put_out: output of each branch, by the prefix of its matrices' names.
    """

    def __init__(
        self, tensors: Tensors, matrices: Mapping[str, Matrix], random: Randomness, layer: int
    ) -> None:
        super().__init__(tensors, matrices, layer, training=True)
        self._random = random
        self.read: dict[str, torch.Tensor] = {}
        self.put_out: dict[str, torch.Tensor] = {}

    def dropout(self, x: torch.Tensor, purpose: Purpose, rate: float) -> torch.Tensor:
        """Inverted dropout of ``x``; the mask is the same whenever the block is computed."""
        return dropped(x, self._random, self._layer, purpose, rate)

    def passed(self, kind: str, y: torch.Tensor) -> None:
        """Keep what a branch puts out."""
        self.put_out[BRANCHES.get(kind, kind)] = y

    def _apply(self, x: torch.Tensor, name: str) -> torch.Tensor:
        self.read[name] = x
        return super()._apply(x, name)


#: branches by what rows of a table call them
BRANCHES = {"attention": "attn", "ffn": "ffn"}


@dataclass(frozen=True)
class Network:
    """One network on the sequences of one step.

    Attributes:
        start: streams in front of the first block, all of which are one; (1, tokens of a step, width).
    """

    model: Transformer
    program: Program
    random: Randomness
    start: torch.Tensor

    def tensors(self, layer: int) -> dict[str, torch.Tensor]:
        """The parameters of a block, cut off from differentiation."""
        return {name: x.detach() for name, x in self.model.block(layer).tensors.items()}

    def block(self, layer: int, streams: Streams, tensors: Tensors) -> tuple[Streams, Watched]:
        """The streams after block ``layer`` with these parameters, and what was seen on the way."""
        weights = Watched(tensors, self.program.matrices(layer), self.random, layer)
        # a stream that passes a block untouched is another tensor behind it
        return tuple(1.0 * x for x in self.program.block(layer, streams, weights)), weights

    def streams_moved(self, changes: Sequence[Tensors]) -> tuple[list[Streams], torch.Tensor]:
        """First-order change of the streams behind every block, and of the output behind the readout, by
        changes of the matrices of every block."""
        with torch.no_grad(), forward_ad.dual_level():
            streams, moved = (self.start,) * self.program.streams, []
            for layer, change in enumerate(changes):
                streams, _ = self.block(layer, streams, _dual(self.tensors(layer), change))
                moved.append(tuple(map(_tangent, streams)))
            return moved, _tangent(self.program.readout(streams))

    def branch_moved(self, layer: int, streams: Streams, change: Tensors, branch: str) -> torch.Tensor:
        """First-order change of what a branch puts out by changes of its own matrices, where it reads the
        same."""
        own = {name: x for name, x in change.items() if name.startswith(f"{branch}.")}
        with torch.no_grad(), forward_ad.dual_level():
            _, seen = self.block(layer, streams, _dual(self.tensors(layer), own))
            return _tangent(seen.put_out[branch])


def _dual(tensors: Tensors, change: Tensors) -> dict[str, torch.Tensor]:
    """Parameters of which those that change have a direction."""
    return {name: _moving(x, change[name]) if name in change else x for name, x in tensors.items()}


def _moving(x: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = forward_ad.make_dual(x, direction)  # type: ignore[no-untyped-call]
    return found


def _tangent(x: torch.Tensor) -> torch.Tensor:
    """The direction in which a tensor moves; zero where nothing moves it."""
    primal, tangent = forward_ad.unpack_dual(x)  # type: ignore[no-untyped-call]
    return torch.zeros_like(primal) if tangent is None else tangent
