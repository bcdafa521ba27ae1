"""Formulas that are wider than a line: broken so that they fit, and nothing of them lost."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from spannorm_theory import derive
from spannorm_theory.render.latex_lines import LINE, rows, width, words

#: several streams, products of Gamma functions, the spectrum of a matrix
LONG = ("siamese-norm", "mhc", "pre-norm", "span-norm")


def letters(text: str) -> Counter[str]:
    """Letters and numbers of a formula, without what only lays it out."""
    text = re.sub(r"\\(left|right|bigl|bigr|big|frac|sqrt|quad|cdot|begin|end)(?![a-zA-Z])", " ", text)
    return Counter(re.findall(r"\\?[a-zA-Z]+|\d", text))


@pytest.mark.parametrize(
    "formula",
    [
        " + ".join(rf"\frac{{a_{{{i}}}}}{{b_{{{i}}}}}" for i in range(40)),
        " ".join(rf"\left(x_{{{i}}} + y\right)" for i in range(30)),
        rf"- \frac{{{' '.join('uvw' for _ in range(40))}}}{{\sqrt{{{' + '.join('zx' for _ in range(40))}}}}}",
    ],
)
def test_a_long_formula_is_broken_into_lines_that_hold_all_of_it(formula: str) -> None:
    found = rows("x &=", formula, LINE)
    assert len(found) > 1
    assert all(width(row.partition("&")[2]) <= LINE + 2 for row in found)
    assert (letters(" ".join(found)) - letters(formula)).keys() <= {"x", "1", "2"}  # the left; a root's power
    assert not letters(formula) - letters(" ".join(found))
    assert all(row.count("{") == row.count("}") for row in found)
    joined = " ".join(found)
    assert joined.count(r"\bigl(") == joined.count(r"\bigr)")


def test_a_short_formula_stays_as_it_is() -> None:
    assert rows("q' &=", r"q + \sigma_{a}^{2}", LINE) == [r"q' &= q + \sigma_{a}^{2}"]
    assert words(r"a + \left(b + c\right) \frac{d e}{f}") == [
        "a",
        "+",
        r"\left(b + c\right)",
        r"\frac{d e}{f}",
    ]


def test_entries_of_a_wide_matrix_are_equations() -> None:
    entry = " + ".join("abc" for _ in range(12))
    matrix = rf"p = \lambda\left[\begin{{matrix}}{entry} & 2\\3 & 4\end{{matrix}}\right]"
    found = rows(r"y &\sim", matrix, 30.0)
    assert found[0] == r"y &\sim p = \lambda{M}"
    assert [row for row in found if row.startswith("M_{22}")] == ["M_{22} &= 4"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_recursions_fit_the_page(tmp_path: Path) -> None:
    """In ten points, without a line that sticks out."""
    body = "\n\n".join(derive(name).latex() for name in LONG)
    head = "\\documentclass{article}\\usepackage{amsmath}\\begin{document}\\sloppy\n"
    (tmp_path / "x.tex").write_text(f"{head}{body}\n\\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "x.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=True)
    assert "Overfull" not in done.stdout
