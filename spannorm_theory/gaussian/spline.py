"""Cubic splines of one and of two variables, read at arrays and, for the loop over layers, at numbers; and
polynomials through few nodes.

Coefficients are those of :class:`scipy.interpolate.CubicSpline`. Outside its knots a spline goes on as its
last piece does.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebvander

from .closed_forms import Array


def through_nodes(nodes: Array, x: Array) -> Array:
    """Matrix from values at ``nodes`` to those of the polynomial through them at points x, (points, nodes).

    Errors stay small for Chebyshev nodes of [-1, 1].
    """
    degree = len(nodes) - 1
    return np.asarray(np.linalg.solve(chebvander(nodes, degree).T, chebvander(x, degree).T).T)


class Spline1D:
    """Splines of several functions of one variable, with common knots."""

    def __init__(self, x: Array, values: Array, ends: Any = "not-a-knot") -> None:
        """The splines through ``values``, (len(x), functions); ``ends`` is ``CubicSpline``'s boundary
        condition."""
        from scipy.interpolate import CubicSpline  # a third of a second, which a list does not need

        self._spline = CubicSpline(x, values, bc_type=ends)
        self._knots: list[float] = x.tolist()
        self._pieces: dict[int, list[list[float]]] = {}

    def __call__(self, x: Array) -> Array:
        """Values at an array of points; shape (functions, *x.shape)."""
        return np.asarray(np.moveaxis(self._spline(x), -1, 0))

    def at(self, x: float) -> list[float]:
        """The functions' values at one point (a microsecond)."""
        i = bisect_right(self._knots, x, 1, len(self._knots) - 1) - 1
        z = x - self._knots[i]
        return [((a * z + b) * z + c) * z + d for a, b, c, d in self._pieces.get(i) or self._piece(i)]

    def _piece(self, i: int) -> list[list[float]]:
        piece: list[list[float]] = self._spline.c[:, i].T.tolist()
        self._pieces[i] = piece
        return piece


class Spline2D:
    """Bicubic splines of several functions of two variables, on a common rectangular grid."""

    def __init__(self, x: Array, y: Array, values: Array, ends: Any = "not-a-knot") -> None:
        """The splines through ``values``, (len(x), len(y), functions); ``ends`` as in :class:`Spline1D`."""
        from scipy.interpolate import CubicSpline

        along = CubicSpline(x, values, bc_type=ends).c
        #: (power of y, cell of y, power of x, cell of x, function)
        self._c = CubicSpline(y, along, axis=2, bc_type=ends).c
        self._x, self._y = x, y
        self._knots: tuple[list[float], list[float]] = x.tolist(), y.tolist()
        self._cells: dict[tuple[int, int], list[list[list[float]]]] = {}

    def __call__(self, x: Array, y: Array) -> Array:
        """Values at points x, y of one shape; shape (functions, *x.shape)."""
        v, (p, q, r, s) = self.along_y(x, y)
        return np.asarray(((p * v + q) * v + r) * v + s)

    def along_y(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The cubics in y on which points x, y of one shape lie: the distance of y from the knot below, and
        the coefficients of powers 3 to 0 of that, (4, functions, *x.shape)."""
        i, j = (
            np.clip(np.searchsorted(knots, z, side="right") - 1, 0, len(knots) - 2)
            for knots, z in ((self._x, x), (self._y, y))
        )
        u = x - self._x[i]
        powers = np.stack([u**3, u**2, u, np.ones_like(u)], axis=-1)
        return np.asarray(y - self._y[j]), np.einsum("...abf,...b->af...", self._c[:, j, :, i], powers)

    def at(self, x: float, y: float) -> list[float]:
        """The functions' values at one point (two microseconds)."""
        v, cubics = self.cubics(x, y)
        return [((p * v + q) * v + r) * v + s for p, q, r, s in cubics]

    def cubics(self, x: float, y: float) -> tuple[float, list[list[float]]]:
        """The distance and the cubics of :meth:`along_y` at one point."""
        columns, rows = self._knots
        i = bisect_right(columns, x, 1, len(columns) - 1) - 1
        j = bisect_right(rows, y, 1, len(rows) - 1) - 1
        u, cell = x - columns[i], self._cells.get((i, j)) or self._cell(i, j)
        found = [[((a * u + b) * u + c) * u + d for a, b, c, d in powers] for powers in cell]
        return y - rows[j], found

    def _cell(self, i: int, j: int) -> list[list[list[float]]]:
        cell: list[list[list[float]]] = self._c[:, j, :, i].transpose(2, 0, 1).tolist()
        self._cells[i, j] = cell
        return cell
