"""Tokens that are unlike with positions as a coordinate: Grams on a grid (T10.6 to T10.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import PositionsError
from ..gaussian.closed_forms import Array
from ..layers.attention_positions import PositionAttention
from ..layers.position_grid import PositionGrid
from ..spec.architecture import Architecture
from ..spec.graph import Branch
from .algebra import POSITIONS
from .branches import position_attention
from .tokens import Attended, Gains, Pairs, TokenGrams

#: share by which a cosine on the grid may pass 1: ten blocks after it is ten times as large
BEYOND = 1e-3


@dataclass(frozen=True)
class PositionTokens(TokenGrams):
    """Positions as a coordinate: Grams (m, m + 1) on a grid."""

    arch: Architecture
    grid: PositionGrid
    algebra = POSITIONS

    @property
    def counts(self) -> Array:
        """Tokens that each position stands for."""
        return self.grid.counts

    @property
    def pairs(self) -> Array:
        """Token pairs that each entry stands for."""
        return self.grid.pairs

    def gram(self, own: Any, between: Any) -> Array:
        """The Gram of second moments ``own`` and of covariances ``between`` two tokens."""
        m = len(self.counts)
        if np.ndim(between) == 2:
            between = between[:, :m]
        return np.column_stack([np.broadcast_to(between, (m, m)), np.broadcast_to(own, m)])

    def own(self, gram: Array) -> Array:
        """Second moment of each position."""
        return gram[:, -1]

    def of_pairs(self, gram: Array) -> Pairs:
        """Second moments of both tokens, and their covariance, for each entry."""
        q = gram[:, -1]
        second = np.column_stack([np.broadcast_to(q, (len(q), len(q))), q])
        return np.broadcast_to(q[:, None], gram.shape), second, gram

    def attention(self, branch: Branch, arch: Architecture, only_normed: bool) -> PositionAttention:
        """The component of an attention branch in a block that has the fields of ``arch``."""
        return position_attention(branch, arch, self.grid)

    def attend(self, attention: PositionAttention, gram: Array, gains: Gains, layer: int) -> Attended:
        """A branch of attention on a Gram of its inputs.

        Raises:
            PositionsError: cosines of two positions are beyond one, as errors of the grid have grown from
                block to block.
        """
        first, second, both = self.of_pairs(gram)
        if (both**2 > (1 + BEYOND) ** 2 * first * second).any():
            raise PositionsError(
                f"cosines of positions pass 1 at layer {layer}: errors of the grid of positions grow from "
                "block to block in this stack; predict a shallower stack"
            )
        return Attended(*attention.forward(gram, gains))

    def attend_back(
        self,
        attention: PositionAttention,
        gram: Array,
        output: Array,
        grad: Array,
        gains: Gains,
        layer: int,
        v: float,
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the input of attention, and squared gradients of its matrices."""
        stream, norms = attention.backward(gram, grad, gains, v)
        return stream, {name: norm / self.arch.batch for name, norm in norms.items()}
