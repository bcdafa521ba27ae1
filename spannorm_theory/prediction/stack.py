"""A stack of blocks in the pair theory: its wirings, in the order of its layers, and what a finite width
makes of its moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..moments.copies import copies
from ..moments.two_tokens import PairStep
from ..spec.architecture import Architecture
from .affine import iterated
from .blocks import Segment
from .network_variance import Deviations
from .pair_variance import Spread

#: steps of Newton's method for V, which takes 2 to 7, and the relative change by one that is the last
ROUNDS, SETTLED = 20, 1e-5


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
    """V alone, with arguments and result of :func:`finite_width`.

    Raises:
        AssumptionError: its recursion is not solved.
    """
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
    now = np.full((len(stack.order) + 1, stack.pairs), start)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(ROUNDS):
            found = [segment.spread.passed(now[segment.layers.astype(int)]) for segment in stack.segments]
            behind, slopes = (stack.joined(part) for part in zip(*found, strict=True))
            # V behind a block is what is added and of degree one in V; its tangent is solved for all layers
            added = behind - np.einsum("lij,lj->li", slopes, now[:-1])
            before, now = now, iterated(slopes, now[0], added)
            if not (np.abs(now - before) > SETTLED * np.abs(now)).any():
                break
        else:
            raise AssumptionError(
                f"V, how covariances vary over token pairs, does not settle in {ROUNDS} steps of Newton's "
                "method; use a shallower stack, or simulate(...)"
            )
    return [float(v) for v in now[-1]]
