"""Run claims: what the theory says, what random networks say, and the verdict that follows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..base.errors import AssumptionError, InputError, UnknownNameError
from ..base.quantities import Key
from ..gaussian.closed_forms import Array
from ..prediction.predict import predict_profiles
from ..spec.architecture import Architecture
from ..verification.relation import CONTRADICTED, region
from ..verification.relation import HOLDS as YES
from .check import Check
from .claim import FAILS, HOLDS, NOT_TESTABLE, WITH_CONDITIONS, Claim, load_claims
from .fact import Fact

UNDECIDED = "undecided"


@dataclass(frozen=True)
class Checked:
    """What a check found: the expected region, the estimate, and whether it lies there."""

    check: Check
    low: float
    high: float
    estimate: float
    error: float
    networks: int
    outcome: str

    @property
    def expected(self) -> str:
        """The region that the check accepts, in words."""
        low, high = np.isfinite(self.low), np.isfinite(self.high)
        if low and high:
            text = f"{self.low:.6g} to {self.high:.6g}"
        else:
            text = f"above {self.low:.4g}" if low else f"below {self.high:.4g}"
        return ("not " if self.check.negated else "") + text


@dataclass(frozen=True)
class Outcome:
    """A claim with its evidence and the verdict that follows from it."""

    claim: Claim
    fact: Fact | None
    checked: tuple[Checked, ...]
    verdict: str

    @property
    def changed(self) -> bool:
        """Whether the verdict differs from the recorded one."""
        return self.verdict != self.claim.verdict


@dataclass(frozen=True)
class ClaimsReport:
    """The outcome of :func:`claims`; ``skipped`` claims need ``full``, and nothing was ``simulated`` where
    only derivations were run."""

    outcomes: tuple[Outcome, ...]
    skipped: int
    simulated: bool = True

    @property
    def passed(self) -> bool:
        """Whether every verdict is the recorded one."""
        return not any(outcome.changed for outcome in self.outcomes)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each claim and check: id, source, kind, verdict, recorded, role, measure, architecture,
        relation, low, high, estimate, se, networks, outcome."""
        rows = []
        for outcome in self.outcomes:
            claim = outcome.claim
            head = {"id": claim.id, "source": claim.source, "kind": claim.kind}
            head |= {"verdict": outcome.verdict, "recorded": claim.verdict}
            for found in outcome.checked or (None,):
                rows.append(head | ({} if found is None else _row(found)))
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON; numbers that are infinite become null."""
        entries = []
        for outcome in self.outcomes:
            claim, fact = outcome.claim, outcome.fact
            entries.append(
                {
                    "id": claim.id,
                    "sentence": claim.sentence,
                    "source": claim.source,
                    "kind": claim.kind,
                    "verdict": outcome.verdict,
                    "recorded": claim.verdict,
                    "changed": outcome.changed,
                    "conditions": claim.conditions,
                    "instead": claim.instead,
                    "theory": None
                    if fact is None
                    else {"holds": fact.holds, "formula": fact.formula, "numbers": dict(fact.numbers)},
                    "checks": [
                        {k: _finite(v) for k, v in _row(found).items()} | {"reason": found.check.reason}
                        for found in outcome.checked
                    ],
                }
            )
        return {
            "passed": self.passed,
            "skipped": self.skipped,
            "simulated": self.simulated,
            "claims": entries,
        }

    def write(self, path: str | Path) -> None:
        """Write :meth:`to_dict` as JSON."""
        _write(path, json.dumps(self.to_dict(), indent=1) + "\n")

    def write_page(self, path: str | Path, before: str = "") -> None:
        """Write a page of its own, readable offline, with markup ``before`` the claims."""
        from .page import document

        _write(path, document(self, before))

    def html(self) -> str:
        """The section of a report."""
        from .page import section

        return section(self)


def claims(
    ids: Sequence[str] | None = None,
    *,
    full: bool = False,
    path: str | Path | None = None,
    device: str = "auto",
    progress: bool = False,
    simulated: bool = True,
) -> ClaimsReport:
    """Run the recorded claims and compare each verdict with the recorded one.

    Args:
        ids: only these claims, whether or not they are in the quick set.
        full: all claims; else those of the quick set.
        path: another file of claims.
        progress: show a progress bar.
        simulated: False runs derivations only: a verdict is then the recorded one where the derivation agrees
            with it, and undecided elsewhere.

    Raises:
        InputError: a claim that breaks the schema, or an unknown id.
    """
    from tqdm import tqdm

    known = {claim.id: claim for claim in load_claims(path)}
    for name in ids or ():
        if name not in known:
            raise UnknownNameError("claim", name, known)
    chosen = [known[i] for i in ids] if ids else [c for c in known.values() if full or not c.full]
    laboratory = Laboratory(device) if simulated else None
    outcomes = tuple(
        judge(claim, laboratory) for claim in tqdm(chosen, desc="claims", disable=not progress, delay=2)
    )
    return ClaimsReport(outcomes, 0 if ids else len(known) - len(chosen), simulated)


class Laboratory:
    """Simulations and predictions, each made once however many checks ask for it."""

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self.predict = lru_cache(maxsize=None)(predict_profiles)
        self.samples = lru_cache(maxsize=None)(self._samples)

    def _samples(self, arch: Architecture, networks: int, seed: int) -> Mapping[Key, Array]:
        from ..montecarlo.ensemble import simulate
        from ..verification.verification import precision

        try:
            dtype = precision(self.predict(arch))
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
    values = check.borders
    if check.relation == "predicted":
        values = (check.measure.theory(laboratory.predict),)
    elif check.name:
        if fact is None or check.name not in fact.numbers:
            raise UnknownNameError("number of the result", check.name, fact.numbers if fact else ())
        values = (float(fact.numbers[check.name]),)
    expected = region(check.relation, values, check.tolerance, check.measure.exponent, check.negated)
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


def _write(path: str | Path, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _row(found: Checked) -> dict[str, Any]:
    check = found.check
    archs = list(dict.fromkeys(str(term.arch) for term in check.measure.terms))
    return {
        "role": check.role,
        "measure": check.text,
        "architecture": archs[0] if len(archs) < 3 else f"{archs[0]} … {archs[-1]}",
        "relation": ("not " if check.negated else "") + check.relation,
        "low": found.low,
        "high": found.high,
        "estimate": found.estimate,
        "se": found.error,
        "networks": found.networks,
        "seed": check.seed,
        "outcome": found.outcome,
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
