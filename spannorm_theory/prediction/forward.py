"""The forward pass of the pair theory through a stack."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from math import sqrt

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..layers.dropout import dropped
from ..layers.experts import MixtureOfExperts
from ..moments.algebra import norm_of_zero
from ..moments.block import OutOfRange
from ..softmax.top_k_table import LARGEST_SPREAD
from .blocks import Segment
from .collocation import FIRST, WORTHWHILE, collocated
from .history import per_layer, table
from .stack import Stack

#: how many wirings that take turns are recognised
PERIODS = 1, 2, 3, 4


def forward(
    stack: Stack, state: Sequence[float], spreads: list[Array] | None = None, begin: int = 0
) -> tuple[float, ...]:
    """Pass a stack from layer ``begin`` on; its segments keep the state and branch moments at each block,
    and what crosses it, beside those that they have of the layers in front.

    Blocks are iterated, but for the later ones of long runs (:mod:`.collocation`).

    Args:
        state: in front of layer ``begin``.
        spreads: for each segment V at its branches' inputs, (layers, branches), for which branches of experts
            are corrected.
    Returns:
        the state behind the last block.
    Raises:
        AssumptionError: a second moment left float64's range, or a norm reads zeros.
    """
    passes = [
        _Pass(segment, None if spreads is None else spreads[i], begin)
        for i, segment in enumerate(stack.segments)
    ]
    layer, long = begin, FIRST + WORTHWHILE * len(state)
    for wirings, turns in _runs(stack.order, begin, long):
        turn = [passes[which] for which in wirings]
        first = FIRST if turns >= long else turns
        state = _iterated(turn, state, first, layer)
        if first < turns:
            state = _later(turn, state, first, turns - first, layer + first * len(turn))
        layer += turns * len(turn)
    for one in passes:
        one.keep()
    return tuple(state)


def _runs(order: Sequence[int], begin: int, long: int) -> Iterator[tuple[Sequence[int], int]]:
    """Wirings that take turns, and how many turns there are: as few different ones as have ``long`` runs, or
    else one."""
    which = np.array(order)
    ends = [[*(np.flatnonzero(which[p:] != which[:-p]) + p).tolist(), len(order)] for p in PERIODS]
    while begin < len(order):
        for period, end in zip(PERIODS, ends, strict=True):
            wirings = order[begin : begin + period]
            turns = (end[bisect_left(end, min(begin + period, len(order)))] - begin) // period
            if turns >= long and len(set(wirings)) == period:
                break
        else:
            wirings, turns = order[begin : begin + 1], ends[0][bisect_left(ends[0], begin + 1)] - begin
        yield wirings, turns
        begin += len(wirings) * turns


def _iterated(turn: Sequence[_Pass], state: Sequence[float], turns: int, layer: int) -> Sequence[float]:
    """The state behind some turns, the first of which is at ``layer``."""
    if len(turn) == 1:
        return turn[0].iterated(state, turns, layer)
    for first in range(layer, layer + turns * len(turn), len(turn)):
        for at, one in enumerate(turn, first):
            state = one.iterated(state, 1, at)
    return state


def _later(
    turn: Sequence[_Pass], state: Sequence[float], before: int, turns: int, layer: int
) -> Sequence[float]:
    """The same behind ``before`` turns of a run: solved, or else in two halves of their logarithm, and
    iterated where these are short."""
    if turns < WORTHWHILE * len(state) or min(state) <= 0:  # logarithms are solved for
        return _iterated(turn, state, turns, layer)
    behind = _solved(turn, state, before, turns)
    if behind is not None:
        return behind
    half = int(sqrt(before * (before + turns))) - before
    state = _later(turn, state, before, half, layer)
    return _later(turn, state, before + half, turns - half, layer + half * len(turn))


def _solved(turn: Sequence[_Pass], state: Sequence[float], before: int, turns: int) -> Sequence[float] | None:
    """The same, or None where only iteration leads there."""
    size, groups, outs = len(state), [0], [0]
    for one in turn:
        groups.append(groups[-1] + 1 + len(one.transfers))
        outs.append(outs[-1] + 2 * len(one.transfers))

    def block(at: Sequence[float], *numbers: tuple[float, ...]) -> tuple[Sequence[float], Sequence[float]]:
        found: list[float] = []
        for i, one in enumerate(turn):
            at, record = one.step.forward(at, one.transfers, *numbers[groups[i] : groups[i + 1]])
            found += record[size : size + 2 * len(one.transfers)]
        return at, found

    given = [group for one in turn for group in one.given(turns)]
    found = collocated(block, turn[0].step.pairs, turn[0].states(before, state), given)
    if found is None:
        return None
    states, put_out, behind = found
    for i, one in enumerate(turn):
        known = np.hstack([states, put_out[:, outs[i] : outs[i + 1]]])
        ends = one.step.outputs(*known.T, *given[groups[i]])
        ends = np.stack(np.broadcast_arrays(*ends, known[:, 0])[:-1], axis=1)
        states = ends[:, :size]
        one.take(np.hstack([known, ends[:, size:]]))
    return behind


class _Pass:
    """Through the blocks of one wiring.

    Attributes:
        step, transfers: its block, and what branches do there.
    """

    def __init__(self, segment: Segment, spreads: Array | None, begin: int) -> None:
        self.step, self._segment = segment.step, segment
        self.transfers = [component.transfer for component in segment.components]
        if segment.dropout:
            self.transfers = [dropped(transfer, segment.dropout) for transfer in self.transfers]
        self._columns = [segment.multipliers]
        for at, (component, gains) in enumerate(zip(segment.components, segment.gains, strict=True)):
            columns = [gains[name] for name in component.takes]
            if isinstance(component, MixtureOfExperts) and spreads is not None and spreads[:, at].any():
                columns.append(np.minimum(spreads[:, at], LARGEST_SPREAD))
            self._columns.append(columns)
        self._begin = self._done = int(np.searchsorted(segment.layers, begin))
        self._tables: list[Array] = []
        self._history: list[float] = []  # of iterated blocks that are in no table yet
        self._iterated = 0
        self._go_on()

    def _go_on(self) -> None:
        columns = [[x[self._done :] for x in group] for group in self._columns]
        self._numbers = zip(*map(per_layer, columns), strict=False)

    def iterated(self, state: Sequence[float], blocks: int, first: int) -> Sequence[float]:
        """The state behind more blocks, the first of which is number ``first`` in the stack."""
        step, transfers, history, layer = self.step.forward, self.transfers, self._history, first
        try:
            for layer, numbers in enumerate(islice(self._numbers, blocks), first):  # noqa: B007 - errors name it
                state, record = step(state, transfers, *numbers)
                history += record
        except OutOfRange:
            raise AssumptionError(
                f"the forward variance leaves float64's range at layer {layer}: this placement grows "
                "exponentially with depth under this scaling; predict a shallower stack, or use "
                "derive(...).iterate for constant branch gains"
            ) from None
        except ZeroDivisionError:
            raise norm_of_zero(layer) from None
        self._done += blocks
        self._iterated += blocks
        return state

    def given(self, blocks: int) -> list[list[Array]]:
        """Numbers of the next blocks, in the groups that ``step`` takes."""
        here = slice(self._done, self._done + blocks)
        return [[x[here] for x in group] for group in self._columns]

    def states(self, blocks: int, behind: Sequence[float]) -> Array:
        """Those in front of the last blocks, and behind them."""
        self._tabulate()
        return np.vstack([*(found[:, : len(behind)] for found in self._tables), behind])[-blocks - 1 :]

    def take(self, found: Array) -> None:
        """Go on behind the next blocks, of which all is known."""
        self._tabulate()
        self._tables.append(found)
        self._done += len(found)
        self._go_on()

    def _tabulate(self) -> None:
        if self._iterated:
            self._tables.append(table(self._history, self._iterated))
        self._history, self._iterated = [], 0

    def keep(self) -> None:
        """Give the segment what was found."""
        self._tabulate()
        if self._tables:
            self._segment.keep(np.concatenate(self._tables), self._begin)
