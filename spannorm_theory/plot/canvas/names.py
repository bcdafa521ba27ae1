"""Names of curves at their ends, moved apart where ends are close; or in a legend where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .paper import venue
from .series import Look

#: curves that are named at their ends, at most; and characters of a line of a name
MOST, LONG = 6, 15
#: heights of a line of text between two names, and the share of axes that constrained layout leaves of them
LINE, LEFT = 1.12, 0.86
#: points from the axes to the names
BESIDE = 9.0


def fits_at_ends(ax: Axes, looks: Sequence[Look]) -> bool:
    """Whether there is room beside the axes for the names of so many curves."""
    return 0 < len(looks) <= MOST and float(_heights(ax, looks).sum()) <= 1.0


def name_ends(ax: Axes, looks: Sequence[Look], ends: Sequence[tuple[float, float]]) -> None:
    """Write each curve's name beside the axes at the height of its end, with a thin line from there where it
    had to move; call it when the limits of the axes are final.

    Args:
        ends: the last point of each curve, in coordinates of the data.
    """
    heights = _heights(ax, looks)
    ax.autoscale_view()  # what was drawn decides the limits, unless they are set
    at = ax.transAxes.inverted().transform(ax.transData.transform(np.array(ends, dtype=float)))
    wanted = np.clip(np.nan_to_num(at[:, 1], nan=0.5), 0.0, 1.0)
    size = mpl.rcParams["legend.fontsize"]
    width = ax.get_window_extent().width / ax.get_figure(root=True).dpi * 72  # type: ignore[union-attr]
    for look, (x, y), goal, place in zip(looks, at, wanted, spread(wanted, heights), strict=True):
        text = ax.annotate(
            wrapped(look.label),
            (1.0, place),
            xycoords="axes fraction",
            xytext=(BESIDE * venue().scale, 0),
            textcoords="offset points",
            va="center",
            color=look.style.colour,
            fontsize=size,
            linespacing=1.1,
            annotation_clip=False,
        )
        text.set_gid("name")
        if abs(place - goal) > 0.2 * heights.min() or x < 0.9:
            beside = 1 + (BESIDE - 1.5) * venue().scale / width
            (line,) = ax.plot(
                [min(x + 0.01, 1.0), beside],
                [np.clip(y, 0, 1), place],
                transform=ax.transAxes,
                color=look.style.colour,
                linewidth=0.4 * venue().scale,
                clip_on=False,
                label="_leader",
            )
            line.set_in_layout(False)


def wrapped(label: str) -> str:
    """A long name in two lines."""
    return label if len(label) <= LONG else label.replace(", ", ",\n", 1)


def spread(wanted: NDArray[np.float64], heights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places nearest to those wanted, at which labels of these heights do not overlap, within 0 and 1."""
    order = np.argsort(wanted, kind="stable")
    goal, size = wanted[order], heights[order]
    offset = np.cumsum(size) - size / 2  # of each label above the lowest's foot
    # labels that touch form groups, each at the mean of where its members want it (pool adjacent violators)
    groups: list[tuple[float, int]] = []
    for target in goal - offset:
        groups.append((float(target), 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (a, m), (b, n) = groups[-2:]
            groups[-2:] = [((a * m + b * n) / (m + n), m + n)]
    shift = np.repeat([mean for mean, _ in groups], [count for _, count in groups])
    low, high = -size[0] / 2, 1 - float(size.sum()) + size[-1] / 2
    places = np.empty_like(wanted)
    places[order] = np.clip(shift, low, max(low, high)) + offset
    return places


def _heights(ax: Axes, looks: Sequence[Look]) -> NDArray[np.float64]:
    """Height of each name, as a share of the axes'."""
    tall = LEFT * ax.get_window_extent().height / ax.get_figure(root=True).dpi * 72  # type: ignore[union-attr]
    lines = np.array([1 + wrapped(look.label).count("\n") for look in looks], dtype=float)
    return np.asarray(LINE * float(mpl.rcParams["legend.fontsize"]) * lines / tall)
