"""The page of the theory prints what the code gives, its labels exist, and its formulas survive Markdown."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "theory.md").read_text()
LABELS = re.findall(r"\*\*\((T\d+\.\d+)\)\*\*", PAGE)

#: formulas of the page, those of a line of their own first
PROSE = re.sub(r"```.*?```", "", PAGE, flags=re.S)
FORMULAS = [
    *re.findall(r"\$\$(.*?)\$\$", PROSE, re.S),
    *re.findall(r"\$([^$\n]+)\$", re.sub(r"\$\$.*?\$\$", "", PROSE, flags=re.S)),
]


@pytest.mark.reference
def test_every_number_on_the_page_is_what_the_code_gives() -> None:
    session: dict[str, object] = {}
    wrong = []
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        for example in doctest.DocTestParser().get_examples(block):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(example.source, "docs/theory.md", "single"), session)
            if printed.getvalue() != example.want:
                wrong.append(f"{example.source}prints {printed.getvalue()}the page says {example.want}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.exact
def test_labels_are_unique_and_rise_within_sections() -> None:
    numbers = [tuple(map(int, label[1:].split("."))) for label in LABELS]
    assert numbers
    assert all(a < b for a, b in pairwise(numbers))


@pytest.mark.exact
def test_every_label_that_is_cited_is_on_the_page() -> None:
    places = [*(ROOT / "spannorm_theory").rglob("*.py"), *(ROOT / "docs").glob("*.md")]
    cited = {label: path for path in places for label in re.findall(r"\bT\d+\.\d+\b", path.read_text())}
    assert not {label: str(path) for label, path in cited.items() if label not in LABELS}


@pytest.mark.exact
def test_formulas_survive_markdown() -> None:
    # Markdown takes backslashes off punctuation, and makes emphasis of underscores behind it, links of ](,
    # tags of <, and cells of |; GitHub renders no formula that touches a letter or breaks over lines
    spoilt = [f for f in FORMULAS if re.search(r"\\[^A-Za-z]|[^A-Za-z0-9]_|\]\(|[<>*|\n]", f.strip())]
    assert not spoilt
    inline = re.split(r"(\$[^$\n]+\$)", re.sub(r"\$\$.*?\$\$", "", PROSE, flags=re.S))
    around = [(inline[i - 1][-1:], inline[i], inline[i + 1][:1]) for i in range(1, len(inline), 2)]
    assert not [f for before, f, after in around if re.search(r"[A-Za-z0-9'-]", before + after)]
    assert not [f for f in FORMULAS if f.count("{") != f.count("}")]
