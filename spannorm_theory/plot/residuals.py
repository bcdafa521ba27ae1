"""Residuals of Monte Carlo from theory, in standard errors, for every quantity at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from ..base import arguments
from ..base.errors import InputError
from ..base.quantities import QUANTITIES
from ..verification.outcome import Verification
from .canvas.marks import placement_label, placement_style, sequence_style
from .canvas.paper import COLUMN, PaperAxes, axes_or_none, new_figure, paper, venue

#: inches of a quantity's row, and of the frame around the rows
ROW, FRAME = 0.2, 0.75
#: share of a row that the layers of a profile take
SPREAD = 0.7
#: how a failure looks in every colour
FAILS: dict[str, Any] = {"marker": "X", "color": "black", "markeredgecolor": "white", "markeredgewidth": 0.3}
#: numbers that may stand on the axis beyond k
OUTER = (20, 50, 100, 200, 500, *(10**k for k in range(3, 9)))


def residuals(
    found: Verification | Iterable[Verification], *, ax: Axes | None = None, names: bool = True
) -> Axes:
    """Draw z = (Monte Carlo - theory) / SE, a row for each quantity, in which layers rise from 0 to L.

    The band is the gate's +-k standard errors, marked on the axis; beyond it the axis is logarithmic. A
    placement's own mark passes, a ring of its colour lies outside the band by no more than the theory's own
    allowance for a finite width, and a black cross fails.

    Args:
        found: a verification, or several, told apart as in every figure.
        ax: draw here instead of on a figure of its own.
        names: a legend, where there is more than one kind of mark.

    Returns:
        the axes.

    Raises:
        InputError: no verification, or two of one placement and scaling.

    Example:
        >>> import spannorm_theory as st
        >>> result = st.verify("pre-norm depth=2 width=64 heads=2 tokens=8", networks=40, progress=False)
        >>> len(st.plot.residuals(result).get_yticks()) > 4
        True
    """
    several = [found] if isinstance(found, Verification) else arguments.items("found", found, "verifications")
    shown = [arguments.instance("found", one, Verification, "verify") for one in several]
    ax = axes_or_none(ax)
    labels = _labels(shown)
    rows = list(dict.fromkeys(name for one in shown for name in _rows(one.table)))
    with paper():
        if ax is None:
            height = (ROW * len(rows) + FRAME) * venue().scale
            axes = new_figure(max(venue().column, COLUMN), height).add_subplot(axes_class=PaperAxes)
        else:
            axes = ax
        threshold = max(one.threshold for one in shown)
        axes.axvspan(-threshold, threshold, color="0.93", linewidth=0, zorder=0)
        axes.axvline(0, color="0.6", linewidth=0.6 * venue().scale)
        outside = failed = False
        for at, one in enumerate(shown):
            style = placement_style(one.arch.placement) if _by_placement(shown) else sequence_style(at)
            for row, part in _rows(one.table).items():
                place = rows.index(row) + SPREAD * (0.5 - part["layer"] / max(1, one.arch.depth))
                z = part["z"].to_numpy(dtype=float)
                bad = part["verdict"].isin(["off", "out of bounds"]).to_numpy()
                far = (np.abs(z) > one.threshold) & ~bad
                points = {**style.points, "markersize": 2.2 * venue().scale}
                ring = {**points, "marker": "o", "markerfacecolor": "white", "markeredgecolor": style.colour}
                cross = {**points, **FAILS, "markersize": 3.6 * venue().scale}
                for mask, look, gid in (
                    (~far & ~bad, points, "within"),
                    (far, {**ring, "markeredgewidth": 0.7}, "allowed"),
                    (bad, cross, "failed"),
                ):
                    axes.plot(z[mask], place[mask], **look, gid=gid)
                outside, failed = outside or bool(far.any()), failed or bool(bad.any())
        _dress(axes, rows, threshold)
        if names:
            _legend(axes, shown, labels, outside, failed)
    return axes


def _by_placement(shown: list[Verification]) -> bool:
    return len({one.arch.scaling for one in shown}) == 1


def _labels(shown: list[Verification]) -> list[str]:
    if not shown:
        raise InputError("residuals need at least one verification")
    if _by_placement(shown):
        labels = [placement_label(one.arch.placement) for one in shown]
    else:
        labels = [f"{placement_label(one.arch.placement)}, {one.arch.scaling}" for one in shown]
    if len(set(labels)) < len(labels):
        raise InputError("two verifications of one placement and scaling cannot be told apart")
    return labels


def _rows(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tested rows by name, in the table's order."""
    tested = table[np.isfinite(table["z"]) & ~table["verdict"].isin(["rare", "not predicted"])]
    named = {}
    for (quantity, stream), part in tested.groupby(["quantity", "stream"], sort=False):
        if quantity == "weight_grad_norm":
            name = f"gradient of {stream}"
        else:
            name = QUANTITIES[str(quantity)].label + (f", stream {stream}" if stream != "0" else "")
        named[name] = part
    return named


def _dress(ax: Axes, rows: list[str], threshold: float) -> None:
    far = max((float(np.abs(line.get_xdata()).max(initial=0)) for line in ax.lines), default=0.0)
    limit = max(1.4 * far, min(1.3 * threshold, 5.0))
    ax.set_xscale("symlog", linthresh=threshold, linscale=1.3)
    ax.set_xlim(-limit, limit)
    inner = [0.0, 2.0 if min(threshold, limit) < 6 else 3.0]
    # the largest round number that fits, where it has room beside k
    far_out = [x for x in OUTER if 2.5 * threshold < x <= limit][-1:]
    shown = [*inner, *([round(threshold, 1)] if threshold < limit else []), *far_out]
    ticks = sorted({s * x + 0.0 for x in shown for s in (-1, 1)})
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(_number))
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    for row in range(1, len(rows)):
        ax.axhline(row - 0.5, color="0.88", linewidth=0.5 * venue().scale, zorder=0.5)
    ax.set_xlabel("(Monte Carlo − theory) / SE", loc="right")  # no room is left for one that juts out


def _number(x: float, _: int | None = None) -> str:
    return (
        f"{x:g}".replace("-", "−")
        if abs(x) < 1000
        else rf"${'-' if x < 0 else ''}10^{{{np.log10(abs(x)):.0f}}}$"
    )


def _legend(ax: Axes, shown: list[Verification], labels: list[str], outside: bool, failed: bool) -> None:
    size = 3.4 * venue().scale
    handles = []
    if len(shown) > 1:
        for at, (one, label) in enumerate(zip(shown, labels, strict=True)):
            style = placement_style(one.arch.placement) if _by_placement(shown) else sequence_style(at)
            handles.append(Line2D([], [], **style.points, label=label))
    grey: dict[str, Any] = {"color": "0.35", "linestyle": "none", "marker": "o", "markersize": size}
    if outside:
        handles.append(Line2D([], [], **grey, markerfacecolor="white", label="within the allowance"))
    if failed:
        handles.append(Line2D([], [], **{**grey, **FAILS}, label="fails"))
    if handles:
        ax.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(1.0, 1.01),
            ncols=min(len(handles), 2),
            borderaxespad=0,
            fontsize=mpl.rcParams["xtick.labelsize"],
        )
