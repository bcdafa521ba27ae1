"""Averages over rows of attention weights: one curve where logits keep their variance, a table where not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..gaussian.closed_forms import Array
from .overlap_curve import OverlapCurve, overlap_curve
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
        unit_logits: v for an input of second moment 1, along whose curve they are tabulated. Norms on queries
            and keys keep v, so that a sphere needs nothing else.
    """

    keys: int
    head_width: int
    sphere: int
    unit_logits: float

    @cached_property
    def _curve(self) -> OverlapCurve:
        return overlap_curve(self.unit_logits, self.keys, self.head_width, self.sphere)

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

    def forward(self, v: float, drop: float) -> tuple[float, float, float]:
        """P2, P11 and b_V at the logit variance v and the token cosine 1 - ``drop``, in microseconds."""
        least, most = self._unit
        if least < v < most:
            p2, p11, bias = self._curve.forward(1 - drop)
            return p2, p11, bias
        return self._table.forward(v * drop, 1 - drop)

    def all(self, v: Array, drop: Array) -> tuple[Array, Array]:
        """Entries of :class:`~.overlaps.HeadOverlaps`, (8, layers), and of :class:`~.query_bias.Biases`,
        (3, layers), at logit variances v and token cosines 1 - ``drop``, (layers,)."""
        least, most = self._unit
        if ((least < v) & (v < most)).all():
            found = self._curve.all(1 - drop)
            return found[:8], found[8:]
        s2 = np.maximum(v * drop, np.finfo(float).tiny)
        return self._table.all(s2, 1 - drop), self._biases.all(s2, 1 - drop)
