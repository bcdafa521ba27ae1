"""Overlaps of attention rows along s^2 = v (1 - rho), at one logit variance v and any token cosine (T6.4);
and on the plane of the curves below it, where the epsilon of norms takes a part of v away."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, sqrt

import numpy as np
from numpy.polynomial.chebyshev import chebpts2
from threadpoolctl import threadpool_limits

from ..gaussian.closed_forms import Array
from ..gaussian.spline import Spline1D, Spline2D, through_nodes
from .overlaps import head_overlaps, sphere_overlaps
from .query_bias import query_biases

#: cells of the splines in y, whose errors fall as the fourth power
CELLS = 256

#: Chebyshev nodes in v / v_0 of the plane, and cells of its splines in that and in y: right to 2e-5 of the
#: curves
CURVES, PLANE_CELLS = 10, (32, 96)


class OverlapCurve:
    """Splines in y = sqrt(1 - rho) of :class:`~.overlaps.HeadOverlaps` and :class:`~.query_bias.Biases`, for
    one (v, keys) and kind of head.

    They go through the polynomial of quadratures at Chebyshev nodes, and are right to 1e-6 of their largest
    values at v = 1 and to 2e-5 at v = 64.
    """

    def __init__(self, logit_variance: float, keys: int, head_width: int, sphere: int) -> None:
        """``sphere`` is the dimension of the sphere of queries and keys, 0 without norms."""
        longest = sqrt(1 + 1 / (keys - 1))  # tokens are no more anti-correlated than that
        nodes, found = chebpts2(12 + ceil(3 * sqrt(logit_variance))), []
        for y in (longest * (1 + nodes) / 2).tolist():
            s2, rho = logit_variance * y**2, max(1 - y**2, -1.0)
            if sphere:
                overlaps = sphere_overlaps(s2, rho, keys, sphere)
            else:
                overlaps = head_overlaps(s2, rho, keys, head_width)
            found.append([*overlaps, *query_biases(s2, rho, keys, head_width)])
        self._nodes, self._found = nodes, np.array(found)
        x = np.linspace(-1, 1, CELLS + 1)
        y, table = longest * (1 + x) / 2, self.table(x)
        self._spline = Spline1D(y, table)
        self._forward = Spline1D(y, table[:, [0, 1, 8]])  # P2, P11 and the value bias

    def table(self, x: Array) -> Array:
        """All functions at points of [-1, 1], which stand for all y, (points, 11)."""
        return np.asarray(through_nodes(self._nodes, x) @ self._found)

    def forward(self, rho: float) -> list[float]:
        """P2, P11 and b_V at one cosine (a microsecond, for the loop over layers)."""
        return self._forward.at(sqrt(1 - rho) if rho < 1 else 0.0)

    def all(self, rho: Array) -> Array:
        """The overlaps and then the biases for an array of cosines; shape (11, layers)."""
        return self._spline(np.sqrt(np.maximum(1 - rho, 0)))


@lru_cache(maxsize=64)
def overlap_curve(logit_variance: float, keys: int, head_width: int, sphere: int) -> OverlapCurve:
    """The cached :class:`OverlapCurve` of a logit variance."""
    with threadpool_limits(1, "blas"):  # small products: threads would only wait for each other
        return OverlapCurve(logit_variance, keys, head_width, sphere)


class OverlapPlane:
    """The functions of :class:`OverlapCurve` at every logit variance up to one, as splines in v and y."""

    def __init__(self, largest: float, keys: int, head_width: int, sphere: int) -> None:
        self._largest = largest
        nodes, (x, y) = chebpts2(CURVES), (np.linspace(-1, 1, cells + 1) for cells in PLANE_CELLS)
        curves = [overlap_curve(largest * (1 + v) / 2, keys, head_width, sphere) for v in nodes.tolist()]
        table = np.einsum("vc,cyf->vyf", through_nodes(nodes, x), [curve.table(y) for curve in curves])
        knots = (1 + x) / 2, sqrt(1 + 1 / (keys - 1)) * (1 + y) / 2
        self._spline = Spline2D(*knots, table)
        self._forward = Spline2D(*knots, table[..., [0, 1, 8]])

    def forward(self, v: float, rho: float) -> list[float]:
        """P2, P11 and b_V at one point."""
        return self._forward.at(v / self._largest, sqrt(1 - rho) if rho < 1 else 0.0)

    def all(self, v: Array, rho: Array) -> Array:
        """The overlaps and then the biases, at arrays of points; shape (11, layers)."""
        return self._spline(v / self._largest, np.sqrt(np.maximum(1 - rho, 0)))


@lru_cache(maxsize=16)
def overlap_plane(largest: float, keys: int, head_width: int, sphere: int) -> OverlapPlane:
    """The cached :class:`OverlapPlane`."""
    return OverlapPlane(largest, keys, head_width, sphere)
