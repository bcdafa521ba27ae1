"""The notation table of the documentation is the code's."""

from __future__ import annotations

from pathlib import Path

import pytest

from spannorm_theory.render.notation import markdown


@pytest.mark.exact
def test_the_notation_table_is_current() -> None:
    path = Path(__file__).parents[2] / "docs" / "notation.md"
    assert path.read_text() == markdown(), "run: python -m spannorm_theory.render.notation > docs/notation.md"
