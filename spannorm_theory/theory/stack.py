"""A stack of blocks in the pair theory: its wirings, in the order of its layers, and the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, repeat

import numpy as np

from ..architecture import Architecture
from ..components.dropout import dropped
from ..components.kernels import Array
from ..components.moe import MixtureOfExperts
from ..errors import AssumptionError
from .affine import iterated
from .block import OutOfRange
from .copies import copies
from .fluctuation import Deviations
from .history import table
from .moments import norm_of_zero
from .pair import PairStep
from .segment import Segment
from .spread import Spread, walk_spread


@dataclass(frozen=True)
class Stack:
    """The blocks of an architecture by wiring.

    Attributes:
        segments: one for each wiring.
        order: for each layer, its segment.
    """

    segments: list[Segment]
    order: Sequence[int]

    @classmethod
    def of(cls, arch: Architecture) -> Stack:
        """Every wiring of an architecture with its layers."""
        traces, order = arch.wirings
        layers = [np.flatnonzero(np.equal(order, i)).astype(float) for i in range(len(traces))]
        places = copies(traces)
        return cls([Segment.of(arch, t, places, l) for t, l in zip(traces, layers, strict=True)], order)

    @property
    def step(self) -> PairStep:
        """A step, which knows the pairs that all have in common."""
        return self.segments[0].step

    @property
    def pairs(self) -> int:
        """How many pairs the forward state has."""
        return len(self.step.pairs)

    def over_layers(self, values: Callable[[Segment], Array]) -> Array:
        """An array of each segment, (layers, ...), in the order of the stack's layers."""
        return self.joined([values(segment) for segment in self.segments])

    def joined(self, found: Sequence[Array]) -> Array:
        """Arrays of the segments in the order of the stack's layers."""
        result = np.empty((len(self.order), *found[0].shape[1:]))
        for segment, part in zip(self.segments, found, strict=True):
            result[segment.layers.astype(int)] = part
        return result

    def first(self, layers: int) -> tuple[Stack, list[int]]:
        """The stack of the first ``layers`` alone, and which segments it is made of."""
        order = list(self.order[:layers])
        which = sorted(set(order))
        segments = [self.segments[i].first(order.count(i)) for i in which]
        return Stack(segments, [which.index(i) for i in order]), which

    def in_front_of(self, layer: int) -> list[float]:
        """The state there."""
        segment = self.segments[self.order[layer]]
        at = int(np.searchsorted(segment.layers, layer))
        state: list[float] = segment.known[at, : 2 * self.pairs].tolist()
        return state

    def at(self, known: Array) -> Stack:
        """The same stack where ``known`` (depth, numbers) is what the steps take."""
        return replace(self, segments=[replace(s, known=known[s.layers.astype(int)]) for s in self.segments])


def _per_layer(numbers: Sequence[Array]) -> Iterator[tuple[float, ...]]:
    """Tuples of one layer's numbers; one tuple for all layers, and without end, where these do not differ."""
    if all((x == x[0]).all() for x in numbers):
        return repeat(tuple(float(x[0]) for x in numbers))
    return zip(*(x.tolist() for x in numbers), strict=True)


def _gains(segment: Segment, branch: int, spreads: Array | None) -> Iterator[tuple[float, ...]]:
    """What the branch's transfer takes beside (q, delta), layer by layer."""
    component, gains = segment.components[branch], segment.gains[branch]
    columns = [gains[name] for name in component.takes]
    if isinstance(component, MixtureOfExperts) and spreads is not None and spreads[:, branch].any():
        columns.append(spreads[:, branch])
    return _per_layer(columns)


def forward(
    stack: Stack, state: Sequence[float], spreads: list[Array] | None = None, begin: int = 0
) -> tuple[float, ...]:
    """Iterate a stack from layer ``begin`` on; its segments keep the state and branch moments at each block,
    and what crosses it, beside those that they have of the layers in front.

    ``spreads``, for each segment V at its branches' inputs, (layers, branches), corrects branches of experts
    for it.
    """
    plans = []
    for i, segment in enumerate(stack.segments):
        transfers = [component.transfer for component in segment.components]
        if segment.dropout:
            transfers = [dropped(transfer, segment.dropout) for transfer in transfers]
        here = None if spreads is None else spreads[i]
        gains = [_gains(segment, branch, here) for branch in range(len(transfers))]
        history: list[float] = []
        done = int(np.searchsorted(segment.layers, begin))
        numbers = islice(zip(_per_layer(segment.multipliers), *gains, strict=False), done, None)
        plans.append((segment.step.forward, transfers, numbers, history, done))
    layer = begin
    try:
        for layer, which in enumerate(stack.order[begin:], begin):  # noqa: B007 - the error names it
            block, transfers, numbers, history, _ = plans[which]
            state, record = block(state, transfers, *next(numbers))
            history += record
    except OutOfRange:
        raise AssumptionError(
            f"the forward variance leaves float64's range at layer {layer}: this placement grows "
            "exponentially with depth under this scaling; predict a shallower stack, or use "
            "derive(...).iterate for constant branch gains"
        ) from None
    except ZeroDivisionError:
        raise norm_of_zero(layer) from None
    for segment, (*_, history, done) in zip(stack.segments, plans, strict=True):
        if history:
            segment.keep(table(history, len(segment.layers) - done), done)
    return tuple(state)


def finite_width(stack: Stack, start: float, width: int) -> list[float]:
    """What a finite width makes of a stack whose moments are known: its segments keep V and U at each
    branch's input.

    Args:
        start: V of the input.
        width: d.
    Returns:
        V of each stream pair behind the last block.
    """
    last = pair_spread(stack, start, width)
    network_spread(stack, width)
    return last


def network_spread(stack: Stack, width: int) -> None:
    """U alone."""
    wirings = [Deviations(segment, segment.derivatives[0], width) for segment in stack.segments]
    maps, noise = (stack.joined(found) for found in zip(*(w.recursion() for w in wirings), strict=True))
    before = iterated(maps, np.zeros(3), noise)
    for segment, wiring in zip(stack.segments, wirings, strict=True):
        segment.stray = wiring.at_branches(before[segment.layers.astype(int)])


def pair_spread(stack: Stack, start: float, width: int) -> list[float]:
    """V alone, with arguments and result of :func:`finite_width`."""
    for segment in stack.segments:
        drops = segment.known.T[2 * stack.pairs + 1 :: 2]
        answers = []
        for component, gains, (q, delta), drop, slopes in zip(
            segment.components, segment.gains, segment.branch_inputs, drops, segment.slopes, strict=True
        ):
            at = q, delta, drop, gains, slopes
            answers.append((component.response(*at), component.scatter(*at)))
        below = segment.derivatives[1]
        segment.spread = Spread(segment.step, segment.known, below, answers, 1 / width)
    return walk_spread(stack.order, [segment.spread for segment in stack.segments], [start] * stack.pairs)
