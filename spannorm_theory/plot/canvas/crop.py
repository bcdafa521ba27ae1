"""Keep one exploding curve from flattening all others: crop the panel and say where the curve goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from ..curves import Curve
from .marks import placement_label, placement_style
from .scales import LN10, Ordinate

#: a placement is cropped when it stretches the axis by more than this factor
STRETCH = 3.0
#: the least range of logarithms that is kept, and what is added around it
LEAST_RANGE, BELOW, ABOVE = 2.0, 0.06, 0.16


@dataclass(frozen=True)
class Limits:
    """Natural logarithms between which panels are shown, and the placement that leaves them."""

    low: float
    high: float
    leaver: str

    def apply(self, ax: Axes, found: Sequence[Curve], ordinate: Ordinate) -> None:
        """Limit the axes, and name the leaving curve with its greatest value where it leaves."""
        ax.set_ylim(*ordinate(np.array([self.low, self.high])))
        for curve in found:
            if curve.placement == self.leaver and np.nanmax(curve.best) > self.high:
                self._say(ax, curve)
                return

    def _say(self, ax: Axes, curve: Curve) -> None:
        outside = np.flatnonzero(curve.best > self.high)
        rising = curve.best[0] <= self.high
        share = float(outside[0] if rising else outside[-1]) / len(curve.layer)
        right = share < 0.5
        ax.annotate(
            rf"{placement_label(curve.placement)}: to $10^{{{np.nanmax(curve.best) / LN10:.0f}}}$",
            (share, 0.995),
            xycoords="axes fraction",
            xytext=(6 if right else -6, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="top",
            fontsize=mpl.rcParams["xtick.labelsize"],
            color=placement_style(curve.placement).colour,
        )


def crop_limits(panels: Sequence[Sequence[Curve]]) -> Limits | None:
    """Limits for panels on one log axis that fit all placements but one, where that one would leave the
    others in a small part of the axis."""
    shown = [curve for panel in panels for curve in panel if np.isfinite(curve.best).any()]
    if len({curve.placement for curve in shown}) < 2:
        return None
    tops = np.array([curve.best[np.isfinite(curve.best)].max() for curve in shown])
    bottom = min(curve.best[np.isfinite(curve.best)].min() for curve in shown)
    leaver = shown[int(tops.argmax())].placement
    leaves = np.array([curve.placement == leaver for curve in shown])
    kept = max(tops[~leaves].max() - bottom, LEAST_RANGE)
    if tops.max() - bottom < STRETCH * kept:
        return None
    # panels in which the placement behaves are shown in full
    kept = max(kept, tops[tops - bottom < STRETCH * kept].max() - bottom)
    return Limits(bottom - BELOW * kept, bottom + (1 + ABOVE) * kept, leaver)
