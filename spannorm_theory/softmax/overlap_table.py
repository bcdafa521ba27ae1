r"""Overlaps of attention rows as tables over (s^2, rho), for streams whose logits grow from block to block.

:func:`~.overlaps.saturating_overlaps` takes a millisecond of quadrature at one point; where the input of
attention keeps its second moment, all points lie on one curve (:mod:`.overlap_curve`), and where it does not
they fill a plane. Two tables stand for it, in sigma = s / (s + 4) and y = sqrt(1 - rho), in which overlaps
are analytic (in rho a maximum's near ties come within 1/s^2 of rho = 1):

    rows   polynomials through quadratures at Chebyshev nodes; beyond s = 8 the laws at large s. One for each
           number of keys, a fifth of a second.
    heads  :func:`~.overlaps.head_overlaps` of them, as bicubic splines. One for each number of keys and head
           width.

Logits multiply overlaps by s^2, and rows of even weights take off 1/n. So that both keep their digits, rows
hold w / s^2 (x - x_0) of P2, J, E |M z|^2 and J11, with x_0 = x(s = 0) and w = 1 + s^2, and the ratio of
P11 - 1/n to P2 - 1/n; and heads hold

    w^{1/2} / s^2 (P2 - 1/n) / (1 - P2),   w / s^2 (P11 - 1/n),   w^{1/2} J of queries and of keys,
    w J11,   w times the tilt and the swing,

all even in s and y and finite at both ends of s.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.polynomial.chebyshev import chebpts2
from threadpoolctl import threadpool_limits

from ..base.tables import made_once
from ..gaussian.closed_forms import Array
from ..gaussian.spline import Spline1D, Spline2D, through_nodes
from .overlaps import LARGEST_S2, overlaps, query_norms, saturated
from .query_bias import MIDDLE, bias_table
from .rows import one_row

#: sigma at s = 8, beyond which laws at large s stand for nodes
LARGEST_SIGMA = LARGEST_S2**0.5 / (LARGEST_S2**0.5 + MIDDLE)


def _radau(count: int) -> Array:
    """Chebyshev-Radau nodes of [-1, 1], which hold the upper end, s = 8, but not the lower."""
    return np.asarray(np.cos(np.pi * np.arange(count) / (count - 0.5)))


#: nodes in sigma for one row, and in sigma and y for two, on [-1, 1]: the overlaps' error falls by e for each
#: node or two, and each node in sigma costs a hundredth of a second
ONE, TWO = _radau(40), (_radau(20), chebpts2(24))

#: cells of the splines in sigma and y, whose error falls as the fourth power
CELLS = 192, 96


class RowTable:
    """Table of :class:`~.overlaps.Overlaps` of rows of ``keys`` Gaussian logits."""

    def __init__(self, keys: int) -> None:
        self._even = np.array(overlaps(0.0, 0.0, keys))[:, None, None]
        s = _s(ONE)
        rows = [one_row(x, keys) for x in s.tolist()]
        rise = np.array([[row.p2, row.j, row.along_query] for row in rows]).T - self._even[[0, 2, 4], :, 0]
        self._one = rise * (1 + s**-2)
        s, rho = _s(TWO[0]), np.maximum(1 - np.square(1 + TWO[1]) / 2, -1).tolist()
        found = np.array([[overlaps(x * x, r, keys) for r in rho] for x in s.tolist()])
        p2, p11, _, j11, _ = np.moveaxis(found, -1, 0)
        j11_rise = (j11 - self._even[3, 0, 0]) * (1 + s**-2)[:, None]
        self._two = np.stack([(p11 - 1 / keys) / (p2 - 1 / keys), j11_rise])

    def __call__(self, s2: Array, rho: Array) -> tuple[Array, Array]:
        """The overlaps x at all s^2 with all rho, (5, s^2, rho), and (1 + s^2) / s^2 (x - x_0) of P2 and P11,
        (2, s^2, rho)."""
        far = s2 > LARGEST_S2
        found, rise = self._resolved(np.minimum(s2, LARGEST_S2), rho)
        if far.any():
            six, _ = self._resolved(np.array([36.0]), rho)
            beyond = s2[far, None]
            found[:, far] = saturated(np.sqrt(beyond), six, found[:, far])
            rise[:, far] = (found[:2, far] - self._even[:2]) * (1 + 1 / beyond)
        return found, rise

    def _resolved(self, s2: Array, rho: Array) -> tuple[Array, Array]:
        x, share = 2 * _sigma(np.sqrt(s2)) / LARGEST_SIGMA - 1, (s2 / (1 + s2))[:, None]
        along_y = through_nodes(TWO[1], np.sqrt(2 * np.maximum(1 - rho, 0)) - 1).T
        alike, j11 = through_nodes(TWO[0], x) @ self._two @ along_y
        p2, j, along = (self._one @ through_nodes(ONE, x).T)[..., None]
        rise = np.stack(np.broadcast_arrays(p2, p2 * alike, j, j11, along))
        return self._even + share * rise, rise[:2]


def _sigma(s: Array) -> Array:
    return s / (s + MIDDLE)


def _s(nodes: Array) -> Array:
    sigma = LARGEST_SIGMA * (1 + nodes) / 2
    return np.asarray(MIDDLE * sigma / (1 - sigma))


class HeadTable:
    """Table of :class:`~.overlaps.HeadOverlaps` of heads without norms, and of b_V.

    P2 and J are right to 2e-6, and 1 - P2, P2 - 1/n and J to 2e-5 of themselves; the overlaps of two rows to
    1e-5 where s < 30 and to 6e-5 beyond, of two keys to 1e-3.
    """

    def __init__(self, keys: int, head_width: int) -> None:
        self._even = 1 / keys
        longest = sqrt(1 + 1 / (keys - 1))  # tokens are no more anti-correlated than that
        sigma, y = np.linspace(0, 1, CELLS[0] + 1), np.linspace(0, longest, CELLS[1] + 1)
        s2, rho = np.square(MIDDLE * sigma / (1 - np.minimum(sigma, 1 - 1e-7))), 1 - y**2
        w, rows, deviation = (1 + s2)[:, None], row_table(keys), (1 - rho**2) / np.sqrt(head_width)
        (*_, j11, _), (_, rise_two) = rows(s2, rho)
        rise_two, j11, tilt, swing = -rise_two, -j11, -rho * j11, np.zeros_like(j11)
        for cosine in (np.clip(rho - deviation, -1, 1), np.clip(rho + deviation, -1, 1)):
            found, rise = rows(s2, cosine)
            rise_two += rise[1] / 2
            j11 += found[3] / 2
            tilt += cosine * found[3] / 2
            swing += (cosine - rho) * found[3] / 2
        closed, rise_one, query, key = np.zeros((4, *j11.shape))
        for share, weight in zip(*query_norms(head_width), strict=True):
            found, rise = rows(s2 * share, rho)
            rise *= share * w / (1 + share * s2[:, None])
            closed += weight * (1 - found[0])
            rise_one += weight * rise[0]
            rise_two += weight * rise[1]
            query += weight * (found[2] + (found[4] - found[2]) / head_width)
            key += weight * share * found[2]
            j11 += weight * found[3]
            tilt += weight * share * rho * found[3]
        odds, root = rise_one / (np.sqrt(w) * closed), np.sqrt(w)
        two = [rise_two, root * query, root * key, w * j11, w * tilt, w * swing]
        # overlaps are even in s and y, and flat at the origin
        self._odds = Spline1D(sigma, odds[:, :1], ("clamped", "not-a-knot"))
        self._two = Spline2D(sigma, y, np.stack(two, axis=-1), ("clamped", "not-a-knot"))
        self._p11 = Spline2D(sigma, y, rise_two[..., None], ("clamped", "not-a-knot"))
        self._biases = bias_table(keys, head_width)

    def forward(self, s2: float, rho: float) -> tuple[float, float, float]:
        """P2, P11 and b_V at one point (a few microseconds, for the loop over layers)."""
        s, w = sqrt(s2), 1 + s2
        sigma, y = s / (s + MIDDLE), sqrt(1 - rho) if rho < 1 else 0.0
        (odds,), (two,) = self._odds.at(sigma), self._p11.at(sigma, y)
        p2 = 1 - (1 - self._even) / (1 + odds * s2 / sqrt(w))
        return p2, self._even + s2 / w * two, self._biases.value(s2, rho)

    def all(self, s2: Array, rho: Array) -> Array:
        """The overlaps at each point; shape (8, points)."""
        sigma, w = _sigma(np.sqrt(s2)), 1 + s2
        root = np.sqrt(w)
        (odds,), two = self._odds(sigma), self._two(sigma, np.sqrt(np.maximum(1 - rho, 0)))
        p2 = 1 - (1 - self._even) / (1 + odds * s2 / root)
        p11, query, key, j11, tilt, swing = two
        p11, zero = self._even + s2 / w * p11, np.zeros_like(w)
        return np.array([p2, p11, query / root, j11 / w, tilt / w, swing / w, key / root, zero])


@made_once(maxsize=16)
def row_table(keys: int) -> RowTable:
    """The cached :class:`RowTable`."""
    with threadpool_limits(1, "blas"):  # small products: threads would only wait for each other
        return RowTable(keys)


#: a table is 17 MB
@made_once(maxsize=8)
def head_table(keys: int, head_width: int) -> HeadTable:
    """The cached :class:`HeadTable`."""
    return HeadTable(keys, head_width)
