"""The notation table of the documentation is the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sympy import Symbol

from spannorm_theory.base import symbols
from spannorm_theory.base.letters import LETTERS
from spannorm_theory.render.notation import markdown

ROOT = Path(__file__).parents[2]
FLAT = [letter for letters in LETTERS.values() for letter in letters]


@pytest.mark.exact
def test_the_notation_table_is_current() -> None:
    path = ROOT / "docs" / "notation.md"
    assert path.read_text() == markdown(), "run: python -m spannorm_theory.render.notation > docs/notation.md"


@pytest.mark.exact
def test_every_symbol_of_the_derivations_is_listed() -> None:
    known = {symbol for symbol in vars(symbols).values() if isinstance(symbol, Symbol)}
    assert known == {letter.written for letter in FLAT if isinstance(letter.written, Symbol)}


@pytest.mark.exact
def test_what_letters_are_called_in_the_code_is_in_the_code() -> None:
    sources = [path for path in (ROOT / "spannorm_theory").rglob("*.py") if path.name != "letters.py"]
    words = {word for path in sources for word in re.findall(r"\w+", path.read_text())}
    assert not {name for letter in FLAT for name in letter.code.split(", ")} - words


@pytest.mark.exact
def test_equations_of_letters_are_in_the_theory() -> None:
    labels = set(re.findall(r"\*\*\((T\d+\.\d+)\)\*\*", (ROOT / "docs" / "theory.md").read_text()))
    assert not {letter.equation for letter in FLAT} - labels
