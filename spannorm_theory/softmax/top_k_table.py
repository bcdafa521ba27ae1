"""Routing overlaps at any logit variance v, between tables at powers of e.

Lagrange's cubic in ln v goes through two tables on either side, ``LOG_STEP`` apart: through the logarithms of
A and of the sizes of the gap and of R, which change by orders of magnitude with v, and through the shapes in
t of what is left. An input of second moment 1 has a table of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import exp, floor, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from .top_k import LARGEST_V, Routing, routing
from .top_k_curve import KNOTS, MIDDLE, Curve, Overlaps, knot_below

#: step in ln v of the tables
LOG_STEP = 1.0

#: Lagrange's polynomials in f (powers 3 to 0) of tables at f = -1, 0, 1, 2
_LAGRANGE = np.array([[-1, 3, -3, 1], [3, -6, 3, 0], [-2, -3, 6, -1], [0, 6, 0, 0]]) / 6

_KNOTS: list[float] = KNOTS.tolist()

Piece = tuple[float, ...]


@dataclass(frozen=True)
class _Scaled:
    """A curve by its sizes.

    Attributes:
        logs: ln of A, of R of one token, and of what the four functions are divided by; (6,).
        pieces: of the functions over that, (knots - 1, functions, powers).
    """

    logs: Array
    pieces: Array

    @classmethod
    def of(cls, curve: Curve) -> _Scaled:
        gap, one = curve.pieces[0, 3, MIDDLE], curve.alone
        sizes = np.array([gap, one, 1.0, curve.own**2])
        sizes[sizes <= 0] = 1.0  # equal gates of all experts, or a single one
        logs = np.log([curve.own, one if one > 0 else 1e-300, *sizes])
        return cls(logs, (curve.pieces / sizes[:, None, None]).transpose(2, 0, 1))


#: the largest V that overlaps answer to
LARGEST_SPREAD = 1.0


class RoutingPlane:
    """Overlaps of top-k gates as functions of the logit variance v and of t."""

    def __init__(self, experts: int, top_k: int, renormalised: bool, unit_logits: float) -> None:
        """``unit_logits`` is v for an input of second moment 1, which is not interpolated."""
        self._kind = experts, top_k, renormalised
        self._unit_logits = unit_logits
        self._cells: dict[int, Piece] = {}
        self._tables: dict[float, _Scaled] = {}

    @cached_property
    def unit(self) -> Routing:
        """The table of an input of second moment 1."""
        return routing(*self._kind, self._unit_logits)

    @cached_property
    def _unit_pieces(self) -> tuple[list[Piece], float]:
        curve = self.unit.curve
        return list(map(tuple, curve.pieces[0].T.tolist())), curve.own

    def at(self, v: Any, t: Any) -> Overlaps:
        """Overlaps at t for logit variances v: numbers, or arrays that broadcast."""
        v, t = np.asarray(v, dtype=float), np.asarray(t, dtype=float)
        beyond = np.sqrt(np.maximum(v / LARGEST_V, 1.0))
        unit = abs(v - self._unit_logits) < 1e-9 * v
        if unit.all():
            return self.unit.curve.at(t).fewer(beyond)
        if v.size > 1:
            v, unit = np.broadcast_to(v, t.shape), np.broadcast_to(unit, t.shape)
        tables, which, weights = self._around(v.ravel(), unit.ravel())
        logs = np.einsum("kv,kvf->fv", weights, np.stack([x.logs for x in tables])[which])
        own, alone, *sizes = np.exp(logs).reshape(-1, *v.shape)
        stacked, knot = np.stack([x.pieces for x in tables]), knot_below(t)
        if v.size == 1:  # one table for all points
            pieces = np.einsum("k,kifp->fpi", weights[:, 0], stacked[which[:, 0]])[:, :, knot]
        else:
            pieces = np.einsum("kv,kvfp->fpv", weights, stacked[which, knot.ravel()])
        pieces = pieces.reshape(4, 4, *t.shape) * np.stack(sizes).reshape(4, 1, *v.shape or [1] * t.ndim)
        return Overlaps(own, alone, t, t - KNOTS[knot], pieces).fewer(beyond)

    def _around(self, v: Array, unit: NDArray[np.bool_]) -> tuple[list[_Scaled], NDArray[np.intp], Array]:
        """Tables, and the numbers and weights of the four that each logit variance lies between, (4, v)."""
        cells, weights = _between(v)
        nodes, which = np.unique(cells, return_inverse=True)
        tables, which = [self._table(LOG_STEP * node) for node in nodes], which.reshape(4, -1)
        if unit.any():  # a table of their own, alone
            which[:, unit] = len(tables)
            weights[:, unit] = 0.25
            tables.append(self._table(None))
        return tables, which, weights

    def _table(self, log_variance: float | None) -> _Scaled:
        """The table at a logarithm of v, or of an input of second moment 1."""
        key = np.inf if log_variance is None else log_variance
        if key not in self._tables:
            table = self.unit if log_variance is None else routing(*self._kind, exp(log_variance))
            self._tables[key] = _Scaled.of(table.curve)
        return self._tables[key]

    def forward(self, v: float, t: float, spread: float) -> tuple[float, float]:
        """A and A - O at one point (a microsecond, for the layer loop), the latter less by what a variance
        ``spread`` over pairs of tokens of their 1 - rho, relative to its square and at most 1, takes off.

        Raises:
            AssumptionError: that leaves a gap which no two tokens have.
        """
        pieces, own = self._unit_pieces
        i = bisect_right(_KNOTS, t, 1, len(pieces)) - 1
        size = 1.0
        if abs(v - self._unit_logits) < 1e-9 * v:
            a, b, c, d = pieces[i]
        else:
            x = log(v) / LOG_STEP
            cell = floor(x)
            x -= cell
            e3, e2, e1, e0, g3, g2, g1, g0, a3, a2, a1, a0, b3, b2, b1, b0, c3, c2, c1, c0, d3, d2, d1, d0 = (
                self._cells.get(cell * len(_KNOTS) + i) or self._cell(cell, i)
            )
            own, size = exp(((e3 * x + e2) * x + e1) * x + e0), exp(((g3 * x + g2) * x + g1) * x + g0)
            a, b = ((a3 * x + a2) * x + a1) * x + a0, ((b3 * x + b2) * x + b1) * x + b0
            c, d = ((c3 * x + c2) * x + c1) * x + c0, ((d3 * x + d2) * x + d1) * x + d0
        z = t - _KNOTS[i]
        h = ((a * z + b) * z + c) * z + d
        if spread:
            # x^2 d^2 gap/dx^2 with x = 1 - rho = 2 t^2, which is -gap/4 near rho = 1
            first, second = (3 * a * z + 2 * b) * z + c, 6 * a * z + 2 * b
            h += ((t * second + first) * t - h) * min(spread, LARGEST_SPREAD) / 8
            if not 0 <= t * h * size <= own:
                raise AssumptionError(
                    "what experts make of two tokens is expanded in V, how covariances vary over pairs, and "
                    f"this has no meaning for V = {spread:.3g} at cosine {1 - 2 * t * t:.3g}; use more "
                    "tokens, or simulate(...)"
                )
        return own, t * h * size

    def _cell(self, cell: int, i: int) -> Piece:
        """Polynomials in x of ln A, of ln of the gap's size and of the coefficients of (A - O)/t over it
        between two knots of t."""
        around = [self._table(LOG_STEP * (cell + k)) for k in range(-1, 3)]
        numbers = np.array([[x.logs[0], x.logs[2], *x.pieces[i, 0]] for x in around])
        self._cells[cell * len(_KNOTS) + i] = found = tuple((_LAGRANGE @ numbers).T.ravel().tolist())
        return found


def _between(v: Array) -> tuple[Array, Array]:
    """Of the four tables around each logit variance the ln v over ``LOG_STEP``, and the weights; (4, v)."""
    x = np.log(v) / LOG_STEP
    cell = np.floor(x)
    x -= cell
    powers = np.array([x**3, x**2, x, np.ones_like(x)])
    return cell + np.arange(-1, 3)[:, None], _LAGRANGE.T @ powers


@lru_cache(maxsize=64)
def routing_plane(experts: int, top_k: int, renormalised: bool, unit_logits: float) -> RoutingPlane:
    """The cached :class:`RoutingPlane`."""
    return RoutingPlane(experts, top_k, renormalised, unit_logits)
