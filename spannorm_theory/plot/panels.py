"""Several drawings side by side, on axes of one size, under one legend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..base import arguments
from ..base.errors import InputError
from .canvas.paper import LARGEST, PaperFigure, new_figure, paper, venue
from .canvas.series import columns_that_fit


def panels(
    drawings: Mapping[str, Callable[[Axes], object]],
    *,
    columns: int = 3,
    share: str = "",
    width: float | None = None,
    height: float = 1.9,
    legend: bool = True,
) -> PaperFigure:
    """Draw each function on axes of its own, titled with its name.

        st.plot.panels({"PreNorm": lambda ax: st.plot.spectrum(table, ax=ax, names=False), ...})

    Args:
        drawings: title to a function that draws on the axes it gets.
        columns: panels in a row, at most.
        share: "x", "y" or "xy": axes that all panels share.
        width: of the figure, in inches; by default the venue's text.
        height: of a row, in inches.
        legend: one legend above, of every labelled line; labels that repeat are shown once.

    Returns:
        the figure, with a method ``savefig``.

    Raises:
        InputError: nothing to draw.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.predict("pre-norm depth=2 width=64 heads=2 tokens=8")
        >>> draw = lambda ax: st.plot.depth_profile(table, "variance", ax=ax)
        >>> figure = st.plot.panels({"PreNorm": draw, "again": draw})
        >>> [ax.get_title() for ax in figure.axes][:2]
        ['PreNorm', 'again']
    """
    columns = arguments.whole("columns", columns, 1)
    if not isinstance(drawings, Mapping) or not all(callable(draw) for draw in drawings.values()):
        raise InputError(f"panels map a title to a function that draws, got {arguments.described(drawings)}")
    share = "" if isinstance(share, str) and not share else arguments.choice("share", share, ("x", "y", "xy"))
    height = arguments.number("height", height, most=LARGEST)
    if not drawings:
        raise InputError("panels need at least one drawing")
    across = min(columns, len(drawings))
    rows = ceil(len(drawings) / across)
    with paper():
        figure = new_figure(venue().full if width is None else width, (height * rows + 0.25) * venue().scale)
        grid: Any = figure.subplots(rows, across, sharex="x" in share, sharey="y" in share, squeeze=False)
        entries: dict[str, Line2D] = {}
        for at, (title, draw) in enumerate(drawings.items()):
            ax = grid.flat[at]
            draw(ax)
            ax.set_title(title)
            if "x" in share and at + across < len(drawings):
                ax.set_xlabel("")
            elif "x" in share:
                ax.tick_params(labelbottom=True)
            if "y" in share and at % across:
                ax.set_ylabel("")
            for line in named(ax):
                entries.setdefault(str(line.get_label()), line)
        for ax in grid.flat[len(drawings) :]:
            ax.set_axis_off()
        if legend and entries:
            fitting = columns_that_fit(list(entries), figure.get_figwidth() * 72)
            handles = list(entries.values())
            figure.legend(handles=handles, loc="outside upper center", ncols=fitting)
    return figure


def named(ax: Axes) -> list[Line2D]:
    """Handles of the labelled curves in a legend: each line with the marker of its points."""
    handles = []
    for line in ax.lines:
        label = str(line.get_label())
        if label.startswith("_"):
            continue
        one = Line2D([], [], label=label)
        one.update_from(line)
        for points in ax.lines:
            if points.get_gid() == "monte-carlo" and points.get_color() == line.get_color():
                one.set_marker(points.get_marker())
                one.set_markersize(points.get_markersize())
                one.set_markerfacecolor(points.get_markerfacecolor())
                one.set_markeredgecolor(points.get_markeredgecolor())
        handles.append(one)
    return handles
