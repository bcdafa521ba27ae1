"""``write_report``: from names and sizes to a folder with pages, figures, tables and record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..atlases.build import DEPTHS, SECONDS, Atlas
from ..atlases.cell import compute as atlas_cell
from ..base import arguments
from ..base.files import write_file
from ..base.interrupts import whole_results
from ..base.jsontext import to_json
from ..comparing.comparison import compare
from ..literature import ClaimsReport, claims
from ..placement_pages.cells import Cell, architectures, compute
from ..placement_pages.page import Subject
from ..placement_pages.page import page as placement_page
from ..placement_pages.pictures import slug
from ..plot.canvas.picture import Picture
from . import experts, page, phases
from .figures import comparisons
from .folder import replacing
from .site import CLAIMS, FIGURES, INDEX, NOTATION, PLACEMENTS, menu
from .tables import record, write_tables

#: networks of each architecture, as many as decide for two streams of 48 blocks: with 32 k would be above 6
NETWORKS = 40
RECORD = "report.json"
#: inches of the figure of the ranking, which a phone shows whole
RANKING = 4.8
#: the store of the phase diagrams, inside the report's folder
STORE = "sweeps"


@whole_results()
def write_report(
    out: str | Path,
    placements: Sequence[str] | str | None = None,
    scalings: Sequence[str] | str = ("unit", "depth-scaled-init"),
    depth: int = 48,
    width: int = 1024,
    heads: int = 16,
    tokens: int = 32,
    networks: int = NETWORKS,
    seed: int = 0,
    progress: bool = True,
    full: bool = False,
    **fields: Any,
) -> Path:
    """Derive, verify and draw the comparison of placements, and write it as one folder.

    The folder holds index.html (the placements ranked in numbers), placements/ (a page for each),
    figures.html (all side by side), atlas.html (the laws of all cases as one table, with its CSV and LaTeX),
    claims.html (what papers say, decided), notation.html, figures/ (PDF and PNG), tables/ (CSV) and
    report.json (versions, architectures, seeds, verdicts). Each page needs no other file to be read. The
    folder is written beside ``out`` and renamed when complete, so an earlier report stays whole until then.
    Equal inputs give equal files.

    Args:
        out: the folder to write; an earlier report there is replaced.
        placements: registered names, with options in brackets if they have any; None takes the eight
            standard ones.
        scalings: registered scaling rules.
        depth, width, heads, tokens: L, d, H and n of every architecture.
        networks: independent random networks for each case, at least 3.
        seed: of the networks.
        progress: show a progress bar.
        full: simulate the checks of all claims, which are derived only otherwise, and add phase diagrams.
            Their cells are kept in ``out``/sweeps, also when this is interrupted. Workers are started for
            them, so a script needs ``if __name__ == "__main__":``.
        fields: further fields of :class:`~spannorm_theory.Architecture`; standard placements that cannot have
            them are left out.

    Returns:
        the folder.

    Raises:
        InputError: a name, size or folder that cannot be used.

    Example:
        >>> import spannorm_theory as st
        >>> st.write_report("report", ["pre-norm", "post-norm"], "unit", depth=12)  # doctest: +SKIP
        PosixPath('report')
    """
    out, seed = arguments.path("out", out), arguments.seed(seed)
    networks = arguments.whole("networks", networks, 3, why="for a standard error")
    archs = architectures(placements, scalings, depth, width, heads, tokens, **fields)
    with replacing(out, RECORD, STORE) as folder:
        bar = tqdm(total=len(archs) + 3, desc="report", disable=not progress)
        cells: list[Cell] = []
        for cell in compute(archs, networks, seed):
            cells.append(cell)
            bar.set_postfix_str(f"{cell.arch.placement} {cell.arch.scaling}: {cell.verdict}", refresh=False)
            bar.update()
        for name in ("figures", "tables", PLACEMENTS):
            (folder / name).mkdir()
        laws = [atlas_cell(arch, DEPTHS, SECONDS) for arch in archs]
        routed = experts.compute(archs, networks, seed)
        bar.update()
        decided = claims(full=True, simulated=full)
        bar.update()
        planes = list(phases.phases(folder, out / STORE, progress)) if full else []
        _write_pages(folder, cells, Atlas(tuple(laws), DEPTHS), decided, routed, planes, seed)
        write_tables(cells, folder / "tables")
        write_file(folder / RECORD, to_json(record(cells, networks, seed, decided), indent=1) + "\n")
        bar.update()
        bar.close()
    return out


def _write_pages(
    folder: Path,
    cells: Sequence[Cell],
    atlas: Atlas,
    decided: ClaimsReport,
    routed: Sequence[experts.Routed],
    planes: Sequence[Picture],
    seed: int,
) -> None:
    """All pages of the report, with their figures."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.arch.placement, []).append(cell)
    links, figures = menu(list(groups)), folder / "figures"
    pages = {name: f"{slug(name)}.html" for name in groups}
    same = {}
    for name, group in groups.items():
        laws = [one for one in atlas.cells if one.arch.placement == name]
        subject = Subject.of(group, laws, figures, pages)
        if subject.cover is not None:
            same[name] = subject.cover.placement, subject.cover.blocks
        text = placement_page(subject, menu(list(groups), "../"), "../")
        write_file(folder / PLACEMENTS / pages[name], text)
    shown = [cell for cell in cells if cell.arch.placement not in same]
    ranking = compare([cell.arch for cell in shown], laws=False, progress=False)
    caption = "The best of the ranking: squared gradient norm and token cosine against the block, in theory."
    drawn = Picture.of(ranking.figure(width=RANKING), caption, figures, "ranking")
    write_file(folder / INDEX, page.index(cells, atlas.cells, ranking, drawn, same, seed, links))
    side_by_side = page.side_by_side(list(comparisons(shown, figures)), routed, planes, links)
    write_file(folder / FIGURES, side_by_side)
    write_file(folder / NOTATION, page.notation(links))
    atlas.write(folder, links)
    decided.write_page(folder / CLAIMS, links)
