r"""Bounds on forward variance and gradient for every token correlation rho, r in [0, 1] (T11.1, T11.3).

A block's step is monotone in each branch's gain and in each incoming moment (tests sample the interior of the
boxes), so its extremes over the box of all of them lie at corners, and intervals are iterated block by block.
On the way the second moment u at each branch's input has an interval of its own, and the branch's gains their
extremes over it and over the rule's gains of that layer: one point behind a norm; for a feed-forward branch
on an unnormed stream, sizes between the stream's bounds. An element-wise function phi in a norm's place is a
formula in u, E phi^2 rising and E phi'^2 falling with it, which is checked between the bounds of u.
Attention's gains have extremes over (rho, r); under a mask, and where u is not one number, it is bounded for
any weights, with a backward gain in s_O s_V [1/n, n + (n + 1) v]: loose, as it must hold for weights that all
pick one key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import AssumptionError
from ..base.quantities import Key
from ..gaussian.closed_forms import Array
from ..moments.scaled_product import scaled_product
from ..moments.two_tokens import PairStep
from ..prediction.blocks import WiredBlocks
from ..prediction.boundary import loss_interval
from ..prediction.stack import Stack
from ..spec.architecture import Architecture
from .branch_gains import UNIT, GainBox, Gains, Interval
from .corners import Corners


def gain_intervals(arch: Architecture) -> dict[str, Gains] | None:
    """Intervals of the gains of each kind of branch, forward and backward, over all layers and correlations.

    Relative to the second moment of its input (where that matters) and to the scaling rule's gains on the
    value path; None where a branch's gain is not bounded.
    """
    box = forward_box(arch)
    if box is None:
        return None
    found: dict[str, list[Gains]] = {}
    for l, gains in enumerate(box.gains):
        for branch, both in zip(box.block(l).branches, gains, strict=True):
            if not branch.elementwise:
                found.setdefault(branch.kind, []).append(both)
    return {kind: (_hull([x for x, _ in both]), _hull([x for _, x in both])) for kind, both in found.items()}


def _hull(intervals: list[Interval]) -> Interval:
    return min(low for low, _ in intervals), max(high for _, high in intervals)


@dataclass(frozen=True)
class ForwardBox:
    """The forward half of the bounds.

    Attributes:
        wirings: the blocks of each wiring, at the corners of the bounds.
        order: for each layer, its wiring.
        lows, highs: bounds of the pairs' second moments in front of each block and behind the
            last, (layers + 1, pairs).
        gains: bounds of the forward and the backward gain of each branch of each block.
    """

    wirings: list[Corners]
    order: Sequence[int]
    lows: Array
    highs: Array
    gains: list[list[Gains]]

    @property
    def step(self) -> PairStep:
        """A step, which knows the pairs that all have in common."""
        return self.wirings[0].step

    def block(self, layer: int) -> Corners:
        """The wiring of a layer."""
        return self.wirings[self.order[layer]]


def forward_box(arch: Architecture) -> ForwardBox | None:
    """Bounds of the streams' second moments and of the branches' gains; None where there are none."""
    try:
        return _forward(arch, Stack.of(arch))
    except AssumptionError:  # no bound of a branch's gains, or a kernel that does not converge at its sizes
        return None


def _forward(arch: Architecture, stack: Stack) -> ForwardBox:
    wirings = [Corners(blocks) for blocks in stack.wirings]
    boxes = [[GainBox(s, i) for i in range(len(s.components))] for s in stack.wirings]
    low = high = np.full(stack.pairs, arch.input_second_moment)
    lows, highs, gains = [low], [high], []
    places = [iter(range(arch.depth)) for _ in wirings]
    for which in stack.order:
        low, high, found = wirings[which].forward(next(places[which]), low, high, boxes[which])
        lows.append(low)
        highs.append(high)
        gains.append(found)
    return ForwardBox(wirings, stack.order, np.array(lows), np.array(highs), gains)


def bounds(arch: Architecture, *, gradients: bool = True) -> dict[Key, tuple[Array, Array]]:
    """Lower and upper bounds of ``variance`` and ``grad_variance`` by stream, natural logarithms, (depth +
    1,).

    The gradient starts with what the loss allows at the model's output. Empty where no bound is known: where
    u has none that a kernel can be computed at (a gated branch on an unnormed stream squares it in every
    block); under dropout of attention weights, unless tokens are exchangeable and u is one number; and for a
    norm inside attention under these conditions, as rows of few keys then weigh more, or all the same.

    Args:
        gradients: without them only the variance, which for several streams is much less work.
    """
    if arch.attention_dropout and not arch.exchangeable:
        return {}
    forward = forward_box(arch)
    if forward is None:
        return {}
    streams, step = range(arch.definition.streams), forward.step
    at = [step.own[place] for place in step.places]
    with np.errstate(divide="ignore"):  # a stream may be zero
        low, high = np.log(forward.lows[:, at]), np.log(forward.highs[:, at])
    found = {(str(s), "variance"): (low[:, s], high[:, s]) for s in streams}
    backward = _backward(arch, forward) if gradients else None
    if backward is not None:
        low, high = backward
        at = [step.gradients.index((s, s)) for s in streams]
        found |= {(str(s), "grad_variance"): (low[:, at[s]], high[:, at[s]]) for s in streams}
    return found


def _backward(arch: Architecture, forward: ForwardBox) -> tuple[Array, Array] | None:
    """Bounds of the logarithms of the gradient moments, (depth + 1, pairs of streams) each; None where
    streams are subtracted."""
    trace = arch.readout
    readout = Corners(WiredBlocks.of(arch, trace, forward.step.places, np.zeros(1)))
    none = np.array([[(UNIT, UNIT)] * len(readout.branches)])
    low, high = (x[0, :, 0] for x in readout.backward(forward.lows[-1:], forward.highs[-1:], none))
    smallest, largest = _matrices(forward)
    if min(low.min(), smallest.min()) < 0:
        return None
    # every entry and every gradient moment is non-negative, so the map is monotone in each
    ends = zip((smallest, largest), (low, high), np.log(loss_interval(arch)), strict=True)
    products = [scaled_product(matrices, behind, float(shift)) for matrices, behind, shift in ends]
    with np.errstate(divide="ignore"):  # there may be no lower bound but zero
        least, most = (np.log(mantissas[::-1]) + exponents[::-1, None] for mantissas, exponents in products)
    return least, most


def _matrices(forward: ForwardBox) -> tuple[Array, Array]:
    """Least and largest entries of the blocks' backward matrices, the last block first."""
    smallest, largest = np.empty((2, len(forward.order), *[len(forward.step.gradients)] * 2))
    for wiring in forward.wirings:
        at = wiring.layers
        gains = np.array([forward.gains[l] for l in at])
        smallest[at], largest[at] = wiring.backward(forward.lows[at], forward.highs[at], gains)
    return smallest[::-1], largest[::-1]
