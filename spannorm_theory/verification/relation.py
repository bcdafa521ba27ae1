"""Relations between an estimate and what a claim expects, decided with the estimate's standard error.

The estimate stands for the interval of k standard errors around it, k the two-sided Student quantile of
probability ``FALSE_ALARM``. A relation holds where the whole interval lies in the region that it accepts, is
contradicted where the interval lies outside, and is undecided where a border runs through the interval: a
noisy estimate proves nothing in either direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

from scipy import stats

from ..base.errors import InputError

#: probability that a right relation is called contradicted, or a wrong one is said to hold
FALSE_ALARM = 1e-3

KINDS = ("about", "predicted", "below", "above", "between")
HOLDS, CONTRADICTED, UNDECIDED = "holds", "contradicted", "undecided"


@dataclass(frozen=True)
class Region:
    """The open interval of values that a relation accepts, or all others where ``negated``."""

    low: float
    high: float
    negated: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether the region accepts a value that is known exactly."""
        return (self.low < value < self.high) != self.negated

    def decide(self, estimate: float, error: float, networks: int) -> str:
        """Whether an estimate with a standard error over ``networks`` lies in the region."""
        if not isfinite(estimate) or not isfinite(error):
            return UNDECIDED
        reach = float(stats.t.isf(FALSE_ALARM / 2, networks - 1)) * error
        low, high = estimate - reach, estimate + reach
        inside = self.low < low and high < self.high
        outside = high <= self.low or low >= self.high
        if self.negated:
            inside, outside = outside, inside
        return HOLDS if inside else CONTRADICTED if outside else UNDECIDED


def region(kind: str, values: tuple[float, ...], tolerance: float, absolute: bool, negated: bool) -> Region:
    """The region of a relation.

    Args:
        kind: one of :data:`KINDS`.
        values: the expected value; for "between" the two borders.
        tolerance: of "about" and "predicted": a share of the value, or, where ``absolute`` (exponents), a
            distance from it.
    """
    if kind == "between":
        return Region(values[0], values[1], negated)
    if kind in ("about", "predicted"):
        margin = tolerance if absolute else tolerance * abs(values[0])
        return Region(values[0] - margin, values[0] + margin, negated)
    if kind == "below":
        return Region(-inf, values[0], negated)
    if kind == "above":
        return Region(values[0], inf, negated)
    raise InputError(f"unknown relation {kind!r}; known: {', '.join(KINDS)}")
