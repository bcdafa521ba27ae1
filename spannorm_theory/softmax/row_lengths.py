r"""Statistics of attention rows of any length, and of two rows of different lengths (T10.5).

One row of N keys whose logits are independent of variance w has P2, J and the biases of (T6.3, T6.15), which
are smooth in ln N and in sigma = s / (s + 4), s^2 = w; splines stand for them. Two rows of logits that
correlate by rho at the same key have P11(rho), of which all four ends are known from one row,

    P11(0) = 1/N,   P11'(0) = w (1 - P2)^2 / (N - 1),   P11(1) = P2,   P11'(1) = w J,   P11' = w J11,

the last by Price's theorem, so that ln(N P11) is their Hermite cubic in rho, and J11 its slope. Rows that see
N_i and N_k keys are as two of N keys, 1/(N - 1) = [1/(N_i - 1) + 1/(N_k - 1)] / 2: the leading order in
1/N_i and 1/N_k, and exact for equal lengths and for a single key.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil, log, log2, sqrt
from typing import Any

import numpy as np

from ..base.errors import PositionsError
from ..base.tables import made_once
from ..gaussian.closed_forms import Array
from ..gaussian.spline import Spline2D
from .overlaps import LARGEST_S2, query_norms
from .query_bias import MIDDLE, one_row_biases
from .rows import one_row, row_powers

#: steps of sigma up to s = 8; lengths are 1 to 8, then a factor of two apart. The splines are right to 6e-4
#: of each statistic, and to 1e-4 where s < 4
CELLS = 16


@dataclass(frozen=True)
class RowsOfLengths:
    """Statistics of rows, arrays of one shape.

    Attributes:
        keys: N.
        logits: w, the variance of a row's logits beyond what its keys have in common.
        p2: P2.
        query, key: J of the gradient at a query and at a key.
        log_peak: ln(N P2) / w.
        value_bias, jacobian_bias, chance: b_V, b_J and chi of (T6.15).
        three: probability that three picks of a row are three keys, 1 - 3 P2 + 2 P3.
        along: (x - 1) / (m - 1) of (T6.14), what norms take of a gradient along its token; 0 without norms.
    """

    keys: Array
    logits: Array
    p2: Array
    query: Array
    key: Array
    log_peak: Array
    value_bias: Array
    jacobian_bias: Array
    chance: Array
    three: Array
    along: Array

    @property
    def others(self) -> Array:
        """1 - 1/N, the part of a row's keys that are not one of them."""
        return np.asarray(1 - 1 / self.keys)

    @property
    def left(self) -> Array:
        """chi over that of even weights: what is left of tr(M x M x) for an x that is smooth."""
        even = self.others * (1 - 2 / self.keys + 2 / self.keys**2)
        return np.divide(self.chance, even, out=np.zeros_like(even), where=even > 0)

    @property
    def tilting(self) -> Array:
        """``three`` over that of even weights: what is left of the mean weight that a key gains by the
        variance of its logit, 0 for two keys."""
        even = self.others * (1 - 2 / self.keys)
        return np.divide(self.three, even, out=np.zeros_like(even), where=even > 1e-9)

    def towards(self, other: RowsOfLengths, share: Array) -> RowsOfLengths:
        """Statistics between these and others of the same logits, nearer to those by their ``share``."""
        mine, theirs = (np.array([getattr(x, field.name) for field in fields(x)][2:]) for x in (self, other))
        return RowsOfLengths(self.keys, self.logits, *(mine + share * (theirs - mine)))

    def together(self, rho: Array, coordinates: int) -> tuple[Array, Array, Array]:
        """N P11, N J11 and N E r J11(r) of two rows of correlation ``rho``; r, the cosine of two queries of
        ``coordinates``, varies by (1 - rho^2) / sqrt(coordinates) around rho."""
        away = (1 - rho**2) / np.sqrt(coordinates)
        found = [(r, *self._at(r)) for r in (rho - away, rho + away)]
        peaks, slopes, tilts = zip(*((p, p * j, r * p * j) for r, p, j in found), strict=True)
        return sum(peaks) / 2, sum(slopes) / 2, sum(tilts) / 2

    def _at(self, rho: Array) -> tuple[Array, Array]:
        """N P11 and J11 / P11 at row correlations ``rho``."""
        others = np.maximum(self.keys - 1, 1e-9)
        start = (1 - self.p2) ** 2 * self.keys / others
        end = np.divide(self.query, self.p2)
        # H(0) = 0, H'(0) = start, H(1) = log_peak, H'(1) = end
        cubic = start + end - 2 * self.log_peak
        square = 3 * self.log_peak - 2 * start - end
        height = rho * (start + rho * (square + rho * cubic))
        slope = start + rho * (2 * square + 3 * rho * cubic)
        return np.exp(self.logits * height), slope


class RowLengthTable:
    """Splines in (ln N, sigma) of the statistics of rows of up to ``longest`` keys, whose queries have so
    many ``coordinates``: Gaussian ones, or those of points on a ``sphere``."""

    def __init__(self, longest: int, coordinates: int, sphere: bool) -> None:
        octaves = ceil(log2(max(longest, 4)))
        lengths = np.union1d(np.arange(1.0, 9.0), np.exp2(np.arange(octaves + 1)))
        sigma = np.linspace(0, _sigma(LARGEST_S2), CELLS + 1)
        s2 = np.square(MIDDLE * sigma / (1 - sigma))
        #: logit variance up to which the table goes
        self.largest = LARGEST_S2
        shares, weights = np.ones(1), np.ones(1)
        if not sphere:
            shares, weights = query_norms(coordinates)
            self.largest /= float(shares.max())
        self._spline = Spline2D(
            np.log(lengths),
            sigma,
            np.array(
                [
                    [_one(x, int(n), shares, weights, coordinates, sphere) for x in s2 / shares.max()]
                    for n in lengths
                ]
            ),
        )
        self._scale = float(shares.max())

    def __call__(self, keys: Array, logits: Array) -> RowsOfLengths:
        """Statistics of rows of ``keys``, which need not be whole, and logit variances ``logits``.

        Raises:
            PositionsError: logits are beyond the table.
        """
        if np.max(logits) > self.largest:
            raise PositionsError(
                f"logits of a row of attention weights have a variance of {np.max(logits):.3g}, beyond those "
                f"of the table of row lengths, {self.largest:.3g}; use a smaller logit_variance"
            )
        found = self._spline(np.log(keys), _sigma(logits * self._scale))
        peak, query, key, value, jacobian, chance, three, along = found
        p2 = np.exp(logits * peak) / keys
        query, key, value, jacobian = query * p2, key * p2, logits * value, logits * jacobian
        return RowsOfLengths(keys, logits, p2, query, key, peak, value, jacobian, chance, three, along)


def _one(s2: float, keys: int, shares: Array, weights: Array, coordinates: int, sphere: bool) -> list[float]:
    """The functions behind the splines, of rows of a whole number of keys: ln(N P2)/w, J of queries and of
    keys over P2, b_V/w, b_J/w, chi, 1 - 3 P2 + 2 P3 and (x - 1)/(m - 1), means over sizes ``shares`` of the
    query."""
    if keys == 1:
        return [0.0] * 8
    found = np.zeros(8)
    for share, weight in zip(shares.tolist(), weights.tolist(), strict=True):
        s = sqrt(s2 * share)
        row = one_row(s, keys, coordinates if sphere else 0)
        value, jacobian, chance = one_row_biases(s, keys)[0]
        query = row.j if sphere else row.j + (row.along_query - row.j) / coordinates
        three = 1 - 3 * row.p2 + 2 * row_powers(s, keys).p3
        along = (row.along_key / row.j - 1) / (coordinates - 1) if sphere else 0.0
        one = [row.p2, query, share * row.j, share * value, share * jacobian, chance, three, along]
        found += weight * np.array(one)
    p2 = found[0]
    peak = log(keys * p2) / s2 if s2 else 1 - 1 / keys
    return [peak, found[1] / p2, found[2] / p2, *found[3:].tolist()]


def _sigma(s2: Any) -> Any:
    s = np.sqrt(s2)
    return s / (s + MIDDLE)


@made_once(maxsize=16)
def row_length_table(longest: int, coordinates: int, sphere: bool) -> RowLengthTable:
    """The cached :class:`RowLengthTable`."""
    return RowLengthTable(longest, coordinates, sphere)
