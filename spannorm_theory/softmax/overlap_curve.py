"""Overlaps of attention rows along s^2 = v (1 - rho), the logits that tokens of cosine rho give."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache, partial

import numpy as np
from scipy.interpolate import CubicSpline

from ..gaussian.closed_forms import Array
from .overlaps import head_overlaps, sphere_overlaps
from .query_bias import MIDDLE, row_leans


class OverlapCurve:
    """:class:`~.overlaps.HeadOverlaps` and the lean (:mod:`.query_bias`) as splines in rho, made once for
    each (v, keys) and kind of head; to 7e-5 of each for v up to ``LARGEST_S2`` (2 % of J11 for two tokens
    that all but oppose each other, where it vanishes)."""

    nodes = 40

    def __init__(self, logit_variance: float, keys: int, head_width: int, sphere: int) -> None:
        """``sphere`` is the dimension of the sphere of queries and keys, 0 without norms."""
        # tokens cannot be more anti-correlated than -1/(n-1)
        longest = np.sqrt(1 + 1 / (keys - 1))
        # y = sqrt(1 - rho), dense where s = sqrt(v) y is of order one, and at its end
        x = np.sin(np.linspace(np.pi / 2, 0, self.nodes))
        y = longest * x / (1 + (1 - x) * longest * np.sqrt(logit_variance) / MIDDLE)
        self.rho = np.maximum(1 - y**2, -1)  # rounding
        s2 = logit_variance * y**2
        overlaps = (
            partial(sphere_overlaps, sphere=sphere)
            if sphere
            else partial(head_overlaps, head_width=head_width)
        )
        table = np.array([overlaps(float(v), float(r), keys) for v, r in zip(s2, self.rho, strict=True)])
        lean = row_leans(keys, head_width).all(s2, self.rho)[0]
        self._spline = CubicSpline(self.rho, table)
        self._knots: list[float] = self.rho.tolist()
        self._lean = CubicSpline(self.rho, lean)
        pieces = np.dstack([self._spline.c[..., :2], self._lean.c[..., None]]).transpose(1, 2, 0)
        rows = zip(self._knots, pieces.reshape(self.nodes - 1, 12).tolist(), strict=False)
        self._pieces = [(knot, *piece) for knot, piece in rows]

    def forward(self, rho: float) -> tuple[float, float, float]:
        """P2, P11 and the lean at one cosine (a few hundred nanoseconds, for the layer loop)."""
        piece = self._pieces[bisect_right(self._knots, rho, 1, self.nodes - 1) - 1]
        knot, a, b, c, d, e, f, g, h, i, j, k, l = piece
        x = rho - knot
        return (
            ((a * x + b) * x + c) * x + d,
            ((e * x + f) * x + g) * x + h,
            ((i * x + j) * x + k) * x + l,
        )

    def lean(self, rho: Array) -> Array:
        """The lean for an array of cosines."""
        return np.asarray(self._lean(np.clip(rho, self.rho[0], 1.0)))

    def all(self, rho: Array) -> Array:
        """The overlaps for an array of cosines; shape (8, layers)."""
        return np.asarray(self._spline(np.clip(rho, self.rho[0], 1.0))).T


@lru_cache(maxsize=64)
def overlap_curve(logit_variance: float, keys: int, head_width: int, sphere: int) -> OverlapCurve:
    """The cached :class:`OverlapCurve` of a logit variance."""
    return OverlapCurve(logit_variance, keys, head_width, sphere)
