"""The catalogue: a page for each placement and each rule, and the pages of all laws and of all claims.

A placement is derived and compared with random networks under ``unit``, the rule that was published with it,
and ``depth-scaled-init``. The networks are small, so that the whole site builds in minutes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import rules
from embedding import embedded, inline

from spannorm_theory.atlases.build import DEPTHS, SECONDS, Atlas, architectures
from spannorm_theory.atlases.cell import compute as laws_of
from spannorm_theory.atlases.page import page as atlas_page
from spannorm_theory.atlases.records import Cell as Laws
from spannorm_theory.base.files import write_file
from spannorm_theory.explorer.designs import SIZES as GRID
from spannorm_theory.explorer.designs import rules as grid_rules
from spannorm_theory.literature import claims
from spannorm_theory.literature.page import page as claims_page
from spannorm_theory.placement_pages.cells import compute
from spannorm_theory.placement_pages.page import Subject, body
from spannorm_theory.placement_pages.pictures import slug
from spannorm_theory.render.html import power_of_ten
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.spec.catalogue import placements, scalings
from spannorm_theory.spec.placement import Placement
from spannorm_theory.spec.scaling import ScalingRule

NETWORKS = 40

PLACEMENTS = """# Placements

The {placements} norm placements that the toolkit knows, in the order of years, with the gradient that
reaches the embedding of a stack of {shown} blocks. A page is generated from the definition: block, recursion,
laws with numbers, theory against {networks} random networks of {depth} blocks and width {width}, the models
that use it, and the simpler designs that it equals at initialisation.
[Add your own](../../docs/extending.md).

The *squared gradient* is the second moment per coordinate of the loss gradient at the embedding, where it
is 1 at the model's output: under the placement's own rule, which was published with it, and without a rule,
`unit`. {tokens} tokens, no mask, GELU, fan-in initialisation; [the explorer](../../docs/explorer.md) has
more tokens, other depths, and masks.

| placement | squared gradient at {shown} blocks, own rule | under `unit` | own rule | year | what it does |
|---|---|---|---|---|---|
"""

#: the depth of the number with which a page begins
SHOWN = 48

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
        decided = pool.submit(_claims)
        found = pool.map(_placement, names, [figures] * len(names))
        of_rules = dict(zip(rules.cases(), pool.map(_laws, rules.cases()), strict=True))
        pages = list(found)
        write_file(source / "claims.md", decided.result())
    for name, (text, _) in zip(names, pages, strict=True):
        write_file(_made(source / "catalogue" / "placements") / _file(name), text)
    for name in scalings():
        write_file(_made(source / "catalogue" / "rules") / f"{slug(name)}.md", rules.page(name, of_rules))
    for folder, text in _indices({name: cells for name, (_, cells) in zip(names, pages, strict=True)}):
        write_file(source / "catalogue" / folder / "index.md", text)
    laws = {found.arch: found for _, cells in pages for found in cells} | of_rules
    order = {name: at for at, name in enumerate(placements())}
    cells = tuple(sorted(laws.values(), key=lambda cell: order[cell.arch.name]))
    every = Atlas(cells, DEPTHS)
    write_file(source / "atlas.md", embedded(atlas_page(every.cells, every.depths, every.summary())))


def _claims() -> str:
    """The page of all claims."""
    decided = claims(full=True, simulated=False)
    return embedded(claims_page(decided.outcomes, decided.simulated))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _file(placement: str) -> str:
    return f"{slug(placement)}.md"


def _placement(name: str, figures: Path) -> tuple[str, list[Laws]]:
    """The page of a placement, and its laws."""
    wanted = dict.fromkeys((placements()[name].scaling, "unit", "depth-scaled-init"))
    archs = architectures([name], list(wanted), **rules.SIZES)
    cells = list(compute(archs, NETWORKS, seed=0))
    off = [f"{cell.arch}: {cell.verdict}" for cell in cells if cell.tone == "bad"]
    if off:
        raise SystemExit("theory and networks disagree: " + "; ".join(off))
    laws = [_laws(arch) for arch in archs]
    pages = {other: f"{slug(other)}.html" for other in placements()}
    text = embedded(body(Subject.of(cells, laws, figures, pages), "../../"), _answer(laws))
    return text, laws


def _laws(arch: Architecture) -> Laws:
    return laws_of(arch, DEPTHS, SECONDS)


ANSWER = """| after {shown} blocks, under the rule | squared gradient at the embedding | variance at the top |
|---|---|---|
{rows}

The second moment per coordinate of the loss gradient, where it is 1 at the model's output, and of the stream;
{tokens} tokens, no mask, GELU, fan-in initialisation.
Tokens matter: [the explorer](../../docs/explorer.md) has
<a href="../../explorer/index.html#{designs}">every layer of {more} tokens</a>, with and without a mask.

"""


def _answer(laws: Sequence[Laws]) -> str:
    """What most readers come for: the gradient at one depth, under each rule, and where there is more."""
    name, own = laws[0].arch.placement, laws[0].arch.scaling
    rows, designs = [], []
    for one in laws:
        rule = one.arch.scaling
        published = ", published with it" if rule == own != "unit" else ""
        rows.append(f"| {_rule(rule)}{published} | **{_at(one, 'gradient')}** | {_at(one, 'forward')} |")
        if rule in grid_rules(name):
            designs.append(f"d={name}.{rule}.{SHOWN}.gelu.none")
    links = "&amp;".join(designs)
    counts = {"shown": SHOWN, "tokens": rules.SIZES["tokens"], "more": GRID["tokens"]}
    return ANSWER.format(rows="\n".join(rows), designs=links, **counts)


def _rule(name: str) -> str:
    return f"[`{name}`](../rules/{slug(name)}.md)"


def _at(laws: Laws, quantity: str) -> str:
    """A quantity at the depth that is shown."""
    found = laws.found.get(quantity)
    return power_of_ten(found.at[SHOWN]) if found and SHOWN in found.at else "–"


def _indices(laws: Mapping[str, Sequence[Laws]]) -> Iterator[tuple[str, str]]:
    """The first pages of placements and of rules, by folder: what there is, in a table.

    Args:
        laws: of each placement, those of its own rule first.
    """
    counts = {"placements": len(placements()), "rules": len(scalings()), "networks": NETWORKS, "shown": SHOWN}
    counts |= rules.SIZES
    known = sorted(placements().values(), key=_by_year)
    table = PLACEMENTS.format(**counts) + "".join(_row(entry, laws.get(entry.name, ())) for entry in known)
    yield "placements", table + _toctree([entry.name for entry in known])
    ordered = sorted(scalings().values(), key=_by_year)
    rows = (f"| [{r.name}]({slug(r.name)}.md) | {inline(r.title)} | {r.year or ''} |\n" for r in ordered)
    yield "rules", RULES.format(**counts) + "".join(rows) + _toctree([rule.name for rule in ordered])


def _by_year(entry: Placement | ScalingRule) -> tuple[int, str]:
    return entry.year or 9999, entry.name


def _row(entry: Placement, laws: Sequence[Laws]) -> str:
    about = re.split(r"(?<=\.)\s", " ".join(entry.doc.split()), maxsplit=1)[0]
    by_rule = {one.arch.scaling: _at(one, "gradient") for one in laws}
    cells = [
        f"[{entry.title}]({_file(entry.name)}) `{entry.name}`",
        by_rule.get(entry.scaling, "–"),
        by_rule.get("unit", "–"),
        _rule(entry.scaling),
        str(entry.year or ""),
        inline(about),
    ]
    return f"| {' | '.join(cells)} |\n"


def _toctree(names: Sequence[str]) -> str:
    lines = "\n".join(map(slug, names))
    return f"\n:::{{toctree}}\n:hidden:\n\n{lines}\n:::\n"
