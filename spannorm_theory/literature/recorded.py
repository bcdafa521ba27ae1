"""The run of all claims that travels with the package: Monte Carlo where today's claims ask for the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import inf, isclose
from typing import Any

from .bibliography import papers
from .check import Check
from .fact import prediction_of
from .outcomes import Checked, Outcome

#: what ``spannorm claims --full --out papers/claims-full.json`` has written
FILE = "claims-full.json"

#: relative difference of borders that are derived anew
ROUNDING = 1e-6


@lru_cache(maxsize=1)
def recorded() -> Mapping[str, Mapping[str, Any]]:
    """The claims of the recorded run, by id, as :meth:`.outcomes.Outcome.to_dict` gives them."""
    run = json.loads(papers(FILE).read_text(encoding="utf-8"))
    return {entry["id"]: entry for entry in run["claims"]}


def with_evidence(outcome: Outcome) -> Outcome:
    """An outcome that was derived only, with the checks of the recorded run.

    They are added where that run's verdict is this one, and its checks ask for what today's ask for, borders
    included; else the outcome stays as it is.
    """
    entry = recorded().get(outcome.claim.id)
    if entry is None or outcome.checked or entry["verdict"] != outcome.verdict:
        return outcome
    checks: Sequence[Mapping[str, Any]] = entry["checks"]
    found = [_checked(check, outcome, row) for check, row in zip(outcome.claim.checks, checks, strict=False)]
    if len(checks) != len(outcome.claim.checks) or None in found:
        return outcome
    return replace(outcome, checked=tuple(one for one in found if one is not None))


def _checked(check: Check, outcome: Outcome, row: Mapping[str, Any]) -> Checked | None:
    """The recorded row as the outcome of a check; None where it is that of another check."""
    region = check.region(outcome.fact, prediction_of)
    low, high = (-inf if row["low"] is None else row["low"]), (inf if row["high"] is None else row["high"])
    borders = ((region.low, low), (region.high, high))
    found = Checked(check, low, high, row["estimate"], row["se"], check.networks, row["outcome"])
    same = all(row[key] == value for key, value in found.settings.items())
    return found if same and all(isclose(*pair, rel_tol=ROUNDING) for pair in borders) else None
