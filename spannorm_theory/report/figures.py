"""The report's figures of all placements: each as PDF and PNG in the folder and as SVG in the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..placement_pages.cells import Cell
from ..placement_pages.pictures import sizes, slug
from ..plot.canvas.picture import Picture
from ..plot.multiples import comparison, weight_gradients

#: quantity, file name and caption of the figures
QUANTITIES: tuple[tuple[str, str, str], ...] = (
    ("variance", "forward-variance", "Second moment per coordinate of each stream, before block l."),
    (
        "grad_variance",
        "gradient-variance",
        "Second moment per coordinate of the loss gradient at each stream: the whole gradient, skip path and "
        "branches together.",
    ),
    ("token_cosine", "token-cosine", "Cosine between the representations of two tokens."),
    (
        "rank_collapse",
        "rank-collapse",
        "One minus the token cosine: zero would mean that all tokens have become the same vector.",
    ),
)


def comparisons(cells: Sequence[Cell], folder: Path) -> Iterator[Picture]:
    """The figures in which all placements stand side by side."""
    tables = [cell.table for cell in cells if not cell.table.empty]
    if not tables:
        return
    scalings = list(dict.fromkeys(str(table["scaling"].iloc[0]) for table in tables))
    simulated = sizes(cells)
    for quantity, name, caption in QUANTITIES:
        figure = comparison(tables, [quantity], scalings, shared=False, height=3.3)
        yield Picture.of(figure, f"{caption} Here {simulated}", folder, name)
    for scaling in scalings:
        chosen = [table for table in tables if table["scaling"].iloc[0] == scaling]
        caption = (
            f"Squared Frobenius norm of the gradient of each weight matrix, scaling {scaling}. {simulated}"
        )
        yield Picture.of(weight_gradients(chosen), caption, folder, f"weight-gradients-{slug(scaling)}")
