"""Many blocks of one wiring at once: their recursion, solved at a few layers.

Some tens of blocks into a run of blocks of one wiring the state is a smooth function of ln l, l counting
blocks of the run: what its beginning owes to the input is forgotten, and the gains of scaling rules are
smooth in l. So the recursion x_{l+1} = F_l(x_l) is asked for at Chebyshev points in ln l alone: the
polynomial through the states there has to be, one block on, what the block makes of them. Unknowns are the
logarithms of a state's numbers; Newton's method solves for them, with derivatives of the block by
differences. What is found is compared with the block at layers between the points, and where it fails there
it is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import inf

import numpy as np
from numpy.polynomial.chebyshev import chebpts2, chebvander
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve

from ..gaussian.closed_forms import Array
from .history import per_layer

#: Chebyshev points; layers for each of a state's numbers, from which on iterating them takes longer
POINTS, WORTHWHILE = 17, 100

#: blocks that are iterated first
FIRST = 64

#: drops of a branch's output, over those that it would have if it were as unlike as streams, that are none
SMALLEST = 1e-9

#: steps of Newton's method, and those with new derivatives if the one before changed more than ``NEAR``;
#: what unknowns are moved by for these
STEPS, FRESH, NEAR, MOVE = 8, 2, 0.1, 1e-6

#: a change of unknowns by one step, and what a step with old derivatives leaves of what is missed, with which
#: it is not worth to go on
FARTHEST, SLOWEST = 5.0, 0.2

#: power of l beyond which a change from block to block is as good as none
STEEPEST = 40

#: what blocks may be missed by at the points, over what they change, and beside rounding
SOLVED, ROUNDING = 1e-9, 1e-14

#: the same between the points, as much as tables of branches are off, and beside changes that are none
MISSED, UNCHANGED = 5e-4, 1e-10

#: from a state and a layer's numbers to the state behind the block, and what its branches put out
Block = Callable[..., tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Points:
    """Chebyshev points in ln l.

    Attributes:
        at: their layers, counted from the first, which is one of them as the last is.
        between: layers between them.
        everywhere: matrix from values at the points to those at all layers.
    """

    at: NDArray[np.intp]
    between: NDArray[np.intp]
    everywhere: Array

    @classmethod
    @lru_cache(maxsize=16)
    def of(cls, before: int, layers: int) -> Points:
        """For ``layers`` blocks behind ``before`` others."""
        ends = np.log([before, before + layers - 1])
        at = np.exp(ends.mean() + np.diff(ends) / 2 * chebpts2(POINTS))
        at = np.unique(np.rint(at).astype(int)) - before
        count = len(at)

        def powers(at: NDArray[np.intp]) -> Array:
            return chebvander((2 * np.log(before + at) - ends.sum()) / np.diff(ends), count - 1)

        everywhere = powers(np.arange(layers)) @ np.linalg.inv(powers(at))
        return cls(at, (at[1:] + at[:-1]) // 2, everywhere)

    def carry(self, values: Array) -> bool:
        """Whether polynomials through the points are what ``values`` (layers, numbers) are elsewhere."""
        if (values == values[0]).all():
            return True
        missed = np.abs(self.everywhere @ values[self.at] - values).max(axis=0)
        return bool((missed <= MISSED * np.abs(values).max(axis=0)).all())


def collocated(
    block: Block, pairs: Sequence[tuple[int, int]], before: Array, given: Sequence[Sequence[Array]]
) -> tuple[Array, Array, list[float]] | None:
    """States in front of a run's next blocks and what their branches put out, each (layers, numbers), and the
    state behind them; None where these are not as smooth as they have to be.

    Args:
        pairs: pairs of streams, of the state's (q, delta).
        before: the state in front of each block so far, and behind them; (blocks + 1, numbers).
        given: the next blocks' numbers, arrays over layers, in the groups that ``block`` takes.
    """
    columns = [x for group in given for x in group]
    points = Points.of(len(before) - 1, len(columns[0]))
    if not points.carry(np.stack(columns, axis=1)):
        return None
    try:
        with np.errstate(all="ignore"):
            return _Recursion(block, pairs, given, points).solved(np.log(before))
    except (ArithmeticError, LookupError, ValueError):  # moments that no tokens have, on Newton's way
        return None


class _Recursion:
    """A run's blocks at the points; rows of arrays are layers, their columns a state's numbers."""

    def __init__(
        self,
        block: Block,
        pairs: Sequence[tuple[int, int]],
        given: Sequence[Sequence[Array]],
        points: Points,
    ) -> None:
        self._block, self._points = block, points
        self._streams = [at for at, (i, j) in enumerate(pairs) if i == j]
        self._numbers, self._between = (_by_layer(given, at) for at in (points.at, points.between))

    def solved(self, before: Array) -> tuple[Array, Array, list[float]] | None:
        """What :func:`collocated` gives."""
        everywhere, between = self._points.everywhere, self._points.between
        onward = everywhere[self._points.at[:-1] + 1]
        x = self._guess(before)
        rounding = ROUNDING * (1 + np.abs(x).max())
        last = moved = inf
        for step in range(STEPS):
            behind, outs = self._passed(x, self._numbers)
            missed = onward @ x - behind[:-1]
            size = np.abs(missed).max()
            if size < SOLVED * np.abs(behind - x).max() + rounding:
                break
            if step > FRESH and size > SLOWEST * last:
                return None
            last = size
            if step < FRESH and moved > NEAR:
                factors = lu_factor(self._slopes(x, behind, onward), check_finite=False)
            change = lu_solve(factors, missed.ravel(), check_finite=False).reshape(len(x) - 1, -1)
            x[1:] -= change
            moved = np.abs(change).max()
            if not moved < FARTHEST:
                return None
        else:
            return None
        found = everywhere @ x
        found_outs = self._carried(outs, np.exp(x))
        there, outs = self._passed(found[between], self._between)
        missed, changed = np.abs(there - found[between + 1]), np.abs(there - found[between])
        missed_outs = np.abs(outs - found_outs[between])
        states = np.exp(found)
        if (missed.max(axis=1) > MISSED * changed.max(axis=1) + UNCHANGED).any() or (
            missed_outs > MISSED * np.maximum(outs, self._like(outs, states[between]))
        ).any():
            return None
        end: list[float] = np.exp(behind[-1]).tolist()
        return states, found_outs, end

    def _guess(self, before: Array) -> Array:
        """Unknowns at the points whose change from block to block is a power of l, as of late."""
        layers = len(before) - 1
        middle = layers // 2
        ends = before[[middle - 1, middle, layers - 1, layers]]
        early, late = ends[1] - ends[0], ends[3] - ends[2]
        ratio = np.where(early * late > 0, late / early, middle / layers)
        power = 1 + np.clip(np.log(ratio) / np.log(layers / middle), -STEEPEST, 0)
        longer = np.log1p(self._points.at / layers)[:, None]
        rises = np.where(power == 0, longer, np.expm1(power * longer) / np.where(power == 0, 1, power))
        return np.asarray(ends[3] + layers * late * rises)

    def _passed(self, x: Array, numbers: Sequence[Sequence[Sequence[float]]]) -> tuple[Array, Array]:
        """Unknowns behind blocks, and what their branches put out."""
        found = [self._block(state, *one) for state, one in zip(np.exp(x).tolist(), numbers, strict=True)]
        behind, outs = (np.array(part) for part in zip(*found, strict=True))
        return np.log(behind), outs

    def _slopes(self, x: Array, behind: Array, onward: Array) -> Array:
        """Derivatives of what is missed, in the unknowns at all points but the first."""
        count, size = x[1:].shape
        moved = x[1:-1] + MOVE * np.eye(size)[:, None]
        there, _ = self._passed(moved.reshape(-1, size), self._numbers[1:-1] * size)
        slopes = np.einsum("ij,kl->ikjl", onward[:, 1:], np.eye(size))
        inner = np.arange(1, count)
        own = (there.reshape(moved.shape) - behind[1:-1]) / MOVE
        slopes[inner, :, inner - 1] -= own.transpose(1, 2, 0)
        return np.asarray(slopes.reshape(count * size, count * size))

    def _carried(self, outs: Array, states: Array) -> Array:
        """What branches put out at all layers, from that at the points."""
        logs = np.log(np.maximum(outs, SMALLEST * self._like(outs, states)))
        found = np.exp(self._points.everywhere @ logs)
        return np.where((outs == outs[0]).all(axis=0), outs[0], found)

    def _like(self, outs: Array, states: Array) -> Array:
        """Drops that outputs would have which are as unlike as a stream is, the most alike one; nothing for
        second moments."""
        share = (states[:, 1::2] / states[:, ::2])[:, self._streams].min(axis=1, keepdims=True)
        like = np.zeros_like(outs)
        like[:, 1::2] = outs[:, ::2] * share
        return like


def _by_layer(given: Sequence[Sequence[Array]], at: NDArray[np.intp]) -> list[tuple[tuple[float, ...], ...]]:
    return list(islice(zip(*(per_layer([x[at] for x in group]) for group in given), strict=False), len(at)))
