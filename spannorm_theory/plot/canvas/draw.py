"""Draw curves on axes: theory as a line, Monte Carlo as points with error bars, bounds as shade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..curves import Curve
from .marks import Style
from .paper import venue
from .scales import Ordinate, choose_ordinate, dress_layer_axis, dress_value_axis, widen

#: Monte Carlo points on one curve, at most
POINTS = 10


@dataclass(frozen=True)
class Look:
    """A curve's style and its name in the legend."""

    style: Style
    label: str


def draw(
    ax: Axes,
    found: Sequence[Curve],
    look: Callable[[Curve], Look],
    *,
    logarithmic: bool,
    relative: bool,
    bounds: bool,
    ordinate: Ordinate | None = None,
) -> Ordinate:
    """Draw every curve and dress both axes; returns how values became coordinates."""
    ordinate = ordinate or choose_ordinate(found, logarithmic)
    dress_value_axis(ax, ordinate)
    for index, curve in enumerate(found):
        _draw_one(ax, curve, look(curve), ordinate, relative, bounds, index)
    dress_layer_axis(ax, relative, max(curve.depth for curve in found))
    widen(ax, found, ordinate)
    return ordinate


def _draw_one(
    ax: Axes, curve: Curve, look: Look, ordinate: Ordinate, relative: bool, bounds: bool, index: int
) -> None:
    style = look.style
    x = curve.layer / curve.depth if relative else curve.layer
    # dashed lines lie over solid ones, so that curves that coincide both show
    height = 3.0 if style.dash == "-" else 3.2
    if bounds and np.isfinite(curve.low).any():
        low, high = ordinate(curve.low), ordinate(curve.high)
        low = np.where(np.isneginf(curve.low), np.nanmin(low[np.isfinite(low)], initial=1.0), low)
        ax.fill_between(x, low, high, color=style.colour, alpha=0.13, linewidth=0, zorder=1 + 0.01 * index)
        for edge in (low, high):
            ax.plot(x, edge, color=style.colour, linewidth=0.4, alpha=0.5, zorder=1.5)
    if np.isfinite(curve.theory).any():
        (line,) = ax.plot(x, ordinate(curve.theory), **style.line, zorder=height, label=look.label)
        line.set_gid("theory")
    measured = np.flatnonzero(np.isfinite(curve.estimate))
    if len(measured) == 0:
        return
    shown = measured[thin(len(measured), style.order)]
    middle = ordinate(curve.estimate[shown])
    errors = np.abs(np.stack([ordinate(curve.lower[shown]), ordinate(curve.upper[shown])]) - middle)
    errors = np.where(np.isfinite(errors), errors, 0.0)  # no SE from one network
    bars = ax.errorbar(
        x[shown],
        middle,
        yerr=errors,
        **style.points,
        elinewidth=0.8 * venue().scale,
        zorder=height + 0.5,
    )
    bars.lines[0].set_gid("monte-carlo")
    if not np.isfinite(curve.theory).any():
        bars.lines[0].set_label(look.label)


def thin(count: int, order: int) -> NDArray[np.intp]:
    """Indices of the points to mark among ``count``: about ten, starting at a place that depends on
    ``order``."""
    step = max(1, ceil(count / POINTS))
    return np.arange((order * 3) % step if step > 1 else 0, count, step)


def handle(look: Look, theory: bool = True, measured: bool = True) -> Line2D:
    """The handle of a curve in a legend."""
    line = {**look.style.points, **(look.style.line if theory else {})}
    if not measured:
        line["marker"] = ""
    return Line2D([], [], **line, label=look.label)


def name_curves(ax: Axes, found: Sequence[Curve], look: Callable[[Curve], Look], ordinate: Ordinate) -> int:
    """Write each curve's name at its end; where names would collide, a legend above the axes.

    Returns:
        the number of rows that the legend takes, 0 where there is none.
    """
    looks = [look(curve) for curve in found]
    ends = [_end(curve, ordinate) for curve in found]
    if len(found) > 1 and apart(ax, ends):
        for curve, one, (x, y) in zip(found, looks, ends, strict=True):
            name_at(ax, one, x / curve.depth if "L" in ax.get_xlabel() else x, y)
        return 0
    handles = [
        handle(one, bool(np.isfinite(c.theory).any()), bool(np.isfinite(c.estimate).any()))
        for c, one in zip(found, looks, strict=True)
    ]
    columns = columns_that_fit([one.label for one in looks], 0.95 * ax.figure.bbox.width / ax.figure.dpi * 72)
    ax.legend(
        handles=handles, loc="lower center", bbox_to_anchor=(0.45, 1.02), ncols=columns, borderaxespad=0
    )
    return ceil(len(looks) / columns)


def name_at(ax: Axes, look: Look, x: float, y: float) -> None:
    """Write a curve's name behind its end."""
    ax.annotate(
        look.label,
        (x, y),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        color=look.style.colour,
        fontsize=mpl.rcParams["legend.fontsize"],
        annotation_clip=False,
    )


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


def _end(curve: Curve, ordinate: Ordinate) -> tuple[float, float]:
    last = np.flatnonzero(np.isfinite(curve.best))
    at = int(last[-1]) if len(last) else -1
    return float(curve.layer[at]), float(ordinate(curve.best)[at])


def apart(ax: Axes, ends: Sequence[tuple[float, float]]) -> bool:
    """Whether labels at these heights keep a line's distance from each other."""
    heights = np.sort(ax.transData.transform([(0, y) for _, y in ends])[:, 1])
    return bool(
        np.isfinite(heights).all()
        and (np.diff(heights) / ax.figure.dpi * 72 > 1.2 * mpl.rcParams["legend.fontsize"]).all()
    )
