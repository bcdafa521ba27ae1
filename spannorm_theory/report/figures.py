"""The report's figures, made from its cells: each as PDF and PNG in the folder and as SVG in the page."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ..plot.canvas.paper import new_figure, paper, render, save, venue
from ..plot.canvas.series import meaning
from ..plot.caption import caption
from ..plot.diagram.diagram import block_diagram
from ..plot.multiples import comparison, weight_gradients
from ..plot.panels import named
from ..plot.profiles import depth_profile
from .cells import Cell, groups

#: what is compared between placements: one of the token cosine and 1 minus it
QUANTITIES = ("variance", "grad_variance", "token_cosine")


@dataclass(frozen=True)
class Picture:
    """A figure in the page: an SVG as data URI, and the names of its files."""

    name: str
    caption: str
    uri: str
    width: float

    @classmethod
    def of(cls, figure: Figure, folder: Path, name: str, caption: str) -> Picture:
        """Save a figure as PDF and PNG under ``folder`` and keep its SVG."""
        with paper():  # the layout is the same in all three forms: solve it once
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for suffix in ("pdf", "png"):
            save(figure, folder / f"{name}.{suffix}")
        uri = "data:image/svg+xml;base64," + b64encode(render(figure, "svg")).decode()
        return cls(name, caption, uri, float(figure.get_figwidth()))

    def html(self) -> str:
        """The figure with its caption and links to its files."""
        links = ", ".join(
            f'<a href="figures/{self.name}.{kind}">{kind.upper()}</a>' for kind in ("pdf", "png")
        )
        img = f'<img src="{self.uri}" width="{round(self.width * 140)}" alt="{escape(self.caption)}">'
        kind = ' class="large"' if self.width > 5 else ""
        return f"<figure{kind}>{img}<figcaption>{escape(self.caption)} [{links}]</figcaption></figure>"


def slug(text: str) -> str:
    """A placement's text as part of a file name or link."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def comparisons(cells: Sequence[Cell], folder: Path) -> Iterator[Picture]:
    """The figures in which placements stand side by side, at most five curves in a panel."""
    known = {cell.arch: cell.table for cell in cells if not cell.table.empty}
    for end, archs in groups(list(known)):
        tables = [known[arch] for arch in archs]
        figure = comparison(tables, QUANTITIES)
        yield Picture.of(figure, folder, f"comparison{end}", caption(tables, QUANTITIES, figure="comparison"))
        for scaling in dict.fromkeys(arch.scaling for arch in archs):
            chosen = [known[arch] for arch in archs if arch.scaling == scaling]
            words = f"Scaling {scaling}. {caption(chosen, figure='weight_gradients')}"
            name = f"weight-gradients-{slug(scaling)}{end}"
            yield Picture.of(weight_gradients(chosen), folder, name, words)


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
            row[0].set_title(f"stream {stream}", loc="left")
    handles = [*named(axes[0, 0]), *meaning(list(axes.flat))]
    with paper():
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    words = f"{caption(tables, QUANTITIES)} Shade: bounds for any token correlation."
    return Picture.of(figure, folder, f"profiles-{slug(placement)}", words)


def diagrams(cells: Sequence[Cell], folder: Path) -> Iterator[Picture]:
    """Block diagrams of one placement: one for each scaling that changes the block, and the first block where
    it differs."""
    seen: set[str] = set()
    placement = cells[0].arch.placement
    for cell in cells:
        scaling, trace = cell.arch.scaling, cell.recursion.block.trace
        text = str(trace) + str([(dict(branch.gains), dict(branch.std)) for branch in trace.branches])
        if text in seen:
            continue
        seen.add(text)
        figure = block_diagram(placement, scaling=scaling, title=False).figure
        assert isinstance(figure, Figure)
        yield Picture.of(figure, folder, f"block-{slug(placement)}-{slug(scaling)}", f"scaling {scaling}")
    first = cells[0].recursion.first.trace
    if str(first) != str(cells[0].recursion.block.trace):
        scaling = cells[0].arch.scaling
        figure = block_diagram(placement, scaling=scaling, first=True, title=False).figure
        assert isinstance(figure, Figure)
        yield Picture.of(figure, folder, f"block-{slug(placement)}-first", f"first block, scaling {scaling}")
