"""The blocks of one wiring at the corners of a box of stream moments and branch gains (T11.1).

Evaluated is the compiled pair step, which all rules of a placement share, with no drop between two tokens:
the moments of one token are then all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from ..moments.one_token import elementwise_numbers, weighted_gains
from ..moments.schedule import relative_gain
from ..prediction.blocks import WiredBlocks
from .branch_gains import GainBox, Gains, as_built

#: corners at which arrays are evaluated at once; more take memory, fewer take time
AT_ONCE = 1 << 14


class Corners:
    """One-token steps of the blocks of one wiring.

    Attributes:
        layers: indices of the blocks in the stack.
        step: the compiled block, which knows the pairs of streams.
        branches: the block's branches, with all their norms.
    """

    def __init__(self, blocks: WiredBlocks) -> None:
        arch = blocks.arch
        self.step = blocks.step
        self.layers = blocks.layers.astype(int)
        self.branches = [as_built(branch, arch) for branch in blocks.step.trace.branches]
        scales = [
            np.ones_like(blocks.layers) if b.elementwise else relative_gain(b, arch, blocks.layers)
            for b in self.branches
        ]
        #: multipliers of the block, then what the rule multiplies each branch by, at each layer
        self._numbers = np.array([*blocks.multipliers, *scales]).reshape(-1, len(blocks.layers))
        self._rows = self._numbers.T.tolist()

    def _walk(
        self, moments: list[Any], numbers: Any, gains: Callable[[int, Any], tuple[Any, Any]]
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Second moments of the block's sources, its multipliers and the branches' backward maps. ``gains``
        are those of a branch, for the second moment of its input."""
        count = len(self.step.coefficients)
        multipliers, scales = numbers[:count], numbers[count:]
        sources, maps = [*moments], []
        for i, (branch, entering) in enumerate(zip(self.branches, self.step.branch_inputs, strict=True)):
            u = entering(sources, _nothing(sources), multipliers)[0]
            chosen = gains(i, u)
            if branch.elementwise:
                value, slope = elementwise_numbers(branch.kind, u)
            else:
                value, slope = weighted_gains(branch, u, scales[i], chosen)
            sources.append(value)
            maps += [slope, 0.0, 0.0, 0.0]
        return sources, [*multipliers], maps

    def forward(
        self, at: int, low: Array, high: Array, boxes: Sequence[GainBox]
    ) -> tuple[Array, Array, list[Gains]]:
        """Bounds of the moments behind the block ``at`` of these, shape (pairs,), and its branches' gains.

        Args:
            low, high: bounds of the moments in front of it.
            boxes: what bounds the gains of each branch.

        Raises:
            AssumptionError: those of a branch have no bounds.
        """
        count, found = len(low), list[Gains]()
        axes = count + len(self.branches)

        def chosen(i: int, u: Any) -> tuple[Any, Any]:
            found.append(boxes[i](at, float(np.min(u)), float(np.max(u))))
            return _axis(*found[i][0], count + i, axes), 1.0

        moments = [_axis(a, b, k, axes) for k, (a, b) in enumerate(zip(low, high, strict=True))]
        sources, multipliers, _ = self._walk(moments, self._rows[at], chosen)
        values = self.step.outputs(sources, _nothing(sources), multipliers)[:count]
        return np.array([np.min(v) for v in values]), np.array([np.max(v) for v in values]), found

    def backward(self, low: Array, high: Array, gains: Array) -> tuple[Array, Array]:
        """Least and largest entries of the blocks' backward matrices, (layers, gradients, outgoing ones).

        Args:
            low, high: bounds of the moments in front of each block, (layers, pairs).
            gains: bounds of its branches' gains, (layers, branches, 2, 2).
        """
        layers = len(low)
        ends = np.concatenate(
            [np.stack([low, high], axis=2), gains.reshape(layers, 2 * len(self.branches), 2)], axis=1
        )
        corners = 2 ** int((ends[..., 0] != ends[..., 1]).any(axis=0).sum())
        count = max(1, AT_ONCE // corners)
        parts = [self._backward(slice(l, l + count), ends[l : l + count]) for l in range(0, layers, count)]
        smallest, largest = zip(*parts, strict=True)
        return np.concatenate(smallest), np.concatenate(largest)

    def _backward(self, where: slice, ends: Array) -> tuple[Array, Array]:
        """Extremes for some of the blocks, all at once; ``ends`` has shape (layers, axes, 2)."""
        layers, axes, _ = ends.shape
        pairs, rows, width = len(self.step.pairs), len(self.step.gradients), self.step.shape[1]
        sides = [_along(ends[:, k], k, axes) for k in range(axes)]
        numbers = self._numbers[:, where].reshape(-1, layers, *[1] * axes)

        def chosen(i: int, u: Any) -> tuple[Any, Any]:
            return sides[pairs + 2 * i], sides[pairs + 2 * i + 1]

        sources, multipliers, maps = self._walk(sides[:pairs], numbers, chosen)
        values = self.step.backward(sources, _nothing(sources), multipliers, maps)
        smallest, largest = np.empty((2, layers, rows, width // 2))
        for r in range(rows):
            for c in range(width // 2):
                value = np.asarray(values[2 * r * width + 2 * c])
                over = tuple(range(1, value.ndim))
                smallest[:, r, c], largest[:, r, c] = value.min(axis=over), value.max(axis=over)
        return smallest, largest


def _nothing(sources: Sequence[Any]) -> list[float]:
    """Drops of one token."""
    return [0.0] * len(sources)


def _axis(low: float, high: float, place: int, axes: int) -> Any:
    """One number, or two along the axis ``place`` of ``axes``."""
    if low == high:
        return low
    return np.array([low, high]).reshape([2 if k == place else 1 for k in range(axes)])


def _along(ends: Array, place: int, axes: int) -> Array:
    """An axis of corners for (layers, 2) numbers, layers along an axis in front of the others."""
    if (ends[:, 0] == ends[:, 1]).all():
        ends = ends[:, :1]
    return ends.reshape(len(ends), *[ends.shape[1] if k == place else 1 for k in range(axes)])
