r"""Overlaps of attention rows as tables over (s^2, rho), for streams whose logits grow from block to block.

:func:`~.overlaps.saturating_overlaps` takes milliseconds of quadrature at one point; where the input of
attention keeps its second moment, all points lie on one curve, and where it does not they fill a plane. Two
tables stand for it, of the deviations from even weights (1 + s^2) / s^2 (x - x(s = 0)), which keep their
digits at small s:

    rows   P2 and J as Chebyshev series in s on [0, 8], P11 and J11 in s and y = sqrt(1 - rho), in which both
           are analytic (in rho a maximum's near ties come within 1/s^2 of rho = 1); beyond s = 8 the laws at
           large s. One table for each number of keys, some seconds.
    heads  what :func:`~.overlaps.head_overlaps` makes of them, as a bicubic spline in sigma = s / (s + 4) and
           y. All are even in both s and y, so slopes vanish at the origin. One for each number of keys and
           head width, a tenth of a second.

The error against the quadrature is below ``TOLERANCE``; most of it comes from the spline over the bend at s =
8, where the laws at large s begin.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebpts2, chebvander
from scipy.interpolate import CubicSpline

from .kernels import Array
from .overlaps import HEAD_NODES, LARGEST_S2, overlaps, query_norms

#: largest error of P2, P11, J, J11 and the tilt, in heads of 6 coordinates and more (5e-4 below)
TOLERANCE = 5e-6

#: Chebyshev nodes in s on [0, 8]; in y there are 10 + 1.5 s
ROW_NODES = 28

#: cells of the splines in sigma and y
CELLS = 192, 96

#: s at which sigma is one half
MIDDLE = 4.0


class RowTable:
    """P2, P11, J and J11 of rows of ``keys`` independent Gaussian logits."""

    def __init__(self, keys: int) -> None:
        self.even = np.array([1 / keys, 1 / keys, 1 / keys - 1 / keys**2, 1 / keys - 1 / keys**2])
        largest = float(np.sqrt(LARGEST_S2))
        x = chebpts1(ROW_NODES)
        one, two = np.empty((ROW_NODES, 2)), np.zeros((ROW_NODES, _y_nodes(largest), 2))
        for i, s in enumerate(largest * (1 + x) / 2):
            z = chebpts2(_y_nodes(s))
            rho = 1 - (1 + z) ** 2 / 2
            found = [overlaps(s * s, max(-1.0, float(r)), keys) for r in rho]
            values = np.array([(o.p11, o.j11) for o in found])
            values[0] = found[0].p2, found[0].j  # one row with itself
            values = (values - self.even[1::2]) * (1 + s**-2)
            one[i] = values[0]
            two[i, : len(z)] = np.linalg.solve(chebvander(z, len(z) - 1), values)
        inverse = np.linalg.inv(chebvander(x, ROW_NODES - 1))
        self._one, self._two = inverse @ one, np.tensordot(inverse, two, 1)

    def __call__(self, s2: Array, rho: Array) -> Array:
        """(1 + s^2) / s^2 (x - x(s = 0)) for arrays of one shape; (4, shape)."""
        found = self._resolved(np.sqrt(np.minimum(s2, LARGEST_S2)), rho)
        beyond = s2 > LARGEST_S2
        if beyond.any():
            even, at = self.even[:, None], rho[beyond]
            six, eight = (even + self._resolved(np.full_like(at, s), at) / (1 + s**-2) for s in (6.0, 8.0))
            found[:, beyond] = (_saturated(np.sqrt(s2[beyond]), six, eight) - even) * (1 + 1 / s2[beyond])
        return found

    def _resolved(self, s: Array, rho: Array) -> Array:
        y = np.sqrt(np.maximum(1 - rho.ravel(), 0))
        powers = chebvander(s.ravel() / 4 - 1, ROW_NODES - 1)
        along = np.tensordot(powers, self._two, 1)  # (points, powers of y, 2)
        p11, j11 = np.einsum("pk,pkf->fp", chebvander(np.sqrt(2) * y - 1, along.shape[1] - 1), along)
        p2, j = (powers @ self._one).T
        return np.array([p2, p11, j, j11]).reshape(4, *s.shape)


def _y_nodes(s: float) -> int:
    return 10 + int(1.5 * s)


def _saturated(s: Array, six: Array, eight: Array) -> Array:
    """The laws of :func:`~.overlaps.saturating_overlaps`, through the values at s = 6 and 8."""

    def law(at_six: Array, at_eight: Array, power: int) -> Array:
        slope = (at_six - at_eight) / (6.0**-power - 8.0**-power)
        return np.asarray(at_eight + slope * (s**-power - 8.0**-power))

    return np.array(
        [
            1 - law((1 - six[0]) * 6, (1 - eight[0]) * 8, 2) / s,
            law(six[1], eight[1], 2),
            law(six[2] * 6, eight[2] * 8, 1) / s,
            law(six[3] * 36, eight[3] * 64, 2) / s**2,
        ]
    )


class HeadTable:
    """P2, P11, J, J11 and the tilt in heads of ``head_width`` coordinates without norms."""

    def __init__(self, keys: int, head_width: int) -> None:
        rows = row_table(keys)
        self._even = float(rows.even[0])
        self._evens = np.append(rows.even, 0.0)
        self._longest = float(np.sqrt(1 + 1 / (keys - 1)))  # tokens are no more anti-correlated than that
        sigma, y = np.linspace(0, 1, CELLS[0] + 1), np.linspace(0, self._longest, CELLS[1] + 1)
        s = MIDDLE * sigma / (1 - np.minimum(sigma, 1 - 1e-6))
        s2, rho = np.broadcast_arrays(s[:, None] ** 2, 1 - y**2)
        shares, weights = query_norms(head_width)
        self._deviation = float(1 / np.sqrt(head_width * weights[HEAD_NODES // 2]))
        self._weight = float(weights[HEAD_NODES // 2])
        total = np.zeros((5, *s2.shape))
        for i, (share, weight) in enumerate(zip(shares, weights, strict=True)):
            middle = i == HEAD_NODES // 2
            for side in (-1, 1) if middle else (0,):
                cosine = np.clip(rho + side * self._deviation * (1 - rho**2), -1, 1)
                found = rows(s2 * share, cosine) * share * (1 + s2) / (1 + share * s2)
                total += weight / (1 + abs(side)) * np.array([*found, (cosine - rho) * found[3]])
        along = _spline(sigma, np.moveaxis(total, 0, -1), 0)
        # (power of y, cell of y, power of sigma, cell of sigma, overlap)
        pieces = _spline(y, along, 2)
        self._pieces = np.ascontiguousarray(pieces.transpose(3, 1, 4, 0, 2).reshape(*CELLS, 5, 16))
        self._cells: dict[tuple[int, int], tuple[list[float], list[float]]] = {}

    def forward(self, s2: float, rho: float) -> tuple[float, float]:
        """P2 and P11 at one point (some microseconds, for the layer loop)."""
        s = s2**0.5
        u, v = CELLS[0] * s / (s + MIDDLE), CELLS[1] / self._longest * max(1 - rho, 0.0) ** 0.5
        i, k = min(int(u), CELLS[0] - 1), min(int(v), CELLS[1] - 1)
        cell = self._cells.get((i, k))
        if cell is None:
            p2, p11 = self._pieces[i, k, :2].tolist()
            cell = self._cells[i, k] = p2[12:], p11  # P2 does not depend on y
        u, v = (u - i) / CELLS[0], (v - k) * self._longest / CELLS[1]
        (a, b, c, d), rest = cell
        scale = s2 / (1 + s2)
        return self._even + scale * (((a * u + b) * u + c) * u + d), self._even + scale * _bicubic(rest, u, v)

    def all(self, s2: Array, rho: Array) -> Array:
        """The five overlaps at each point; shape (5, points)."""
        s = np.sqrt(s2)
        u, v = CELLS[0] * s / (s + MIDDLE), CELLS[1] / self._longest * np.sqrt(np.maximum(1 - rho, 0))
        i, k = np.minimum(u.astype(int), CELLS[0] - 1), np.minimum(v.astype(int), CELLS[1] - 1)
        u, v = (u - i) / CELLS[0], (v - k) * self._longest / CELLS[1]
        pieces = np.moveaxis(self._pieces[i, k], -1, 0)
        found = self._evens + (s2 / (1 + s2))[:, None] * _bicubic(pieces, u[:, None], v[:, None])
        found[:, 4] += rho * found[:, 3]
        if self._deviation * 2 > 1:  # a node of the cosine beyond one, in heads of less than 6 coordinates
            over = np.maximum(rho + self._deviation * (1 - rho**2) - 1, 0)
            found[:, 4] -= self._weight / 2 * over * self._evens[3]
        return np.asarray(found.T)


def _spline(x: Array, values: Array, axis: int) -> Array:
    """(power, cell, other axes) of a cubic spline that is flat at the origin, where overlaps are even."""
    flat = 1, np.zeros_like(values.take(0, axis))
    return np.asarray(CubicSpline(x, values, axis=axis, bc_type=(flat, "not-a-knot")).c)


def _bicubic(c: Any, u: Any, v: Any) -> Any:
    """A piece's value: coefficients from v^3 u^3, v^3 u^2, ... to 1."""
    a, b, d, e = (((c[k] * u + c[k + 1]) * u + c[k + 2]) * u + c[k + 3] for k in (0, 4, 8, 12))
    return ((a * v + b) * v + d) * v + e


@lru_cache(maxsize=16)
def row_table(keys: int) -> RowTable:
    """The cached :class:`RowTable`."""
    return RowTable(keys)


@lru_cache(maxsize=32)
def head_table(keys: int, head_width: int) -> HeadTable:
    """The cached :class:`HeadTable`."""
    return HeadTable(keys, head_width)
