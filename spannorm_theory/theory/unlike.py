"""The forward pass and V of a stack whose experts answer to how unlike pairs of tokens are.

V follows from the moments, and where experts read it, moments from V (:mod:`.spread`). Where the input's is
too small to notice, the stack is iterated without it. Where it is not, it settles within tens of layers but
for a slow drift: the first ones are iterated until it has, and the whole stack with the V that they lead one
to expect. Then once more with what is found, where that is noticeably different somewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..components.kernels import Array
from ..components.moe import MixtureOfExperts
from ..components.routing_plane import LARGEST_SPREAD
from .stack import Stack, forward, pair_spread

#: d times a change of V up to which what experts make of it, 1/8 of that of a gap, is of an order 1/d that is
#: left out
NOTICEABLE = 8

#: layers that are iterated first; and how many times as many are, while V changes by this factor in the
#: second half of them
FIRST, MORE, MUCH = 64, 2.5, 2.0


def settled(
    stack: Stack, start: Sequence[float], spread: float, width: int
) -> tuple[tuple[float, ...], list[float]]:
    """The state behind the last block, and V of each stream pair there; segments keep both.

    Args:
        start: state in front of the first block.
        spread: V there.
        width: d.
    """
    experts = [
        [i for i, component in enumerate(segment.components) if isinstance(component, MixtureOfExperts)]
        for segment in stack.segments
    ]
    expected = None
    if any(experts) and spread > NOTICEABLE / width:
        expected = _expected(stack, start, spread, width)
    state = forward(stack, start, expected)
    last = pair_spread(stack, spread, width)
    found = [segment.spread.branches for segment in stack.segments]
    pairs = zip(found, expected or map(np.zeros_like, found), experts, strict=True)
    if any(_noticeable(a[:, at], b[:, at], width) for a, b, at in pairs):
        state = forward(stack, start, found)
    return state, last


def _noticeable(found: Array, expected: Array, width: int) -> bool:
    """Whether experts make something else of one V than of another, beside the next order in V."""
    low, high = (
        f(np.minimum(found, LARGEST_SPREAD), np.minimum(expected, LARGEST_SPREAD))
        for f in (np.minimum, np.maximum)
    )
    return bool((high - low > NOTICEABLE / width + low**2 / 2).any())


def _expected(stack: Stack, start: Sequence[float], spread: float, width: int) -> list[Array]:
    """V at each branch's input, (layers, branches) by segment: of the first layers, and how it goes on."""
    expected = [np.zeros((len(segment.layers), len(segment.components))) for segment in stack.segments]
    layers, moving = min(FIRST, len(stack.order)), True
    while moving:
        head, which = stack.first(layers)
        forward(head, start, [expected[i] for i in which])
        pair_spread(head, spread, width)
        found = dict(zip(which, (segment.spread.branches for segment in head.segments), strict=True))
        by_layer = head.over_layers(lambda segment: segment.spread.branches[:, -1])
        last = layers - 1
        quarter, middle, end = np.minimum(by_layer[[last // 4, last // 2, last]], LARGEST_SPREAD).tolist()
        for i, segment in enumerate(stack.segments):
            known = found.get(i, np.empty((0, expected[i].shape[1])))
            expected[i][: len(known)] = known
            expected[i][len(known) :] = _drift(quarter, middle, end, segment.layers[len(known) :] / layers)[
                :, None
            ]
        less, more = sorted((middle, end))
        moving = more - less > NOTICEABLE / width and more > MUCH * less and layers < len(stack.order)
        layers = min(int(MORE * layers), len(stack.order))
    return expected


def _drift(quarter: float, middle: float, end: float, layers: Array) -> Array:
    """V at multiples of a depth, from that at a quarter of it, at half and at its end: steps from doubling to
    doubling shrink geometrically, as those of a power and its limit do, or stay, as a logarithm's."""
    last, before = end - middle, middle - quarter
    ratio = min(max(last / before, 0.0), 1.0) if before else 0.0
    doublings = np.log2(layers)
    steps = doublings if ratio == 1 else ratio * (1 - ratio**doublings) / (1 - ratio)
    return np.asarray(np.clip(end + last * steps, 0.0, LARGEST_SPREAD))
