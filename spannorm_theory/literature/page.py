"""The claims as a page: verdict first, each with its evidence folded away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..render.html import document
from .bibliography import address, bibliography
from .claim import HOLDS, NOT_TESTABLE, OWN, VERDICTS, WITH_CONDITIONS
from .outcomes import Checked, Outcome
from .recorded import with_evidence


def page(outcomes: Sequence[Outcome], simulated: bool, menu: Sequence[tuple[str, str]] = ()) -> str:
    """The document.

    Args:
        simulated: whether random networks were run for these outcomes; else those of the recorded run stand
            in where its checks are the same.
        menu: links at the side, as address and text.
    """
    shown = list(outcomes) if simulated else [with_evidence(outcome) for outcome in outcomes]
    counts = Counter(outcome.verdict for outcome in shown)
    order = [verdict for verdict in (*VERDICTS, *counts) if counts[verdict]]
    return document(
        "claims.html",
        title="Published claims",
        menu=menu,
        counts={verdict: counts[verdict] for verdict in order},
        changed=sum(outcome.changed for outcome in shown),
        simulated=simulated,
        tested=sum(bool(outcome.claim.checks) for outcome in shown),
        recorded=sum(bool(outcome.checked) for outcome in shown),
        claims=[_claim(outcome) for outcome in shown],
    )


def _claim(outcome: Outcome) -> Mapping[str, Any]:
    """What the template reads of one claim."""
    claim, fact = outcome.claim, outcome.fact
    good = {HOLDS: True, WITH_CONDITIONS: True, NOT_TESTABLE: None}
    entry = None if claim.source == OWN else bibliography()[claim.source]
    return {
        "id": claim.id,
        "sentence": claim.sentence,
        "kind": claim.kind,
        "verdict": outcome.verdict,
        "good": good.get(outcome.verdict, False),
        "recorded": claim.verdict if outcome.changed else "",
        "note": claim.conditions or claim.instead,
        "source": None if entry is None else (address(claim.source), entry["title"], entry["year"]),
        "formula": "" if fact is None else fact.formula,
        "checks": [_check(found) for found in outcome.checked],
    }


def _check(found: Checked) -> Mapping[str, Any]:
    check = found.check
    return {
        "role": check.role,
        "text": check.text,
        "archs": list(dict.fromkeys(str(term.arch) for term in check.measure.terms)),
        "reason": check.reason,
        "networks": f"{found.networks}, seed {check.seed}",
        "expected": found.expected,
        "estimate": f"{found.estimate:.4g} ± {found.error:.2g}",
        "outcome": found.outcome,
    }
