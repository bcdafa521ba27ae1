"""The notation table of the documentation is the code's."""

from __future__ import annotations

from pathlib import Path

import pytest

from spannorm_theory.notation import markdown


@pytest.mark.exact
def test_the_notation_table_is_current() -> None:
    path = Path(__file__).parent.parent / "docs" / "notation.md"
    assert path.read_text() == markdown(), "run: python -m spannorm_theory.notation > docs/notation.md"
