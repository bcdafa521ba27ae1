"""The run of all claims that travels with the package: today's, and no stand-in for others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import Page

from spannorm_theory.literature import claims, load_claims, recorded
from spannorm_theory.literature.claim import FAILS
from spannorm_theory.literature.recorded import with_evidence

ONE = "swin-v2-identity"


@pytest.mark.exact
def test_it_has_the_verdict_and_the_checks_of_every_claim() -> None:
    """`spannorm claims --full --out papers/claims-full.json` writes it anew."""
    run = recorded.recorded()
    for claim in load_claims():
        entry = run[claim.id]
        assert (entry["verdict"], entry["changed"]) == (claim.verdict, False), claim.id
        asked = [(check.role, check.text, check.networks, check.seed) for check in claim.checks]
        keys = ("role", "measure", "networks", "seed")
        found = [tuple(row[key] for key in keys) for row in entry["checks"]]
        assert found == asked, claim.id


@pytest.mark.reference
def test_it_is_shown_where_nothing_was_simulated(tmp_path: Path) -> None:
    derived = claims(ONE, simulated=False)
    (outcome,) = derived.outcomes
    (check,) = with_evidence(outcome).checked
    (simulated,) = claims(ONE).outcomes[0].checked
    assert check.estimate == pytest.approx(simulated.estimate, abs=1e-5)
    assert (check.expected, check.outcome) == (simulated.expected, simulated.outcome)
    derived.write_page(tmp_path / "page.html", [("index.html", "Ranking")])
    text = (tmp_path / "page.html").read_text()
    assert f"{check.estimate:.4g} ± {check.error:.2g}" in text
    assert Page(text).links[1] == "https://arxiv.org/abs/2111.09883"


@pytest.mark.exact
@pytest.mark.parametrize(
    "change", [{"seed": 99}, {"architecture": "pre-norm"}, {"high": 2.0}, {"low": None}, {"networks": 3}]
)
def test_it_stands_in_for_no_other_check(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (outcome,) = claims(ONE, simulated=False).outcomes
    entry = dict(recorded.recorded()[ONE])
    entry["checks"] = [entry["checks"][0] | change]
    monkeypatch.setattr(recorded, "recorded", lambda: {ONE: entry})
    assert with_evidence(outcome).checked == ()


@pytest.mark.exact
def test_it_stands_in_for_no_other_verdict() -> None:
    (outcome,) = claims(ONE, simulated=False).outcomes
    other = replace(outcome, verdict=FAILS)
    assert with_evidence(other) == other
