"""One curve on axes: theory as a line, Monte Carlo as points with error bars, and its handle in a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from .marks import Style
from .paper import venue

#: what keys say of all curves at once
THEORY, MEASURED, ENDS = "theory", "Monte Carlo, 95% interval", "end of what the theory predicts"
LAW = "law, through the deepest point"


@dataclass(frozen=True)
class Look:
    """A curve's style and its name in the legend."""

    style: Style
    label: str


def draw_line(ax: Axes, x: ArrayLike, y: ArrayLike, look: Look, *, zorder: float = 3.0) -> None:
    """Draw the theory of a curve, under its name."""
    (line,) = ax.plot(x, y, **look.style.line, zorder=zorder, label=look.label)
    line.set_gid("theory")


def draw_points(
    ax: Axes,
    x: ArrayLike,
    y: ArrayLike,
    errors: ArrayLike,
    look: Look,
    *,
    named: bool = False,
    zorder: float = 3.5,
) -> None:
    """Draw the Monte Carlo of a curve.

    Args:
        errors: half an error bar, or (2, points) for what is below and above; NaN where there is none.
        named: under the curve's name, which has no line.
    """
    errors = np.nan_to_num(np.asarray(errors, dtype=float), nan=0.0, posinf=0.0)
    width = 0.8 * venue().scale
    bars = ax.errorbar(x, y, yerr=errors, **look.style.points, elinewidth=width, zorder=zorder)
    bars.lines[0].set_gid("monte-carlo")
    if named:
        bars.lines[0].set_label(look.label)


def draw_end(ax: Axes, x: float, y: float, look: Look) -> None:
    """Mark where the theory of a curve ends before its layers do."""
    (mark,) = ax.plot([x], [y], **{**_end(), "color": look.style.colour}, zorder=3.4, label="_end")
    mark.set_gid("end")


def _end() -> dict[str, Any]:
    scale = venue().scale
    return {"marker": "|", "markersize": 8 * scale, "markeredgewidth": 1.1 * scale, "linestyle": "none"}


def handle(look: Look, theory: bool = True, measured: bool = True) -> Line2D:
    """The handle of a curve in a legend."""
    line = {**look.style.points, **(look.style.line if theory else {})}
    if not measured:
        line["marker"] = ""
    return Line2D([], [], **line, label=look.label)


def meaning(axes: Sequence[Axes]) -> list[Line2D]:
    """Handles that say in grey what lines, points, ends and laws are, of those that the axes have."""
    there = {line.get_gid() for ax in axes for line in ax.lines}
    grey: dict[str, Any] = {"color": "0.35"}
    points = {"linestyle": "none", "marker": "o", "markersize": 3.4 * venue().scale}
    line = {"linewidth": 1.1 * venue().scale}
    dots = {**line, "linestyle": ":"}
    looks = (
        ("theory", line, THEORY),
        ("monte-carlo", points, MEASURED),
        ("end", _end(), ENDS),
        ("law", dots, LAW),
    )
    return [Line2D([], [], **grey, **look, label=text) for gid, look, text in looks if gid in there]


def columns_that_fit(labels: Sequence[str], points: float) -> int:
    """Number of a legend's columns, filled column by column, that fit into ``points`` points."""
    size = mpl.rcParams["legend.fontsize"]
    widths = [(0.47 * len(label.replace("$", "")) + 4.8) * size for label in labels]
    for columns in range(len(labels), 1, -1):
        rows = ceil(len(labels) / columns)
        filled = ceil(len(labels) / rows)
        if (
            filled == columns
            and sum(max(widths[i : i + rows]) for i in range(0, len(widths), rows)) <= points
        ):
            return columns
    return 1
