"""The report's own pages: the ranking with which it starts, all placements side by side, and the notation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from math import isnan, log
from typing import Any

from sympy import Symbol

from ..atlases.records import Cell as Laws
from ..atlases.shown import shown
from ..base.letters import LETTERS
from ..comparing.comparison import Comparison
from ..placement_pages.cells import Cell
from ..placement_pages.pictures import slug
from ..plot.canvas.marks import placement_title
from ..plot.canvas.picture import Picture
from ..render import mathml
from ..render.html import Cell as Entry
from ..render.html import document, power_of_ten
from ..render.typeset import raised
from ..verification.outcome import UNDECIDED
from .experts import Routed
from .site import FIGURES, INDEX, NOTATION, PLACEMENTS

TITLE = "Signal and gradient propagation by norm placement"
#: letters that no derivation has, and pages use
SPOKEN = ("n", "p", r"\rho", "r")

Menu = Sequence[tuple[str, str]]


def index(
    cells: Sequence[Cell],
    laws: Sequence[Laws],
    ranking: Comparison,
    figure: Picture | None,
    same: Mapping[str, tuple[str, str]],
    seed: int,
    menu: Menu,
) -> str:
    """The first page: which placement does what, in numbers.

    Args:
        ranking: of the cells' architectures, without those of ``same``.
        same: placements that are another one at initialisation, with that one and where they are it.
    """
    arch = cells[0].arch
    ensemble = next((c.verification.ensemble for c in cells if c.verification is not None), None)
    return document(
        "index.html",
        title=TITLE,
        menu=menu,
        here=INDEX,
        arch=arch,
        ensemble=ensemble,
        seed=seed,
        agree=sum(cell.passed for cell in cells),
        undecided=sum(cell.tone == "open" for cell in cells),
        count=len(cells),
        rows=list(_ranked(cells, laws, ranking)),
        sentences=list(map(raised, ranking.sentences)),
        figure=figure,
        same=[
            (_address(name), placement_title(name), _address(other), placement_title(other), where)
            for name, (other, where) in same.items()
        ],
        gradient=mathml.name("gamma", "0"),
        variance=mathml.name("q", "L"),
    )


def _address(placement: str) -> str:
    return f"{PLACEMENTS}/{slug(placement)}.html"


def _ranked(cells: Sequence[Cell], laws: Sequence[Laws], ranking: Comparison) -> Iterator[dict[str, Any]]:
    """A row for each candidate, the best first."""
    found = {cell.arch: cell for cell in cells}
    law = {one.arch: one for one in laws}
    rows = ranking.table.to_dict("records")
    for arch, row in zip(ranking.architectures, rows, strict=True):
        cell = found[arch]
        numbers: Mapping[Any, Any] = row
        yield {
            "address": _address(arch.placement),
            "title": placement_title(arch.placement),
            "scaling": arch.scaling,
            "verdict": cell.verdict,
            "tone": cell.tone,
            "cells": [
                _number(numbers, "gradient_ratio"),
                _number(numbers, "squared_gradient"),
                _layer(numbers, "cosine_above_0.5"),
                _layer(numbers, "cosine_above_0.9"),
                _number(numbers, "variance"),
                _number(numbers, "branch_share"),
            ],
            "law": shown(law[arch].found.get("gradient")),
        }


def _number(row: Mapping[Any, Any], name: str) -> Entry:
    """A positive number, by its logarithm where the table has that."""
    value = row[f"log_{name}"] if f"log_{name}" in row else log(row[name]) if row[name] > 0 else float("nan")
    return Entry("–", "") if isnan(value) else Entry(power_of_ten(value), value)


def _layer(row: Mapping[Any, Any], name: str) -> Entry:
    """The layer from which on tokens are that close; "never" sorts last, as the best of the deepest."""
    value = row[name]
    if isnan(value):
        return Entry("–" if row["problem"] else "never", "" if row["problem"] else float("inf"))
    return Entry(f"{value:.0f}", value)


def side_by_side(
    comparisons: Sequence[Picture],
    routed: Sequence[Routed],
    planes: Sequence[Picture],
    menu: Menu,
) -> str:
    """The figures of all placements, experts against dense branches, and phase diagrams."""
    parts = {"figures": "Layer by layer"}
    parts |= {"experts": "Dense and Mixture-of-Experts"} if routed else {}
    parts |= {"phases": "Phase diagrams"} if planes else {}
    rows = [
        [
            Entry(r.verdict, None, "good" if r.passed else "open" if r.verdict == UNDECIDED else "bad"),
            placement_title(r.arch.placement),
            r.variant,
            f"{r.cosine:.4f}",
            f"{r.estimate:.4f} ± {r.error:.4f}",
            f"{r.settled:.2g}",
            f"{r.imbalance:.2f}",
        ]
        for r in routed
    ]
    return document(
        "figures.html",
        title="Placements side by side",
        menu=menu,
        here=FIGURES,
        parts=parts,
        comparisons=comparisons,
        arch=routed[0].arch if routed else None,
        rows=rows,
        planes=planes,
    )


def notation(menu: Menu) -> str:
    """The letters of all pages."""
    rows = []
    for letter in chain(*LETTERS.values()):
        if isinstance(letter.written, Symbol):
            rows.append((mathml.inline(letter.written), letter.code, letter.meaning))
        elif letter.written in SPOKEN:
            symbol = Symbol(letter.written.removeprefix("\\"))
            rows.append((mathml.inline(symbol), letter.code, letter.meaning))
    return document("notation.html", title="Notation", menu=menu, here=NOTATION, rows=rows)
