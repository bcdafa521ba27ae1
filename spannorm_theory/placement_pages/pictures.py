"""The figures of one placement: its blocks, and its profiles under every scaling rule."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ..plot.canvas.paper import new_figure, paper, venue
from ..plot.canvas.picture import Picture
from ..plot.canvas.series import meaning
from ..plot.caption import caption
from ..plot.diagram.diagram import block_diagram
from ..plot.panels import named
from ..plot.profiles import depth_profile
from .cells import Cell

#: what is drawn of every layer: one of the token cosine and 1 minus it
QUANTITIES = ("variance", "grad_variance", "token_cosine")


def slug(text: str) -> str:
    """A placement's text as part of a file name or link."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def profiles(cells: Sequence[Cell], folder: Path) -> Picture | None:
    """Variance, gradient and token cosine of one placement under every scaling, with bounds."""
    tables = [cell.table for cell in cells if not cell.table.empty]
    if not tables:
        return None
    placement = cells[0].arch.placement
    streams = sorted(set(pd.concat(tables)["stream"]) & {"0", "1"})
    with paper():
        figure = new_figure(venue().full, 2.1 * len(streams))
        axes = figure.subplots(len(streams), 3, squeeze=False, sharex=True)
    for row, stream in zip(axes, streams, strict=True):
        for ax, quantity in zip(row, QUANTITIES, strict=True):
            depth_profile(tables, quantity, stream=stream, ax=ax, per="scaling", bounds=True, names=False)
            if stream != streams[-1]:
                ax.set_xlabel("")
        if len(streams) > 1:
            with paper():
                row[0].set_title(f"stream {stream}", loc="left")
    handles = [*named(axes[0, 0]), *meaning(list(axes.flat))]
    with paper():
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    words = f"{caption(tables, QUANTITIES)} Shade: bounds for any token correlation."
    return Picture.of(figure, words, folder, f"profiles-{slug(placement)}")


def diagrams(cells: Sequence[Cell], folder: Path) -> Iterator[Picture]:
    """Block diagrams of one placement: one for each scaling that changes the block, and the first block where
    it differs."""
    seen: set[str] = set()
    placement = cells[0].arch.placement
    for cell in cells:
        scaling, trace = cell.arch.scaling, cell.recursion.block.trace
        text = str(trace) + str([(dict(b.gains), dict(b.std), dict(b.outputs)) for b in trace.branches])
        if text in seen:
            continue
        seen.add(text)
        figure = block_diagram(placement, scaling=scaling, title=False).figure
        assert isinstance(figure, Figure)
        yield Picture.of(figure, f"scaling {scaling}", folder, f"block-{slug(placement)}-{slug(scaling)}")
    first = cells[0].recursion.first.trace
    if str(first) != str(cells[0].recursion.block.trace):
        scaling = cells[0].arch.scaling
        figure = block_diagram(placement, scaling=scaling, first=True, title=False).figure
        assert isinstance(figure, Figure)
        yield Picture.of(figure, f"first block, scaling {scaling}", folder, f"block-{slug(placement)}-first")
