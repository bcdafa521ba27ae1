"""Tables for a paper: booktabs, escaped text, readable numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from spannorm_theory import Architecture, verify, write_latex
from spannorm_theory.base.errors import InputError
from spannorm_theory.render.latex_table import as_latex
from spannorm_theory.render.latex_text import escape

SMALL = {"depth": 2, "width": 32, "heads": 2, "tokens": 8}


def test_numbers_and_text_are_written_for_latex() -> None:
    table = pd.DataFrame(
        {
            "a_name": ["50% & more", "x_1"],
            "value": [-1234567.0, float("nan")],
            "n": [3, 400],
            "ok": [True, False],
        }
    )
    assert as_latex(table) == (
        "\\begin{tabular}{lrrl}\n\\toprule\na name & value & n & ok \\\\\n\\midrule\n"
        "50\\% \\& more & $-1.23 \\times 10^{6}$ & 3 & yes \\\\\n"
        "x\\_1 & -- & 400 & no \\\\\n\\bottomrule\n\\end{tabular}\n"
    )


def test_every_special_character_is_escaped() -> None:
    assert escape(r"a_b & $x% #1 {2}") == r"a\_b \& \$x\% \#1 \{2\}"
    assert escape("^~|\\") == r"\textasciicircum{}\textasciitilde{}\textbar{}\textbackslash{}"


def test_verifications_are_summed_up(tmp_path: Path) -> None:
    found = [verify(Architecture(n, **SMALL), networks=3, progress=False) for n in ("pre-norm", "span-norm")]
    summary = write_latex(found, tmp_path / "all.tex").read_text()
    assert summary.count(r"\\") == 3
    assert "pre-norm & unit & 3 & " in summary
    worst = write_latex(found[0], tmp_path / "one.tex").read_text()
    assert worst.count(r"\\") == 1 + len(found[0].worst())
    assert r"token\_cosine & 0" in worst
    chosen = write_latex(found[0], tmp_path / "two.tex", ["quantity", "z"]).read_text()
    assert "quantity & z" in chosen


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1]})
    with pytest.raises(InputError, match="no column b"):
        write_latex(table, tmp_path / "x.tex", ["b"])
    with pytest.raises(InputError, match="empty"):
        write_latex(table.iloc[:0], tmp_path / "x.tex")
    with pytest.raises(InputError, match="cannot write"):
        write_latex(table, tmp_path / "no" / "x.tex")
