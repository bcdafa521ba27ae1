"""Everything about one placement, as a page, or as a part of somebody else's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

from ..atlases.check import VALUES
from ..atlases.records import SHOWN
from ..atlases.records import Cell as Laws
from ..atlases.shown import shown
from ..atlases.verdict import verdict
from ..base.formulas import COLLAPSE, IDENTITY, RATIO, WORDS
from ..moments.reductions import EVERY, LATER, Reduction
from ..plot.canvas.marks import placement_title
from ..plot.canvas.picture import Picture
from ..render import mathml
from ..render.html import document
from ..render.typeset import raised
from .cells import Cell
from .evidence import identity, worst
from .formulas import derived
from .origins import simpler, source, users
from .pictures import diagrams, profiles, slug

#: parts of a page, by anchor
PARTS = {
    "block": "Block",
    "recursion": "Recursion",
    "laws": "Laws with numbers",
    "evidence": "Theory against networks",
    "identity": "Identity gain",
    "models": "Who uses it",
    "reductions": "What it reduces to",
}

#: what of :data:`.atlases.records.SHOWN` is called on a page
NAMES = {
    "forward": mathml.name("q", "L"),
    "gradient": mathml.name("gamma", "0"),
    "collapse": mathml.name(COLLAPSE),
    "identity": WORDS[IDENTITY],
}


@dataclass(frozen=True)
class Subject:
    """One placement: its cells under each rule, their laws, what it reduces to, and its figures.

    Attributes:
        pages: addresses of the pages of placements, by name, as its own page reads them.
    """

    cells: Sequence[Cell]
    laws: Sequence[Laws]
    simpler: Sequence[Reduction]
    blocks: Sequence[Picture]
    profile: Picture | None
    pages: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, cells: Sequence[Cell], laws: Sequence[Laws], folder: Path, pages: Mapping[str, str]
    ) -> Subject:
        """Find what it reduces to, draw the figures, and save them under ``folder``."""
        return cls(cells, laws, simpler(cells), list(diagrams(cells, folder)), profiles(cells, folder), pages)

    @property
    def cover(self) -> Reduction | None:
        """The simpler design whose page has this one's formulas, too: blocks behind the first are its."""
        whole = (one for one in self.simpler if one.blocks in (EVERY, LATER))
        return next((one for one in whole if one.placement in self.pages), None)

    @property
    def parts(self) -> dict[str, str]:
        """Titles of the parts of its page, by anchor."""
        return {anchor: title for anchor, title in PARTS.items() if anchor != "laws" or self.cover is None}

    @property
    def title(self) -> str:
        """The placement's name for people."""
        return placement_title(self.cells[0].arch.placement)

    @property
    def file(self) -> str:
        """The name of its page."""
        return f"{slug(self.cells[0].arch.placement)}.html"


def page(subject: Subject, menu: Sequence[tuple[str, str]] = (), root: str = "") -> str:
    """The whole document.

    Args:
        menu: links at the side, as address and text; parts of the page stand below the one that leads to it.
        root: the way from the page to the folder that holds ``figures/``, with its slash at the end.
    """
    return document("placement.html", menu=menu, here=subject.file, root=root, **_values(subject))


def body(subject: Subject, root: str = "") -> str:
    """The content without head and menu, for a page that has its own: headings begin at h1."""
    return document("placement_body.html", root=root, **_values(subject))


def _values(subject: Subject) -> dict[str, Any]:
    """What the templates read."""
    cells, cover = subject.cells, subject.cover
    entry = cells[0].entry
    return {
        "parts": subject.parts,
        "title": subject.title,
        "placement": cells[0].arch.placement,
        "arch": cells[0].arch,
        "year": entry.year,
        "origin": source(entry.source),
        "about": entry.doc,
        "streams": entry.streams,
        "words": [(laws.arch.scaling, raised(verdict(laws)), laws.caveats) for laws in subject.laws],
        "blocks": subject.blocks,
        "equations": _equations(cells),
        "definition": _definition(cells[0]),
        "cover": cover and (subject.pages[cover.placement], placement_title(cover.placement), cover.blocks),
        "derived": derived(cells),
        "depths": VALUES,
        "rows": [_row(laws, name) for laws in subject.laws for name in SHOWN],
        "profile": subject.profile,
        "verifications": [(cell, [] if cell.verification is None else list(worst(cell))) for cell in cells],
        "identity": list(identity(cells)),
        "ratio": mathml.name(RATIO),
        "users": users(cells[0].arch.placement),
        "simpler": [
            (subject.pages.get(one.placement, ""), placement_title(one.placement), one.blocks)
            for one in subject.simpler
        ],
    }


def _equations(cells: Sequence[Cell]) -> Mapping[str, list[str]]:
    """What a block computes, with where it does: of rules that change its matrices alone it is one line."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        block, first = str(cell.recursion.block.trace), str(cell.recursion.first.trace)
        found.setdefault(block, []).append(cell.arch.scaling)
        if (before := cell.recursion.before) is not None:
            where = f"{cell.arch.scaling}, the first {cell.recursion.start} blocks"
            found.setdefault(str(before.block.trace), []).append(where)
        if first != block:
            found.setdefault(first, []).append(f"{cell.arch.scaling}, first block")
    return found


def _row(laws: Laws, name: str) -> tuple[str, ...]:
    law = shown(laws.found.get(name))
    values = law.values or ("–",) * len(VALUES)
    return (
        laws.arch.scaling if name == SHOWN[0] else "",
        NAMES[name],
        law.numbers,
        *values,
        law.since or "–",
    )


def _definition(cell: Cell) -> str:
    try:
        return dedent(inspect.getsource(cell.entry.function))
    except (OSError, TypeError):
        return ""  # defined where Python keeps no source text
