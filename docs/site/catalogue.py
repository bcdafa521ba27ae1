"""The catalogue: a page for each placement and each rule, and the pages of all laws and of all claims.

A placement is derived and compared with random networks under ``unit``, the rule that was published with it,
and ``depth-scaled-init``. The networks are small, so that the whole site builds in minutes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import rules
from embedding import embedded

from spannorm_theory.atlases.build import DEPTHS, SECONDS, Atlas, architectures
from spannorm_theory.atlases.cell import compute as laws_of
from spannorm_theory.atlases.page import page as atlas_page
from spannorm_theory.atlases.records import Cell as Laws
from spannorm_theory.base.files import write_file
from spannorm_theory.literature import claims
from spannorm_theory.literature.page import page as claims_page
from spannorm_theory.placement_pages.cells import compute
from spannorm_theory.placement_pages.page import Subject, body
from spannorm_theory.placement_pages.pictures import slug
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.spec.catalogue import placements, scalings
from spannorm_theory.spec.placement import Placement
from spannorm_theory.spec.scaling import ScalingRule

NETWORKS = 40

PLACEMENTS = """# Placements

The {placements} norm placements that the toolkit knows, in the order of years. A page is generated from the
definition: block, recursion, laws with numbers, theory against {networks} random networks of {depth} blocks
and width {width}, the models that use it, and the simpler designs that it equals at initialisation.
[Add your own](../../docs/extending.md).

| placement | | year | streams | |
|---|---|---|---|---|
"""

RULES = """# Scaling rules

The {rules} rules that multiply skips, branches and matrices, in the order of years. A page has the factors,
the laws that follow, and who uses it. [Add your own](../../docs/extending.md#a-scaling-rule).

| rule | | year |
|---|---|---|
"""


def write(source: Path, figures: Path) -> None:
    """Write all pages into the sources, and figures as files into a folder of their own.

    Raises:
        SystemExit: theory and networks disagree for a placement.
    """
    figures.mkdir(parents=True, exist_ok=True)
    names = sorted(placements(), key=lambda name: -placements()[name].streams)  # what takes long begins
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_placement, names, [figures] * len(names))
        of_rules = dict(zip(rules.cases(), pool.map(_laws, rules.cases()), strict=True))
        pages = list(found)
    for name, (text, _) in zip(names, pages, strict=True):
        write_file(_made(source / "catalogue" / "placements") / _file(name), text)
    for name in scalings():
        write_file(_made(source / "catalogue" / "rules") / f"{slug(name)}.md", rules.page(name, of_rules))
    for folder, text in _indices():
        write_file(source / "catalogue" / folder / "index.md", text)
    laws = {found.arch: found for _, cells in pages for found in cells} | of_rules
    order = {name: at for at, name in enumerate(placements())}
    cells = tuple(sorted(laws.values(), key=lambda cell: order[cell.arch.name]))
    every = Atlas(cells, DEPTHS)
    write_file(source / "atlas.md", embedded(atlas_page(every.cells, every.depths, every.summary())))
    decided = claims(full=True, simulated=False)
    write_file(source / "claims.md", embedded(claims_page(decided.outcomes, decided.simulated)))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file(placement: str) -> str:
    return f"{slug(placement)}.md"


def _placement(name: str, figures: Path) -> tuple[str, list[Laws]]:
    """The page of a placement, and its laws."""
    wanted = dict.fromkeys(("unit", placements()[name].scaling, "depth-scaled-init"))
    archs = architectures([name], list(wanted), **rules.SIZES)
    cells = list(compute(archs, NETWORKS, seed=0))
    off = [f"{cell.arch}: {cell.verdict}" for cell in cells if cell.tone == "bad"]
    if off:
        raise SystemExit("theory and networks disagree: " + "; ".join(off))
    laws = [_laws(arch) for arch in archs]
    pages = {other: f"{slug(other)}.html" for other in placements()}
    return embedded(body(Subject.of(cells, laws, figures, pages), "../../")), laws


def _laws(arch: Architecture) -> Laws:
    return laws_of(arch, DEPTHS, SECONDS)


def _indices() -> Iterator[tuple[str, str]]:
    """The first pages of placements and of rules, by folder: what there is, in a table."""
    counts = {"placements": len(placements()), "rules": len(scalings()), "networks": NETWORKS, **rules.SIZES}
    known = sorted(placements().values(), key=_by_year)
    table = PLACEMENTS.format(**counts) + "".join(map(_row, known))
    yield "placements", table + _toctree([entry.name for entry in known])
    ordered = sorted(scalings().values(), key=_by_year)
    rows = (f"| [{r.name}]({slug(r.name)}.md) | {_plain(r.title)} | {r.year or ''} |\n" for r in ordered)
    yield "rules", RULES.format(**counts) + "".join(rows) + _toctree([rule.name for rule in ordered])


def _by_year(entry: Placement | ScalingRule) -> tuple[int, str]:
    return entry.year or 9999, entry.name


def _row(entry: Placement) -> str:
    about = re.split(r"(?<=\.)\s", " ".join(entry.doc.split()), maxsplit=1)[0]
    link = f"[{entry.title}]({_file(entry.name)})"
    return f"| `{entry.name}` | {link} | {entry.year or ''} | {entry.streams} | {_plain(about)} |\n"


def _plain(text: str) -> str:
    """Text without a meaning in Markdown."""
    return re.sub(r"([\\`*_\[\]|$<])", r"\\\1", text)


def _toctree(names: Sequence[str]) -> str:
    lines = "\n".join(map(slug, names))
    return f"\n:::{{toctree}}\n:hidden:\n\n{lines}\n:::\n"
