"""The atlas as one page: a table that sorts and filters, in words first, without any outside resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import Any

from markupsafe import Markup

from ..base.formulas import COLLAPSE
from ..render import mathml
from ..render.html import Cell as Entry
from ..render.html import document, power_of_ten
from ..render.typeset import raised
from ..spec.architecture import parse_placement
from ..spec.placements import PLACEMENTS
from ..spec.scaling import SCALINGS
from .branch_gains import ends
from .check import DEPTHS, LADDER, VALUES
from .known import CHECK_GAINS
from .learning_rates import RULES
from .records import OK, SHOWN, Cell, Share
from .shown import numbers, shown
from .verdict import verdict

TITLE = "Atlas of norm placements and scaling rules"


def page(
    cells: Sequence[Cell], depths: Sequence[int], summary: str, menu: Sequence[tuple[str, str]] = ()
) -> str:
    """The whole document.

    Args:
        depths: of the cells' shares.
        summary: how many cells there are, and how their checks came out.
        menu: links at the side, as address and text.
    """
    laws = {
        "Forward": mathml.name("q", "L"),
        "Gradient": mathml.name("gamma", "0"),
        "Tokens": mathml.name(COLLAPSE),
        "Identity gain": "",
    }
    gains, independent = ends(cells[0].arch)
    return document(
        "atlas.html",
        title=TITLE,
        menu=menu,
        summary=summary[0].upper() + summary[1:],
        arch=cells[0].arch,
        gains=gains,
        independent=independent,
        check_gains=", ".join(f"{g:g}" for g in CHECK_GAINS),
        ladder=", ".join(map(str, LADDER)),
        values=VALUES,
        deepest=DEPTHS[-1],
        depths=(depths[0], depths[-1]),
        failures=list(_failures(cells)),
        laws=laws,
        sampled=any(cell.monte_carlo for cell in cells),
        rows=[_row(cell, depths[0], depths[-1]) for cell in cells],
    )


def _failures(cells: Sequence[Cell]) -> Iterator[str]:
    for cell in cells:
        if cell.failed:
            details = [f"{name}: {f.detail}" for name, f in cell.found.items() if f.status == "FAIL"]
            reasons = [*details, *([cell.monte_carlo] if "FAIL" in cell.monte_carlo else []), cell.problem]
            yield f"{cell.arch}: {'; '.join(filter(None, reasons))}"


def _row(cell: Cell, first: int, last: int) -> Mapping[str, Any]:
    """What the template reads of one cell."""
    name, _ = parse_placement(cell.arch.placement)
    shares = cell.shares
    return {
        "placement": cell.arch.placement,
        "scaling": cell.arch.scaling,
        "title": f"{PLACEMENTS[name].title}; {SCALINGS[cell.arch.scaling].title}",
        "words": raised(verdict(cell)),
        "caveats": "; ".join(cell.caveats),
        "laws": [shown(cell.found.get(quantity)) for quantity in SHOWN],
        "cells": [
            _rate(cell),
            _share(shares.get(last), "update"),
            _share(shares.get(first), "cosine"),
            _share(shares.get(last), "cosine"),
            Entry(_bounds(cell), cell.limits["gradient"][1] if "gradient" in cell.limits else ""),
            _status(cell.checked, cell.problem),
        ],
        "monte_carlo": _status(cell.monte_carlo),
    }


def _share(share: Share | None, name: str) -> Entry:
    if share is None:
        return Entry("–", "")
    value = getattr(share, name)
    inner = power_of_ten(log(value)) if value > 0 else f"{value:.2g}"
    return Entry(inner, f"{value:.6g}", "n")


def _rate(cell: Cell) -> Entry:
    """The learning rate's law: Adam's, and SGD's behind it where it is another."""
    trends = cell.rates.trends
    if not trends:
        return Entry("–", "", "", cell.rates.reason)
    words = dict.fromkeys(numbers(trends[rule]) for rule in RULES)
    return Entry(Markup("; ").join(words), trends[RULES[0]].log_shape(DEPTHS[-1]))


def _status(text: str, note: str = "") -> Entry:
    kind = "good" if text.startswith(OK) else "bad" if text.startswith("FAIL") else "note"
    return Entry(text, None, kind, note)


def _bounds(cell: Cell) -> Markup:
    parts = []
    for name, symbol in (("forward", "q"), ("gradient", "γ₀")):
        if name in cell.limits:
            low, high = (power_of_ten(x) for x in cell.limits[name])
            parts.append(Markup("{}: {}").format(symbol, low if low == high else low + " to " + high))
    return Markup("<br>").join(parts) or Markup("–")
