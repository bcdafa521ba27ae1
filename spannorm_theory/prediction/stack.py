"""A stack of blocks: its wirings, and which of them stands at each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from ..moments.copies import copies
from ..moments.two_tokens import PairStep
from ..spec.architecture import Architecture
from ..spec.independence import require_independent
from .blocks import WiredBlocks


@dataclass(frozen=True)
class Stack:
    """The blocks of an architecture by wiring.

    Attributes:
        wirings: the blocks of each.
        order: for each layer, its wiring.
    """

    wirings: list[WiredBlocks]
    order: Sequence[int]

    @classmethod
    def of(cls, arch: Architecture) -> Stack:
        """Every wiring of an architecture with its layers.

        Raises:
            AssumptionError: blocks have matrices in common.
        """
        require_independent(arch)
        wirings, order = arch.wirings
        places = copies(tuple(trace for trace, _ in wirings))
        blocks = [
            WiredBlocks.of(own, trace, places, np.flatnonzero(np.equal(order, i)).astype(float))
            for i, (trace, own) in enumerate(wirings)
        ]
        return cls(blocks, order)

    @property
    def step(self) -> PairStep:
        """A step, which knows the pairs that all have in common."""
        return self.wirings[0].step

    @property
    def pairs(self) -> int:
        """Number of pairs of stream classes in the forward state."""
        return len(self.step.pairs)

    def in_order(self, found: Sequence[Array]) -> Array:
        """An array of each wiring, (its layers, ...), as one in the order of the stack's layers."""
        result = np.empty((len(self.order), *found[0].shape[1:]))
        for blocks, part in zip(self.wirings, found, strict=True):
            result[blocks.layers.astype(int)] = part
        return result

    def by_wiring(self, found: Array) -> list[Array]:
        """An array in the order of the stack's layers as one for each wiring."""
        return [found[blocks.layers.astype(int)] for blocks in self.wirings]
