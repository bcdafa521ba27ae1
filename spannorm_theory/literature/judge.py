"""Decide a claim: its result by the theory, its checks by random networks, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ..base.errors import AssumptionError, InputError
from ..base.quantities import Key
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from ..verification.relation import CONTRADICTED
from ..verification.relation import HOLDS as YES
from .check import Check
from .claim import FAILS, HOLDS, NOT_TESTABLE, WITH_CONDITIONS, Claim
from .fact import Fact, prediction_of
from .outcomes import Checked, Outcome

UNDECIDED = "undecided"


class Laboratory:
    """Simulations, each made once however many checks ask for it."""

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self.samples = lru_cache(maxsize=None)(self._samples)

    def _samples(self, arch: Architecture, networks: int, seed: int) -> Mapping[Key, Array]:
        from ..montecarlo.ensemble import simulate
        from ..verification.verification import precision

        try:
            dtype = precision(prediction_of(arch))
        except AssumptionError:
            dtype = "float32"
        return simulate(
            arch, networks=networks, seed=seed, device=self.device, dtype=dtype, progress=False
        ).samples


def judge(claim: Claim, laboratory: Laboratory | None) -> Outcome:
    """Decide one claim from its symbolic result and its checks; without a laboratory, from the result."""
    try:
        fact = claim.fact()
        if laboratory is None:
            return Outcome(claim, fact, (), claim.verdict if agrees(claim, fact) else UNDECIDED)
        checked = tuple(run_check(check, fact, laboratory) for check in claim.checks)
    except InputError as error:
        raise InputError(f"claim {claim.id!r}: {error}") from error
    return Outcome(claim, fact, checked, verdict(fact, checked))


def agrees(claim: Claim, fact: Fact | None) -> bool:
    """Whether a claim's recorded verdict is one that its symbolic result allows."""
    if fact is None:
        return claim.verdict == NOT_TESTABLE
    return fact.holds == (claim.verdict in (HOLDS, WITH_CONDITIONS))


def run_check(check: Check, fact: Fact | None, laboratory: Laboratory) -> Checked:
    """Simulate what a check asks for and hold it against what is expected."""
    expected = check.region(fact, prediction_of)
    estimate = check.measure.estimate(lambda arch: laboratory.samples(arch, check.networks, check.seed))
    outcome = expected.decide(estimate.value, estimate.error, estimate.networks)
    return Checked(
        check, expected.low, expected.high, estimate.value, estimate.error, estimate.networks, outcome
    )


def verdict(fact: Fact | None, checked: Sequence[Checked]) -> str:
    """The verdict that evidence supports; "undecided" where it is noisy or contradicts itself."""
    if fact is None:
        return NOT_TESTABLE

    def outcomes(role: str) -> list[str]:
        return [found.outcome for found in checked if found.check.role == role]

    if fact.holds and all(outcome == YES for outcome in outcomes("claim")):
        beyond = outcomes("outside")
        if fact.outside is not None:
            beyond.append(YES if fact.outside else CONTRADICTED)
        if not beyond or all(outcome == YES for outcome in beyond):
            return HOLDS
        return WITH_CONDITIONS if all(outcome == CONTRADICTED for outcome in beyond) else UNDECIDED
    said, instead = outcomes("claim"), outcomes("instead")
    refuted = not fact.holds and all(outcome == CONTRADICTED for outcome in said)
    return FAILS if refuted and all(outcome == YES for outcome in instead) else UNDECIDED
