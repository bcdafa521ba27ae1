"""The page of a placement: who uses it, what it equals, and that nothing is said twice."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from helpers import Page

from spannorm_theory.atlases.cell import compute as laws_of
from spannorm_theory.models.registry import published
from spannorm_theory.placement_pages.cells import Cell, architectures, compute
from spannorm_theory.placement_pages.formulas import derived
from spannorm_theory.placement_pages.origins import Use, simpler, source, users
from spannorm_theory.placement_pages.page import PARTS, Subject, body, page
from spannorm_theory.render.recursion import derive

PAGES = {"hybrid-norm": "hybrid-norm.html", "hybrid-norm-star": "hybrid-norm-star.html"}


def subject(name: str, pages: dict[str, str]) -> Subject:
    cells: list[Cell] = list(compute(architectures([name], ["unit"], 3, 16, 2, 4), 3, 0))
    return Subject(cells, [laws_of(cells[0].arch, (8,), 30.0)], simpler(cells), [], None, pages)


@pytest.mark.exact
def test_users_are_the_published_models_of_a_placement() -> None:
    names = [use.name for use in users("pre-norm")]
    assert {"gpt2", "llama-3-8b", "granite-3-8b"} <= set(names)  # the last with an option
    assert names == [name for name, entry in published().items() if entry.read(16384).arch.name == "pre-norm"]
    assert users("pre-norm(branch=0.5)") == users("pre-norm")
    assert users("span-norm") == ()


@pytest.mark.exact
def test_sources_have_their_titles() -> None:
    assert source("arXiv:1706.03762 (variant)") == (
        "https://arxiv.org/abs/1706.03762",
        "Attention Is All You Need (variant)",
    )
    assert source("this paper") == ("", "this paper")


@pytest.mark.exact
def test_the_page_says_all_parts_and_its_numbers_are_the_cells() -> None:
    shown = subject("pre-norm", {})
    text = page(shown, [("index.html", "Ranking"), ("pre-norm.html", "PreNorm")])
    found = Page(text)
    assert set(shown.parts) <= set(found.ids)
    assert {f"#{part}" for part in shown.parts} <= set(found.links)
    assert "x + attention" in text or "attention(norm" in text
    assert "<td>L</td>" not in text  # laws have their constants
    law = re.search(r"<td>([0-9.]+) L</td>", text)
    assert law is not None
    value = shown.laws[0].found["forward"].trend
    assert value is not None
    assert float(law[1]) == pytest.approx(value.constant, rel=0.005)
    inner = body(shown)
    assert "<html" not in inner
    assert inner.count("<h1>") == 1


@pytest.mark.exact
def test_what_equals_another_is_not_said_again() -> None:
    """HybridNorm* is HybridNorm but for its first block."""
    star = subject("hybrid-norm-star", PAGES)
    text = page(star)
    assert star.parts.keys() == PARTS.keys() - {"laws"}
    assert Page(text).links.count("hybrid-norm.html") == 2  # for its formulas, and below
    assert "every block but the first" in text
    assert "closed forms</summary>" not in text
    alone = subject("hybrid-norm-star", {"hybrid-norm-star": PAGES["hybrid-norm-star"]})
    assert alone.cover is None
    assert "Closed forms" in page(alone)


@pytest.mark.exact
def test_a_second_rule_says_what_differs() -> None:
    """Output projections over sqrt(L) change four of the equations of a block with two streams."""
    archs = architectures(["siamese-norm"], ["unit", "depth-scaled-init"], 3, 16, 2, 4)
    cells = [Cell(arch, derive(arch.placement, arch.scaling), None, "", pd.DataFrame()) for arch in archs]
    first, second = derived(cells)
    assert (first.like, second.like) == ("", "unit")
    ((_, whole),), ((_, others),) = first.recursion, second.recursion
    assert len(others) == 4 < len(whole) / 2
    assert not {line.markup for line in others} & {line.markup for line in whole}


@pytest.mark.exact
def test_options_of_models_are_shown_to_four_digits() -> None:
    use = Use("minicpm3-4b", 2024, "", "pre-norm(branch=0.1778001778002667)", "unit")
    assert use.shown == "pre-norm(branch=0.1778)"
