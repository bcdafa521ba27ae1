"""The page of audits says what the code finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from spannorm_theory.literature import load_claims
from spannorm_theory.literature.audits import document
from spannorm_theory.literature.claim import CONTRADICTION
from spannorm_theory.literature.fact import prediction_of

PAGE = (Path(__file__).parents[2] / "docs" / "audits.md").read_text()


def cells(page: str) -> list[list[str]]:
    """Its table, without the header."""
    return [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]


@pytest.mark.reference
def test_the_page_has_every_contradiction_with_what_is_derived_of_it() -> None:
    audited = [claim for claim in load_claims() if claim.kind == CONTRADICTION]
    for claim, row in zip(audited, cells(PAGE), strict=True):
        check = claim.checks[0]
        assert row[0].startswith(f"| `{claim.id}`: {claim.sentence} (")
        assert row[1] == f"{check.text}: `{check.measure.terms[0].arch}`"
        assert row[3] == f"{check.measure.theory(prediction_of):.3g}", claim.id
        assert row[5].startswith(claim.verdict)


@pytest.mark.long
@pytest.mark.reference
def test_the_page_is_current() -> None:
    """Measured numbers, which another processor rounds and draws differently, within four standard errors and
    their digits; everything else exactly. Slow: the networks of every audit are simulated."""
    page = document()
    for new, old in zip(cells(page), cells(PAGE), strict=True):
        (value, error), (other, _) = (map(float, row[4].strip(")").split(" (")) for row in (new, old))
        assert value == pytest.approx(other, rel=0.01, abs=4 * error)
        page = page.replace(" | ".join(new), " | ".join([*new[:4], old[4], *new[5:]]))
    assert page == PAGE
