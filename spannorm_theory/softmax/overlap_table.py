r"""Overlaps of attention rows as tables over (s^2, rho), for streams whose logits grow from block to block.

:func:`~.overlaps.saturating_overlaps` takes milliseconds of quadrature at one point; where the input of
attention keeps its second moment, all points lie on one curve, and where it does not they fill a plane. Two
tables stand for it:

    rows   P2, J and E |M z|^2 as Chebyshev series in s on [0, 8], P11 and J11 in s and y = sqrt(1 - rho), in
           which both are analytic (in rho a maximum's near ties come within 1/s^2 of rho = 1); beyond s = 8
           the laws at large s. One for each number of keys, some seconds.
    heads  what :func:`~.overlaps.head_overlaps` makes of them, as bicubic splines in sigma = s / (s + 4) and
           y, and the lean of rows (:mod:`.query_bias`). One for each number of keys and head width, a tenth
           of a second.

Logits multiply overlaps by s^2, and rows of even weights take off 1/n; so that both keep their digits, rows
hold x_0 = x(s = 0) apart, and heads hold with w = 1 + s^2

    w^{1/2} / s^2 (P2 - 1/n) / (1 - P2),   w / s^2 (P11 - 1/n),   w^{1/2} J of queries and of keys,
    w J11,   w times the tilt and the swing,

all even in s and y and finite at both ends of s.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebpts2, chebvander

from ..gaussian.bicubic import bicubic, pieces
from ..gaussian.closed_forms import Array
from .overlaps import LARGEST_S2, overlaps, query_norms, saturated
from .query_bias import MIDDLE, row_leans

#: Chebyshev nodes in s on [0, 8]; in y there are 10 + 1.5 s
ROW_NODES = 28

#: cells of the splines in sigma and y
CELLS = 192, 96


class RowTable:
    """:class:`~.overlaps.Overlaps` of rows of ``keys`` independent Gaussian logits."""

    def __init__(self, keys: int) -> None:
        self.even = np.array(overlaps(0.0, 0.0, keys))
        largest = float(np.sqrt(LARGEST_S2))
        x = chebpts1(ROW_NODES)
        one, two = np.empty((ROW_NODES, 3)), np.zeros((ROW_NODES, _y_nodes(largest), 2))
        for i, s in enumerate(largest * (1 + x) / 2):
            z = chebpts2(_y_nodes(s))
            rho = 1 - (1 + z) ** 2 / 2
            found = [overlaps(s * s, max(-1.0, float(r)), keys) for r in rho]
            p2, p11, j, j11, along = (np.array(found) - self.even).T * (1 + s**-2)
            one[i] = p2[0], j[0], along[0]
            p11[0], j11[0] = p2[0], j[0]  # one row with itself
            two[i, : len(z)] = np.linalg.solve(chebvander(z, len(z) - 1), np.stack([p11, j11], axis=-1))
        inverse = np.linalg.inv(chebvander(x, ROW_NODES - 1))
        self._one, self._two = inverse @ one, np.tensordot(inverse, two, 1)

    def __call__(self, s2: Array, rho: Array) -> tuple[Array, Array]:
        """The overlaps x and (1 + s^2) / s^2 (x - x_0) for arrays of one shape; each (5, shape)."""
        near = np.minimum(s2, LARGEST_S2)
        rise = self._resolved(np.sqrt(near), rho)
        even = self.even.reshape(5, *[1] * s2.ndim)
        found = even + near / (1 + near) * rise
        beyond = s2 > LARGEST_S2
        if beyond.any():
            far, at, even = s2[beyond], rho[beyond], even.reshape(5, 1)
            six = even + 36 / 37 * self._resolved(np.full_like(at, 6.0), at)
            found[:, beyond] = saturated(np.sqrt(far), six, found[:, beyond])
            rise[:, beyond] = (found[:, beyond] - even) * (1 + 1 / far)
        return found, rise

    def _resolved(self, s: Array, rho: Array) -> Array:
        y = np.sqrt(np.maximum(1 - rho.ravel(), 0))
        powers = chebvander(s.ravel() / 4 - 1, ROW_NODES - 1)
        along = np.tensordot(powers, self._two, 1)  # (points, powers of y, 2)
        p11, j11 = np.einsum("pk,pkf->fp", chebvander(np.sqrt(2) * y - 1, along.shape[1] - 1), along)
        p2, j, along = (powers @ self._one).T
        return np.array([p2, p11, j, j11, along]).reshape(5, *s.shape)


def _y_nodes(s: float) -> int:
    return 10 + int(1.5 * s)


class HeadTable:
    """:class:`~.overlaps.HeadOverlaps` and the lean in heads of ``head_width`` coordinates without norms."""

    def __init__(self, keys: int, head_width: int) -> None:
        self._even = 1 / keys
        self._longest = float(np.sqrt(1 + 1 / (keys - 1)))  # tokens are no more anti-correlated than that
        sigma, y = np.linspace(0, 1, CELLS[0] + 1), np.linspace(0, self._longest, CELLS[1] + 1)
        s = MIDDLE * sigma / (1 - np.minimum(sigma, 1 - 1e-7))
        s2, rho = np.broadcast_arrays(s[:, None] ** 2, 1 - y**2)
        w = 1 + s2
        rows, deviation = row_table(keys), (1 - rho**2) / np.sqrt(head_width)
        (*_, j11, _), (_, rise_two, *_) = rows(s2, rho)
        rise_two, j11, tilt, swing = -rise_two, -j11, -rho * j11, np.zeros_like(w)
        for cosine in (np.clip(rho - deviation, -1, 1), np.clip(rho + deviation, -1, 1)):
            found, rise = rows(s2, cosine)
            rise_two += rise[1] / 2
            j11 += found[3] / 2
            tilt += cosine * found[3] / 2
            swing += (cosine - rho) * found[3] / 2
        closed, rise_one, query, key = np.zeros((4, *s2.shape))
        for share, weight in zip(*query_norms(head_width), strict=True):
            found, rise = rows(s2 * share, rho)
            rise *= share * w / (1 + share * s2)
            closed += weight * (1 - found[0])
            rise_one += weight * rise[0]
            rise_two += weight * rise[1]
            query += weight * (found[2] + (found[4] - found[2]) / head_width)
            key += weight * share * found[2]
            j11 += weight * found[3]
            tilt += weight * share * rho * found[3]
        rows_alone = np.sqrt(w) * query, np.sqrt(w) * key
        values = [rise_one / (np.sqrt(w) * closed), rise_two, *rows_alone, w * j11, w * tilt, w * swing]
        # overlaps are even, and flat at the origin
        x, y = (np.arange(count + 1.0) for count in CELLS)
        self._pieces = pieces(x, y, np.stack(values, axis=-1), ("clamped", "not-a-knot"))
        self._leans = row_leans(keys, head_width).cubics(CELLS[0])
        self._per_y = CELLS[1] / self._longest
        self._cells: dict[int, tuple[list[float], ...]] = {}

    def forward(self, s2: float, rho: float) -> tuple[float, float, float]:
        """P2, P11 and the lean at one point (a microsecond and a half, for the layer loop)."""
        s, w = sqrt(s2), 1 + s2
        x, y = CELLS[0] * s / (s + MIDDLE), self._per_y * sqrt(1 - rho) if rho < 1 else 0.0
        i, k = int(x), int(y)
        if i == CELLS[0]:
            i -= 1
        if k == CELLS[1]:
            k -= 1
        (a, b, c, d), two, (e, f, g, h), (l, m, n, o) = self._cells.get(i * CELLS[1] + k) or self._cell(i, k)
        x, y, r, even = x - i, y - k, s2 / w, self._even
        odds = (((a * x + b) * x + c) * x + d) * r * sqrt(w)
        fixed, more = ((e * x + f) * x + g) * x + h, ((l * x + m) * x + n) * x + o
        lean = r * (fixed / sqrt(w) + rho * (2 - rho) * more)
        return 1 - (1 - even) / (1 + odds), even + r * bicubic(two, x, y), lean

    def _cell(self, i: int, k: int) -> tuple[list[float], ...]:
        """Coefficients for P2, which does not depend on y, for P11 and for the lean."""
        one, two = self._pieces[i, k, :2].tolist()
        self._cells[i * CELLS[1] + k] = cell = one[12:], two, *self._leans[i].tolist()
        return cell

    def all(self, s2: Array, rho: Array) -> Array:
        """The overlaps at each point; shape (8, points)."""
        s, w = np.sqrt(s2), 1 + s2
        x, y = CELLS[0] * s / (s + MIDDLE), self._per_y * np.sqrt(np.maximum(1 - rho, 0))
        i, k = np.minimum(x.astype(int), CELLS[0] - 1), np.minimum(y.astype(int), CELLS[1] - 1)
        here = self._pieces[i, k].transpose(2, 1, 0)
        odds, two, query, key, j11, tilt, swing = bicubic(here, x - i, y - k)
        root = np.sqrt(w)
        p2 = 1 - (1 - self._even) / (1 + odds * s2 / root)
        return np.array(
            [
                p2,
                self._even + s2 / w * two,
                query / root,
                j11 / w,
                tilt / w,
                swing / w,
                key / root,
                np.zeros_like(w),
            ]
        )


@lru_cache(maxsize=16)
def row_table(keys: int) -> RowTable:
    """The cached :class:`RowTable`."""
    return RowTable(keys)


@lru_cache(maxsize=32)
def head_table(keys: int, head_width: int) -> HeadTable:
    """The cached :class:`HeadTable`."""
    return HeadTable(keys, head_width)
