r"""One number of one architecture: what a claim says it is, what the engine derives, what is measured.

Derivation and measurement apply the same statistic, once to the predicted profiles and once to the profiles
of an ensemble, averaged over networks (squared norms as such), with the jackknife's standard error. Widths
are finite: engine and measurement agree if they differ by less than ``AGREEMENT`` of the number and
``ERRORS`` standard errors together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ...base.quantities import QUANTITIES, Key
from ...gaussian.closed_forms import Array
from ...prediction.predict import predict_profiles
from ...spec.architecture import Architecture
from .statistics import Statistic

#: relative difference that a finite width may make, and standard errors that chance may
AGREEMENT, ERRORS = 0.1, 4.0

#: networks of a measurement
NETWORKS = 8


@dataclass(frozen=True)
class Measured:
    """A Monte Carlo estimate with its standard error over networks."""

    value: float
    se: float


@dataclass(frozen=True)
class Audit:
    """One claim, in our own words, and the number that decides it.

    Attributes:
        id: the claim's number in the catalogue of contradictions.
        quantity: what the number is.
        claimed: what the claim makes of it.
        stands: whether the engine comes to the same.
    """

    id: str
    claim: str
    source: str
    quantity: str
    claimed: float
    arch: Architecture
    statistic: Statistic
    stands: bool = False

    @cached_property
    def derived(self) -> float:
        """The number by the theory."""
        return self.statistic(predict_profiles(self.arch).profiles)

    def measure(self, networks: int = NETWORKS) -> Measured:
        """The number by Monte Carlo: the statistic of the mean profiles, and its jackknife error."""
        samples = _samples(self.arch, networks)
        rows = np.arange(networks)
        parts = np.array([self.statistic(_mean(samples, rows != left)) for left in rows])
        se = sqrt((networks - 1) * float(((parts - parts.mean()) ** 2).mean()))
        return Measured(self.statistic(_mean(samples, rows >= 0)), se)

    def engine_agrees(self, measured: Measured) -> bool:
        """Whether theory and measurement are the same number."""
        return self._same(self.derived, measured)

    def claim_agrees(self, measured: Measured) -> bool:
        """Whether claim and measurement are the same number."""
        return self._same(self.claimed, measured)

    def _same(self, value: float, measured: Measured) -> bool:
        return abs(value - measured.value) <= AGREEMENT * abs(measured.value) + ERRORS * measured.se


@lru_cache(maxsize=32)
def _samples(arch: Architecture, networks: int) -> Mapping[Key, Array]:
    from ...montecarlo.ensemble import simulate

    # real matrices: what the other engine draws where tokens are copies follows a processor's rounding
    return simulate(arch, networks=networks, dtype="float64", engine="explicit", progress=False).samples


def _mean(samples: Mapping[Key, Array], rows: NDArray[np.bool_]) -> dict[Key, Array]:
    """Profiles averaged over some networks; logarithms are those of means."""
    with np.errstate(divide="ignore"):
        return {
            key: np.log(np.exp(s[rows]).mean(0)) if QUANTITIES[key[1]].logarithmic else s[rows].mean(0)
            for key, s in samples.items()
        }
