"""Draw curves on axes: theory as a line, Monte Carlo as points with error bars, bounds as shade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..curves import Curve
from .names import fits_at_ends, name_ends
from .scales import Ordinate, choose_ordinate, dress_layer_axis, dress_value_axis, widen
from .series import Look, columns_that_fit, draw_end, draw_line, draw_points, handle

#: Monte Carlo points on one curve, at most
POINTS = 10


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
    predicted = bool(np.isfinite(curve.theory).any())
    if predicted:
        draw_line(ax, x, ordinate(curve.theory), look, zorder=height)
        if curve.stop is not None:
            draw_end(ax, x[curve.stop], float(ordinate(curve.theory)[curve.stop]), look)
    measured = np.flatnonzero(np.isfinite(curve.estimate))
    if len(measured) == 0:
        return
    shown = measured[thin(len(measured), style.order)]
    middle = ordinate(curve.estimate[shown])
    errors = np.abs(np.stack([ordinate(curve.lower[shown]), ordinate(curve.upper[shown])]) - middle)
    draw_points(ax, x[shown], middle, errors, look, named=not predicted, zorder=height + 0.5)


def thin(count: int, order: int) -> NDArray[np.intp]:
    """Indices of the points to mark among ``count``: about ten, starting at a place that depends on
    ``order``."""
    step = max(1, ceil(count / POINTS))
    return np.arange((order * 3) % step if step > 1 else 0, count, step)


def name_curves(ax: Axes, found: Sequence[Curve], look: Callable[[Curve], Look], ordinate: Ordinate) -> int:
    """Write each curve's name at its end; where names do not fit there, a legend above the axes.

    Returns:
        the number of rows that the legend takes, 0 where there is none.
    """
    looks = [look(curve) for curve in found]
    if fits_at_ends(ax, looks):
        name_ends(ax, looks, curve_ends(ax, found, ordinate))
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


def curve_ends(ax: Axes, found: Sequence[Curve], ordinate: Ordinate) -> list[tuple[float, float]]:
    """The last point of each curve, in coordinates of the axes' data."""
    relative = "L" in ax.get_xlabel()
    ends = []
    for curve in found:
        last = np.flatnonzero(np.isfinite(curve.best))
        at = int(last[-1]) if len(last) else -1
        x = curve.layer[at] / (curve.depth if relative else 1)
        ends.append((float(x), float(ordinate(curve.best)[at])))
    return ends
