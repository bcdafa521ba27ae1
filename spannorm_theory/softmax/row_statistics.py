"""Averages over rows of attention weights: one curve where logits keep their variance, a table where not.

Norms that hold queries and keys to a sphere keep that variance. With an epsilon they hold a part of it, and
(1 - y)(1 - y') of what varies along a query and a key passes, y and y' being the shares that epsilon leaves
of them (T6.13): statistics are as far between those of a sphere and of Gaussian vectors, to order 1/d_h.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from .overlap_curve import OverlapCurve, OverlapPlane, overlap_curve, overlap_plane
from .overlap_table import HeadTable, head_table
from .overlaps import LARGEST_S2
from .query_bias import BiasTable, bias_table

#: relative difference of logit variances that count as one; larger than rounding, or streams of one second
#: moment would miss the curve
ONE_VARIANCE = 1e-9


@dataclass(frozen=True)
class RowStatistics:
    """Overlaps and biases of rows of attention weights over exchangeable tokens.

    Attributes:
        keys: tokens that a row weights.
        head_width: coordinates of a head.
        sphere: dimension of the sphere on which norms hold a head's queries and keys; 0 without norms.
        unit_logits: v for an input of second moment 1, along whose curve they are tabulated; behind norms on
            queries and keys the largest.
    """

    keys: int
    head_width: int
    sphere: int
    unit_logits: float

    @cached_property
    def _curve(self) -> OverlapCurve:
        return overlap_curve(self.unit_logits, self.keys, self.head_width, self.sphere)

    @cached_property
    def _plane(self) -> OverlapPlane:
        return overlap_plane(self.unit_logits, self.keys, self.head_width, self.sphere)

    @cached_property
    def _table(self) -> HeadTable:
        return head_table(self.keys, self.head_width)

    @cached_property
    def _biases(self) -> BiasTable:
        return bias_table(self.keys, self.head_width)

    @cached_property
    def _unit(self) -> tuple[float, float]:
        """Logit variances that are on the curve; none where it would not resolve the overlaps."""
        v = self.unit_logits if self.unit_logits <= LARGEST_S2 else np.nan
        return v * (1 - ONE_VARIANCE), v * (1 + ONE_VARIANCE)

    @cached_property
    def _held(self) -> bool:
        """Whether logits below their largest variance are of vectors near a sphere."""
        return bool(self.sphere) and self.unit_logits <= LARGEST_S2

    def forward(self, v: float, drop: float, loose: float = 0.0) -> tuple[float, float, float]:
        """P2, P11 and b_V at the logit variance v and the token cosine 1 - ``drop``, in microseconds;
        ``loose`` is the part (1 - y)(1 - y') of lengths that passes norms."""
        least, most = self._unit
        if least < v < most:
            p2, p11, bias = self._curve.forward(1 - drop)
            return p2, p11, bias
        gaussian = self._table.forward(v * drop, 1 - drop)
        if not self._held:
            return gaussian
        near = self._plane.forward(v, 1 - drop)
        p2, p11, bias = (x + loose * (z - x) for x, z in zip(near, gaussian, strict=True))
        return p2, p11, bias

    def all(self, v: Array, drop: Array, loose: Any = 0.0) -> tuple[Array, Array]:
        """Entries of :class:`~.overlaps.HeadOverlaps`, (8, layers), and of :class:`~.query_bias.Biases`,
        (3, layers), at logit variances v, token cosines 1 - ``drop`` and ``loose``, (layers,)."""
        least, most = self._unit
        if ((least < v) & (v < most)).all():
            found = self._curve.all(1 - drop)
            return found[:8], found[8:]
        s2 = np.maximum(v * drop, np.finfo(float).tiny)
        gaussian = np.concatenate([self._table.all(s2, 1 - drop), self._biases.all(s2, 1 - drop)])
        if self._held:
            near = self._plane.all(v, 1 - drop)
            gaussian = near + loose * (gaussian - near)
        return gaussian[:8], gaussian[8:]
