"""``write_report``: from names and sizes to a folder with page, figures, tables and record."""

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
from ..literature import claims
from . import experts, phases
from .cells import Cell, architectures, compute
from .figures import comparisons, diagrams, profiles
from .folder import replacing
from .page import page
from .sections import section
from .tables import record, write_tables

#: networks of each architecture, as many as decide for two streams of 48 blocks: with 32 k would be above 6
NETWORKS = 40
RECORD = "report.json"
#: the store of the phase diagrams, inside the report's folder
STORE = "sweeps"
BACK = '<nav><a href="index.html">Report</a></nav>\n'


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

    The folder holds index.html (one file, readable offline), atlas.html (the laws of all cases as one
    table, with its CSV and LaTeX), claims.html (what papers say, decided), figures/ (PDF and PNG), tables/
    (CSV) and report.json (versions, architectures, seeds, verdicts). It is written beside ``out`` and renamed
    when complete, so an earlier report stays whole until then. Equal inputs give equal files.

    Args:
        out: the folder to write; an earlier report there is replaced.
        placements: registered names, with options in brackets if they have any; None takes the eight
            standard ones.
        scalings: registered scaling rules.
        depth, width, heads, tokens: L, d, H and n of every architecture.
        networks: independent random networks for each case, at least 3.
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
        groups: dict[str, list[Cell]] = {}
        for cell in cells:
            groups.setdefault(cell.arch.placement, []).append(cell)
        for name in ("figures", "tables"):
            (folder / name).mkdir()
        figures = list(comparisons(cells, folder / "figures"))
        bar.update()
        sections = {
            name: section(group, diagrams(group, folder / "figures"), profiles(group, folder / "figures"))
            for name, group in groups.items()
        }
        write_tables(cells, folder / "tables")
        Atlas(tuple(atlas_cell(arch, DEPTHS, SECONDS) for arch in archs), DEPTHS).write(folder)
        routed = experts.section(experts.compute(archs, networks, seed))
        bar.update()
        decided = claims(full=True, simulated=full)
        decided.write_page(folder / "claims.html", before=BACK)
        bar.update()
        bar.close()
        planes = list(phases.phases(folder, out / STORE, progress)) if full else []
        text = page(groups, networks, seed, figures, sections, routed, phases.section(planes))
        write_file(folder / "index.html", text)
        write_file(folder / RECORD, to_json(record(cells, networks, seed, decided), indent=1) + "\n")
    return out
