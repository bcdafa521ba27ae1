"""Keep one exploding curve from flattening all others: crop the panel and say where the curve goes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from .curves import Curve
from .scales import LN10, Ordinate
from .style import placement_style, placement_title

#: a placement is cropped when it stretches the axis by more than this factor
STRETCH = 3.0
#: the least range of logarithms that is kept, and what is added around it
LEAST_RANGE, BELOW, ABOVE = 2.0, 0.06, 0.16


def crop(axes: Sequence[Axes], panels: Sequence[Sequence[Curve]]) -> None:
    """Limit panels on one log axis to all placements but one that leaves the others far below, if there is
    such a one, and write in each panel where that one ends."""
    tops: dict[str, float] = {}
    bottom = np.inf
    for curve in (curve for panel in panels for curve in panel):
        values = curve.best[np.isfinite(curve.best)]
        if len(values):
            tops[curve.placement] = max(tops.get(curve.placement, -np.inf), float(values.max()))
            bottom = min(bottom, float(values.min()))
    if len(tops) < 2:
        return
    leaver, highest = max(tops.items(), key=lambda item: item[1])
    top = max(value for name, value in tops.items() if name != leaver)
    kept = max(top - bottom, LEAST_RANGE)
    if highest - bottom < STRETCH * kept:
        return
    limits = np.array([bottom - BELOW * kept, bottom + (1 + ABOVE) * kept])
    for ax, panel in zip(axes, panels, strict=True):
        ordinate = Ordinate("log" if ax.get_yscale() == "log" else "powers")
        ax.set_ylim(*ordinate(limits))
        for curve in panel:
            if curve.placement == leaver and np.nanmax(curve.best) > limits[1]:
                _say(ax, curve, float(limits[1]))
                break


def _say(ax: Axes, curve: Curve, limit: float) -> None:
    """Name the curve and its greatest value beside the place where it leaves the panel."""
    crossing = float(
        np.flatnonzero(curve.best > limit)[0]
        if curve.best[0] <= limit
        else np.flatnonzero(curve.best > limit)[-1]
    )
    share = crossing / len(curve.layer)
    text = rf"{placement_title(curve.placement)}: to $10^{{{np.nanmax(curve.best) / LN10:.0f}}}$"
    ax.annotate(
        text,
        (share, 0.995),
        xycoords="axes fraction",
        xytext=(6 if share < 0.5 else -6, 0),
        textcoords="offset points",
        ha="left" if share < 0.5 else "right",
        va="top",
        fontsize=7,
        color=placement_style(curve.placement).colour,
    )
