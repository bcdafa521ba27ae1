"""The forward pass and V of a stack whose experts answer to how unlike pairs of tokens are.

V follows from the moments, and where experts read it, moments from V (:mod:`.pair_variance`). It settles
within tens of layers but for a slow drift: the first ones are iterated until it has, and the others with the
V that they lead one to expect. Then once more with what is found, from the first layer on where that is
noticeably different.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.experts import MixtureOfExperts
from ..softmax.top_k_table import LARGEST_SPREAD
from .forward import forward
from .stack import Stack, pair_spread

#: d times a change of V up to which what experts make of it, 1/8 of that of a gap, is of an order 1/d that is
#: left out; and such a change that moves gaps by less than their table's own error (:mod:`.routing`)
NOTICEABLE, TABLES = 8, 0.02

#: layers that are iterated first; how many times as many are, while V rises by this factor in the second half
#: of them; and how often at most
FIRST, MORE, MUCH, ROUNDS = 64, 2.5, 1.5, 6

#: V below which it is as good as zero
SMALLEST_SPREAD = 1e-12


def settled(
    stack: Stack, start: Sequence[float], spread: float, width: int
) -> tuple[tuple[float, ...], list[float]]:
    """The state behind the last block, and V of each stream pair there; segments keep both.

    Args:
        start: state in front of the first block.
        spread: V there.
        width: d.
    """
    if not any(isinstance(c, MixtureOfExperts) for segment in stack.segments for c in segment.components):
        return forward(stack, start), pair_spread(stack, spread, width)
    expected = [np.zeros((len(segment.layers), len(segment.components))) for segment in stack.segments]
    state, layers = _first_layers(stack, start, spread, width, expected)
    state = forward(stack, state, expected, layers)
    last = pair_spread(stack, spread, width)
    found = [segment.spread.branches for segment in stack.segments]
    again = _noticeable(stack, found, expected, width)
    if again is not None:
        state = forward(stack, stack.in_front_of(again), found, again)
    return state, last


def _noticeable(stack: Stack, found: list[Array], expected: list[Array], width: int) -> int | None:
    """The first layer whose experts make something else of one V than of another, beside the next order in
    V."""
    layers: list[float] = []
    for segment, one, other in zip(stack.segments, found, expected, strict=True):
        experts = [isinstance(component, MixtureOfExperts) for component in segment.components]
        a, b = (np.minimum(v[:, experts], LARGEST_SPREAD) for v in (one, other))
        apart = np.abs(a - b) > _least(width) + np.minimum(a, b) ** 2 / 2
        layers += segment.layers[apart.any(axis=1)][:1].tolist()
    return int(min(layers)) if layers else None


def _first_layers(
    stack: Stack, start: Sequence[float], spread: float, width: int, expected: list[Array]
) -> tuple[Sequence[float], int]:
    """Iterate the first layers, whose moments the segments then know: the state behind them, and how many
    they are. ``expected`` becomes V as it is there and as it goes on, or stays zero where that is as good."""
    nothing, layers = [np.zeros_like(v) for v in expected], min(FIRST, len(stack.order))
    for _ in range(ROUNDS):
        head, which = stack.first(layers)
        taken = [expected[i][: len(part.layers)] for i, part in zip(which, head.segments, strict=True)]
        state = forward(head, start, taken)
        pair_spread(head, spread, width)
        found = [part.spread.branches for part in head.segments]
        changed = _noticeable(head, found, taken, width) is not None
        by_layer = head.over_layers(lambda part: part.spread.branches[:, -1])
        last = layers - 1
        quarter, middle, end = np.minimum(by_layer[[last // 4, last // 2, last]], LARGEST_SPREAD).tolist()
        for i, segment in enumerate(stack.segments):
            here = found[which.index(i)] if i in which else expected[i][:0]
            expected[i][: len(here)] = here
            drift = _drift(quarter, middle, end, segment.layers[len(here) :] / layers)
            expected[i][len(here) :] = drift[:, None]
        if end - middle > _least(width) and end > MUCH * middle and layers < len(stack.order):
            layers = min(int(MORE * layers), len(stack.order))
        elif not changed:
            break
    if changed:
        state = forward(head, start, found)
    if _noticeable(stack, expected, nothing, width) is None:
        for v in expected:
            v[:] = 0.0
    for i, part in zip(which, head.segments, strict=True):
        stack.segments[i].known, stack.segments[i].across = part.known, part.across
    return state, len(head.order)


def _drift(quarter: float, middle: float, end: float, layers: Array) -> Array:
    """V at multiples of a depth, from that at a quarter of it, at half and at its end. From doubling to
    doubling the steps of a rise towards a limit shrink geometrically, or stay, as a logarithm's; where V
    falls those of its logarithm do, as a power's."""
    falls = end < middle
    points = np.maximum([quarter, middle, end], SMALLEST_SPREAD)
    before, last = np.diff(np.log(points) if falls else points).tolist()
    ratio = min(last / before, 1.0) if before * last > 0 else float(falls)
    doublings = np.log2(layers)
    steps = doublings if ratio == 1 else ratio * (1 - ratio**doublings) / (1 - ratio)
    ahead = end * np.exp(last * steps) if falls else end + last * steps
    return np.asarray(np.minimum(ahead, LARGEST_SPREAD))


def _least(width: int) -> float:
    """The least change of V that is noticed."""
    return max(NOTICEABLE / width, TABLES)
