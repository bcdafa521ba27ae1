"""Pages from templates: what is text stays text, and tables sort and filter in a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from helpers import Page
from markupsafe import Markup

from spannorm_theory.render.html import FOLD, Cell, Formula, document, link, power_of_ten

HOSTILE = "<script>alert(1)</script> & \"x\" 'y'"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;x&#34; &#39;y&#39;"


@dataclass
class Image:
    uri: str = "data:,"
    width: float = 3.0
    caption: str = HOSTILE
    name: str = ""


def audit(rows: list[tuple[str | Cell, ...]]) -> str:
    """The page of an audit, which has a table, a list and a figure."""
    texts = dict.fromkeys(("title", "source", "expected", "outcome", "step", "reading"), HOSTILE)
    lists = {"departures": [HOSTILE], "gaps": [HOSTILE], "head": ["a", "b"], "rows": rows, "numeric": (1,)}
    return document("audit.html", image=Image(), menu=[(HOSTILE, HOSTILE)], **texts, **lists)


@pytest.mark.exact
def test_text_is_escaped_wherever_it_stands() -> None:
    html = audit([(HOSTILE, Cell(HOSTILE, HOSTILE, "n", HOSTILE)), (Markup("<b>x</b>"), "")])
    assert "<script>alert" not in html
    assert html.count(ESCAPED) == 17
    page = Page(html)
    assert page.tags.count("b") == 1
    assert page.tags.count("script") == 1


@pytest.mark.exact
def test_pieces_of_markup() -> None:
    assert power_of_ten(0.0) == "1"
    assert power_of_ten(-230.2585092994046) == "1.00×10<sup>−100</sup>"
    assert power_of_ten(float("-inf")) == "0"
    assert link("arXiv:2601.22580") == '<a href="https://arxiv.org/abs/2601.22580">arXiv:2601.22580</a>'
    assert link("a <b>") == "a &lt;b&gt;"
    assert Cell.number(float("nan"), ".1f") == Cell("–", "")
    assert Cell.number(-0.5, "+.0%") == Cell("−50%", -0.5)
    assert not Formula.of(Markup("x"), "x" * FOLD, "x").folded
    assert Formula.of(Markup("x"), "x" * (FOLD + 1), "x").name == f"x (long: {FOLD + 1} characters)"


TABLE = """<form class="filter">
<select name="verdict"><option value="">all</option><option>holds</option></select>
<input name="words"><output name="count"></output></form>
<div><table class="sortable"><thead><tr><th>word</th><th>number</th></tr></thead><tbody>
<tr data-verdict="holds"><td>b</td><td data-key="10">1e1</td></tr>
<tr data-verdict="fails"><td>–</td><td data-key="">–</td></tr>
<tr data-verdict="holds"><td>a</td><td data-key="9">9</td></tr>
<tr data-verdict="fails" id="far"><td>c<details><summary>evidence</summary>far</details></td><td>-3</td></tr>
</tbody></table></div>"""
SHOWN = (
    "[...document.querySelectorAll('tbody tr')].filter(row => !row.hidden)"
    ".map(row => row.cells[{}].firstChild.data).join()"
)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium brings it")
def test_tables_sort_by_a_click_and_filter(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(document("notation.html", title="x", rows=[]).replace("<h1>x</h1>", TABLE))
    with Browser(tmp_path / "profile") as browser:
        browser.visit(page, 800, fragment="#far")
        assert browser.tell("document.querySelector('#far details').open") is True
        click = "document.querySelectorAll('.sortable th')[{}].click()"
        browser.tell(click.format(1))
        assert browser.tell(SHOWN.format(1)) == "-3,9,1e1,–"
        browser.tell(click.format(1))
        assert browser.tell(SHOWN.format(1)) == "1e1,9,-3,–"  # what is missing stays last
        browser.tell(click.format(0))
        assert browser.tell(SHOWN.format(0)) == "a,b,c,–"
        browser.tell(
            "const form = document.querySelector('form'); form.elements.verdict.value = 'holds';"
            "form.dispatchEvent(new Event('input'))"
        )
        assert browser.tell(SHOWN.format(0)) == "a,b"
        browser.tell("form.elements.words.value = 'B'; form.dispatchEvent(new Event('input'))")
        assert browser.tell(SHOWN.format(0)) == "b"
        assert browser.tell("form.elements.count.value") == "1 of 4"
        assert browser.errors == []
