r"""The kernel of a sigmoid between two tokens of one size, as a table for the loop over layers.

One error function erf(x / sqrt(2) s) with s^2 = a has, with c = q - delta, D = q^2 - c^2 and G = 2 a q + a^2,

    K = (2/pi) atan(c / root),   dK/dc = (2/pi) / root,   root = sqrt(D + G).

What are tabulated are the ratios, between the sigmoid and this one, of K, dK/dc and K(q, q, q) - K: smooth
and near 1 from one token (delta = 0) to independent ones (delta = q); beyond, K is odd in c. The table is a
bicubic spline in u = ln(1 + q/m) and ln(1 + delta/m) / u, with m = ``EVEN``; of tanh it is right to 3e-8 of
each number, covariances near zero and drops near one token included. Where q is large the ratios of dK/dc and
of the drop are functions of delta alone, up to 0.04/q, and K's own differs from 1 by one over sqrt(q): at
larger q the table is read at its largest.
"""

from __future__ import annotations

from collections.abc import Callable
from math import atan2, log1p, pi, sqrt
from typing import Any

import numpy as np

from .bicubic import bicubic, pieces
from .closed_forms import Array

#: cells in u and ln(1 + delta/m) / u
CELLS = 256, 128

#: m, below which q and delta are resolved evenly
EVEN = 0.03

#: q below which the table is made
LARGEST = 1e7

#: ratios to :func:`erf_moments` at infinite q
AT_INFINITY = 2 / pi

#: from (q, delta), 0 <= delta <= q, to K, dK/dc and K(q, q, q) - K, arrays of one shape
Exact = Callable[[Array, Array], tuple[Array, Array, Array]]


class SigmoidTable:
    """K, its drop and dK/dc of a sigmoid for tokens of one second moment."""

    def __init__(self, exact: Exact, scale: float) -> None:
        """``exact`` is what the table stands for; ``scale`` is a, of the error function that tends to one as
        this sigmoid does."""
        self.scale = scale
        self._per_u = CELLS[0] / log1p(1.01 * LARGEST / EVEN)
        rows, columns = (np.arange(cells + 1.0) for cells in CELLS)
        # ratios at q = 0 and delta = 0 are limits
        u = np.maximum(rows, 1e-8)[:, None] / self._per_u
        q, delta = np.broadcast_arrays(
            EVEN * np.expm1(u), EVEN * np.expm1(u * np.clip(columns / CELLS[1], 1e-9, 1 - 1e-9))
        )
        plain = erf_moments(q, delta, (2 * q + scale) * scale)
        ratios = [x / y for x, y in zip(exact(q, delta), plain, strict=True)]
        self._pieces = pieces(rows, columns, np.stack(ratios, axis=-1))
        self._one = np.ascontiguousarray(self._pieces[:, 0, :2, 12:])  # delta = 0
        self._cells: dict[int, tuple[list[float], list[float], list[float]]] = {}

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q, q, q) and K(q, q, q) - K (a microsecond and a half, for the layer loop)."""
        a = self.scale
        near = delta if delta <= q else 2 * q - delta
        size, apart = (q, near) if q < LARGEST else (LARGEST, min(near, LARGEST))
        c, g, u = q - near, (2 * q + a) * a, log1p(size / EVEN)
        x, y = u * self._per_u, log1p(apart / EVEN) / u * CELLS[1]
        i, k = int(x), int(y)
        if k == CELLS[1]:
            k -= 1
        one, drop, two = self._cells.get(i * CELLS[1] + k) or self._cell(i, k)
        x, y = x - i, y - k
        c0, c1, c2, c3 = one
        least, root = sqrt(g), sqrt((q + c) * near + g)
        top = atan2(q, least) * (((c0 * x + c1) * x + c2) * x + c3)
        if 2 * delta < q:
            share = c / q
            apart = near * (1 + share) * (q * q + g) / (root + share * least)
            return top, atan2(apart, least * root + q * c) * bicubic(drop, x, y)
        covariance = atan2(c, root) * bicubic(two, x, y)
        return top, top - covariance if delta <= q else top + covariance

    def _cell(self, i: int, k: int) -> tuple[list[float], list[float], list[float]]:
        """Coefficients for K of one token, for the drop and for K."""
        two, _, drop = self._pieces[i, k].tolist()
        self._cells[i * CELLS[1] + k] = cell = self._one[i, 0].tolist(), drop, two
        return cell

    def pair(self, q: Array, delta: Array) -> tuple[Any, Any, Any, Any]:
        """K and dK/dc of one token, then between two."""
        a, size, near = self.scale, np.minimum(q, LARGEST), np.minimum(delta, 2 * q - delta)
        u = np.log1p(size / EVEN)
        x, y = u * self._per_u, np.log1p(np.minimum(near, size) / EVEN) / u * CELLS[1]
        i, k = x.astype(int), np.minimum(y.astype(int), CELLS[1] - 1)
        x, y, c, g = x - i, y - k, q - near, (2 * q + a) * a
        c0, c1, c2, c3 = self._one[i].transpose(2, 1, 0)
        top, steepest = ((c0 * x + c1) * x + c2) * x + c3
        value, slope = bicubic(self._pieces[i, k, :2].transpose(2, 1, 0), x, y)
        value = AT_INFINITY + (value - AT_INFINITY) * np.sqrt(size / q)
        least, root = np.sqrt(g), np.sqrt((q + c) * near + g)
        two = np.arctan2(np.where(delta <= q, c, -c), root) * value
        return np.arctan2(q, least) * top, steepest / least, two, slope / root


def erf_moments(q: Array, delta: Array, g: Array) -> tuple[Array, Array, Array]:
    """K, dK/dc and K(q, q, q) - K, times pi/2, of erf(x / sqrt(2) s) at one token and erf(x / sqrt(2) s')
    at the other, 0 <= delta <= q.

    Args:
        g: q (s^2 + s'^2) + (s s')^2.
    """
    c = q - delta
    least, root = np.sqrt(g), np.sqrt((q + c) * delta + g)
    # the tangent of a difference of two angles, whose own difference is taken by hand
    apart = delta * (1 + c / q) * (q * q + g) / (root + c / q * least)
    return np.arctan2(c, root), 1 / root, np.arctan2(apart, least * root + q * c)
