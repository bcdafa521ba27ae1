"""Overlaps of attention rows along s^2 = v (1 - rho), the logits that tokens of cosine rho give."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline

from .kernels import Array
from .overlaps import head_overlaps
from .row_leans import row_leans


class OverlapCurve:
    """P2, P11, J, J11, the tilt and the lean (:mod:`.row_leans`) as splines in rho, made once for each
    (v, keys) and kind of head."""

    nodes = 32

    def __init__(self, logit_variance: float, keys: int, head_width: int, normed: bool) -> None:
        # tokens cannot be more anti-correlated than -1/(n-1); dense near rho = 1 and rho = 0
        low = -1 / (keys - 1)
        angle = np.linspace(0, np.pi, self.nodes)
        self.rho = low + (1 - low) * (1 - np.cos(angle)) / 2
        s2 = logit_variance * (1 - self.rho)
        found = [
            head_overlaps(float(v), float(r), keys, head_width, normed)
            for v, r in zip(s2, self.rho, strict=True)
        ]
        table = np.array([(o.p2, o.p11, o.j, o.j11, o.tilt) for o in found])
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
        """P2, P11, J, J11 and the tilt for an array of cosines; shape (5, layers)."""
        return np.asarray(self._spline(np.clip(rho, self.rho[0], 1.0))).T


@lru_cache(maxsize=64)
def overlap_curve(logit_variance: float, keys: int, head_width: int, normed: bool) -> OverlapCurve:
    """The cached :class:`OverlapCurve` of a logit variance."""
    return OverlapCurve(logit_variance, keys, head_width, normed)
