r"""Overlaps of top-k gates at any logit variance v and any t = sqrt((1 - rho)/2) (T7.1 to T7.4).

Bicubic splines in ln v and t go through :mod:`.top_k`'s samples at four powers of e around v: of the
logarithms of A and of the sizes of the gap and of R, which change by orders of magnitude with v, and of the
shapes in t of what is left. They are right to 4e-3 between powers; an input of second moment 1 has a spline
of its own, in t alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import exp, floor, log
from typing import Any

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..gaussian.spline import Spline2D
from .gates import Gates
from .top_k import KNOTS, LARGEST_V, MIDDLE, SMALLEST_V, GateStatistics, gate_statistics

#: the largest V (T9.1) that gaps answer to: their expansion is of second order in the spread (T7.4)
LARGEST_PAIR_VARIANCE = 1.0

#: relative difference of v up to which it is that of an input of second moment 1, as that of a norm with an
#: epsilon is: ln A and the logarithms of the gap and of R move by less than ln v does
AT_UNIT = 1e-3

#: size that stands for zero where a logarithm is taken
LEAST = 1e-300


@dataclass(frozen=True)
class GateOverlaps:
    """Overlaps of pairs of tokens at points t, arrays of one shape.

    Attributes:
        own: A.
        alone: R of one token.
        t: the points.
        z: distance of t from the knot below.
        cubics: coefficients of powers 3 to 0 of z, of (A - O)/t, R, C and U_S/t; (4, 4, *shape).
    """

    own: Array
    alone: Array
    t: Array
    z: Array
    cubics: Array

    @property
    def gap(self) -> Array:
        """A - O."""
        return self.t * self._value(0)

    @property
    def gap_slope(self) -> Array:
        """d gap / dt."""
        (a, b, c, _), z = self.cubics[:, 0], self.z
        return np.asarray(self._value(0) + self.t * ((3 * a * z + 2 * b) * z + c))

    @property
    def router(self) -> Array:
        """R."""
        return self._value(1)

    @property
    def common(self) -> Array:
        """C."""
        return self._value(2)

    @property
    def scatter(self) -> Array:
        """U_S."""
        return self.t * self._value(3)

    def _value(self, function: int) -> Array:
        (a, b, c, d), z = self.cubics[:, function], self.z
        return np.asarray(((a * z + b) * z + c) * z + d)


class GateTable:
    """Overlaps of top-k gates, times a factor, as functions of the logit variance v and of t."""

    def __init__(self, gates: Gates, unit_logits: float, factor: float = 1.0) -> None:
        """``unit_logits`` is v for an input of second moment 1, which is not interpolated."""
        self._kind, self._square = gates, factor**2
        self._unit_logits = unit_logits
        self._splines: dict[float, tuple[Spline2D, Spline2D]] = {}

    @cached_property
    def unit(self) -> GateStatistics:
        """Statistics of an input of second moment 1."""
        return gate_statistics(self._kind, self._unit_logits)

    def at(self, v: Any, t: Any) -> GateOverlaps:
        """Overlaps at t for logit variances v: numbers, or arrays that broadcast."""
        v, t = np.broadcast_arrays(np.asarray(v, dtype=float), np.asarray(t, dtype=float))
        x, z, cubics = (
            np.log(np.clip(v, SMALLEST_V, LARGEST_V)),
            np.empty(t.shape),
            np.empty((4, 7, *t.shape)),
        )
        cells = np.where(abs(v - self._unit_logits) < AT_UNIT * v, np.inf, np.floor(x))
        for cell in np.unique(cells).tolist():
            here = cells == cell
            z[here], cubics[:, :, here] = self._around(cell)[0].along_y(x[here], t[here])
        own, gap, alone = self._square * np.exp(cubics[3, :3])
        alone = np.where(
            alone > 2 * LEAST * self._square, alone, 0.0
        )  # a single renormalised gate is one, whatever logits say
        # beyond the largest v near ties become rare
        alone = alone / np.sqrt(np.maximum(v / LARGEST_V, 1.0))
        sizes = np.stack([gap, alone, np.ones_like(own), own**2])
        return GateOverlaps(own, alone, t, z, cubics[:, 3:] * sizes)

    def forward(self, v: float, t: float, pair_variance: float) -> tuple[float, float]:
        """A and the mean gap A - O at one point (a few microseconds, for the loop over layers).

        Args:
            v, t: logit variance, and sqrt((1 - rho)/2).
            pair_variance: V, by which the mean gap over pairs is less (T7.4); taken as
                ``LARGEST_PAIR_VARIANCE`` at most.

        Raises:
            AssumptionError: V leaves a gap which no two tokens have.
        """
        x = log(min(max(v, SMALLEST_V), LARGEST_V))
        cell = np.inf if abs(v - self._unit_logits) < AT_UNIT * v else floor(x)
        z, ((*_, own), (*_, size), (a, b, c, d)) = self._around(cell)[1].cubics(x, t)
        own, size = self._square * exp(own), self._square * exp(size)
        h = ((a * z + b) * z + c) * z + d
        if pair_variance:
            # x^2 d^2 gap/dx^2 with x = 1 - rho = 2 t^2, which is -gap/4 near rho = 1
            first, second = (3 * a * z + 2 * b) * z + c, 6 * a * z + 2 * b
            h += ((t * second + first) * t - h) * min(pair_variance, LARGEST_PAIR_VARIANCE) / 8
            if not 0 <= t * h * size <= own:
                raise AssumptionError(
                    "what experts make of two tokens is expanded in V, how covariances vary over pairs, and "
                    f"this has no meaning for V = {pair_variance:.3g} at cosine {1 - 2 * t * t:.3g}; use "
                    "more tokens, or simulate(...)"
                )
        return own, t * h * size

    def _around(self, cell: float) -> tuple[Spline2D, Spline2D]:
        """Splines between ln v = ``cell`` and ``cell`` + 1, of the functions of :func:`_columns` and of the
        three that the loop over layers reads; an infinite cell is that of an input of second moment 1."""
        if cell not in self._splines:
            if cell == np.inf:
                x, statistics = log(self._unit_logits) + np.arange(2.0), [self.unit] * 2
            else:
                x = cell + np.arange(-1.0, 3.0)
                statistics = [gate_statistics(self._kind, exp(y)) for y in x.tolist()]
            values = np.stack([_columns(one) for one in statistics])
            self._splines[cell] = Spline2D(x, KNOTS, values), Spline2D(x, KNOTS, values[..., [0, 1, 3]])
        return self._splines[cell]


def _columns(found: GateStatistics) -> Array:
    """ln A, the logarithms of the sizes of the gap and of R, and (A - O)/t, R, C and U_S/t over these sizes,
    at the knots of t; (knots, 7)."""
    sizes = np.maximum([found.own, found.values[MIDDLE, 0], found.alone], LEAST)
    shapes = found.values / [sizes[1], sizes[2], 1.0, found.own**2]
    return np.hstack([np.broadcast_to(np.log(sizes), (len(KNOTS), 3)), shapes])


@lru_cache(maxsize=64)
def gate_table(gates: Gates, unit_logits: float, factor: float = 1.0) -> GateTable:
    """The cached :class:`GateTable`."""
    return GateTable(gates, unit_logits, factor)
