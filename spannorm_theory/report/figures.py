"""The report's figures of all placements: each as PDF and PNG in the folder and as SVG in the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..placement_pages.cells import Cell, groups
from ..placement_pages.pictures import QUANTITIES, slug
from ..plot.canvas.picture import Picture
from ..plot.caption import caption
from ..plot.multiples import comparison, weight_gradients


def comparisons(cells: Sequence[Cell], folder: Path) -> Iterator[Picture]:
    """The figures in which placements stand side by side, at most five curves in a panel."""
    known = {cell.arch: cell.table for cell in cells if not cell.table.empty}
    for end, archs in groups(list(known)):
        tables = [known[arch] for arch in archs]
        words = caption(tables, QUANTITIES, figure="comparison")
        yield Picture.of(comparison(tables, QUANTITIES), words, folder, f"comparison{end}")
        for scaling in dict.fromkeys(arch.scaling for arch in archs):
            chosen = [known[arch] for arch in archs if arch.scaling == scaling]
            words = f"Scaling {scaling}. {caption(chosen, figure='weight_gradients')}"
            name = f"weight-gradients-{slug(scaling)}{end}"
            yield Picture.of(weight_gradients(chosen), words, folder, name)
