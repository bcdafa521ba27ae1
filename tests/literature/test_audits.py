"""The page of audits says what the code finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from spannorm_theory.literature.audits import document

PAGE = Path(__file__).parents[2] / "docs" / "audits.md"


@pytest.mark.reference
def test_the_page_is_current() -> None:
    """Measured numbers, which another processor rounds and draws differently, within four standard errors and
    their digits; everything else exactly."""
    rows = [line.split("|") for line in document().splitlines()]
    kept = [line.split("|") for line in PAGE.read_text().splitlines()]
    assert len(rows) == len(kept)
    for new, old in zip(rows, kept, strict=True):
        if len(new) == 8 and new[5].endswith(") "):
            (value, error), (other, _) = (map(float, row[5].strip(" )").split(" (")) for row in (new, old))
            assert value == pytest.approx(other, rel=0.01, abs=4 * error)
            new[5] = old[5]
        assert new == old
