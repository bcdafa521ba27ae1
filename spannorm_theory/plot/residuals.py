"""Residuals of Monte Carlo from theory, in standard errors, for every quantity at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..base import arguments
from ..base.errors import InputError
from ..base.quantities import INPUT, OUTPUT, QUANTITIES
from ..verification.outcome import Verification
from .canvas.marks import placement_label, placement_style
from .canvas.paper import COLUMN, PaperAxes, axes_or_none, new_figure, paper, venue
from .canvas.series import columns_that_fit

#: inches of a quantity's row, of the frame around the rows, and of a column and of the rows' names
ROW, FRAME = 0.2, 0.8
#: share of a row that the layers of a profile take
SPREAD = 0.76
#: standard errors between which 19 of 20 residuals of a correct theory lie; and the least that is shown
CHANCE, LEAST = 2.0, 4.0
#: the most that is shown, in units of k: residuals beyond stand at the edge
MOST = 1.5
#: how a failure looks in every colour
FAILS: dict[str, Any] = {"marker": "X", "color": "black", "markeredgecolor": "white", "markeredgewidth": 0.3}


def residuals(
    found: Verification | Iterable[Verification], *, ax: Axes | None = None, names: bool = True
) -> Axes:
    """Draw z = (Monte Carlo - theory) / SE: a row for each quantity, in which layers fall from 0 to L, and a
    panel for each verification.

    In the band are 19 of 20 residuals of a correct theory; dashed lines are the gate's +-k, where they are in
    sight. The bar of a row is its mean over layers: beside the band's middle the theory is off by
    the same sign in all layers. A ring lies beyond k and within what the width allows, a black cross fails;
    what lies beyond the axis stands at its edge.

    Args:
        found: a verification, or several, of one depth or many.
        ax: draw here instead of on a figure of its own; for one verification.
        names: a legend, where there are rings or crosses.

    Returns:
        the axes; of several the first, whose figure has them all.

    Raises:
        InputError: no verification, two of one placement and scaling, or several for one ``ax``.

    Example:
        >>> import spannorm_theory as st
        >>> result = st.verify("pre-norm depth=2 width=64 heads=2 tokens=8", networks=40, progress=False)
        >>> len(st.plot.residuals(result).get_yticks()) > 4
        True
    """
    several = [found] if isinstance(found, Verification) else arguments.items("found", found, "verifications")
    shown = [arguments.instance("found", one, Verification, "verify") for one in several]
    ax = axes_or_none(ax)
    titles = _titles(shown)
    if ax is not None and len(shown) > 1:
        raise InputError(f"one axes shows the residuals of one verification, got {len(shown)}; leave out ax")
    rows = list(dict.fromkeys(name for one in shown for name in _rows(one.table)))
    with paper():
        if ax is None:
            width = max(venue().column, COLUMN) if len(shown) == 1 else venue().full
            figure = new_figure(width, (ROW * len(rows) + FRAME) * venue().scale)
            axes: list[Axes] = list(
                figure.subplots(
                    1, len(shown), sharey=True, squeeze=False, subplot_kw={"axes_class": PaperAxes}
                ).flat
            )
        else:
            axes = [ax]
        limit = max(_limit(one) for one in shown)
        for one, title, panel in zip(shown, titles, axes, strict=True):
            _draw(panel, one, rows, limit)
            if len(shown) > 1:
                panel.set_title(title)
        handles = _meaning(axes) if names else []
        if handles and ax is None:
            texts = [str(one.get_label()) for one in handles]
            fitting = columns_that_fit(texts, 72 * figure.get_figwidth())
            figure.legend(handles=handles, loc="outside upper center", ncols=fitting)
        elif handles:
            axes[0].legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.01), borderaxespad=0)
    return axes[0]


def _titles(shown: list[Verification]) -> list[str]:
    if not shown:
        raise InputError("residuals need at least one verification")
    rules = {one.arch.scaling for one in shown}
    titles = [placement_label(one.arch.placement) for one in shown]
    if len(rules) > 1:
        titles = [f"{title}\n{one.arch.scaling}" for title, one in zip(titles, shown, strict=True)]
    if len(set(titles)) < len(titles):
        raise InputError("two verifications of one placement and scaling cannot be told apart")
    return titles


def _rows(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tested rows by name, in the table's order."""
    tested = table[np.isfinite(table["z"]) & ~table["verdict"].isin(["rare", "not predicted"])]
    named = {}
    for (quantity, stream), part in tested.groupby(["quantity", "stream"], sort=False):
        named[row_name(str(quantity), str(stream))] = part.sort_values("layer")
    return named


def row_name(quantity: str, stream: str) -> str:
    """A quantity of a table's row in words, with the matrix or stream that it is of."""
    if quantity == "weight_grad_norm":
        return f"gradient of {stream}"
    place = " at the embedding" if stream == INPUT[0] else f", stream {stream}"
    return QUANTITIES[quantity].label + (place if stream not in ("0", OUTPUT) else "")


def _limit(one: Verification) -> float:
    """The largest |z| that is in sight."""
    largest = max((float(part["z"].abs().max()) for part in _rows(one.table).values()), default=0.0)
    return max(LEAST, min(1.08 * largest, MOST * one.threshold))


def _draw(ax: Axes, one: Verification, rows: list[str], limit: float) -> None:
    style, scale = placement_style(one.arch.placement), venue().scale
    ax.axvspan(-CHANCE, CHANCE, color="0.93", linewidth=0, zorder=0)
    ax.axvline(0, color="0.6", linewidth=0.6 * scale, zorder=0.6)
    for side in (-1, 1):
        if one.threshold < limit:
            ax.axvline(side * one.threshold, color="0.45", linewidth=0.6 * scale, linestyle=(0, (4, 2)))
    points = {**style.points, "markersize": 1.9 * scale, "markeredgewidth": 0.0}
    ring = {**style.points, "marker": "o", "markersize": 2.6 * scale, "markeredgecolor": style.colour}
    ring |= {"markerfacecolor": "white", "markeredgewidth": 0.7 * scale}
    cross = {**style.points, **FAILS, "markersize": 3.8 * scale}
    for row, part in _rows(one.table).items():
        place = rows.index(row) + SPREAD * (part["layer"].to_numpy() / max(1, one.arch.depth) - 0.5)
        z = part["z"].to_numpy(dtype=float)
        seen = np.clip(z, -limit, limit)
        bad = part["verdict"].isin(["off", "out of bounds"]).to_numpy()
        far = (np.abs(z) > one.threshold) & ~bad
        ax.plot(seen, place, color=style.colour, linewidth=0.5 * scale, alpha=0.35, gid="layers")
        for mask, look, gid in (
            (~far & ~bad, points, "within"),
            (far, ring, "allowed"),
            (bad, cross, "failed"),
        ):
            ax.plot(seen[mask], place[mask], **look, gid=gid)
        middle = float(np.clip(z.mean(), -limit, limit))
        ends = rows.index(row) + 0.5 * SPREAD * np.array([-1.0, 1.0])
        ax.plot(
            [middle, middle], ends, color="black", linewidth=1.4 * scale, solid_capstyle="butt", gid="mean"
        )
        if np.abs(z).max() > limit:
            _beyond(ax, float(z[np.abs(z).argmax()]), rows.index(row))
    _dress(ax, rows, limit)


def _beyond(ax: Axes, z: float, row: int) -> None:
    """Write how far residuals go that are beyond the axis."""
    right = z > 0
    ax.annotate(
        f"to {z:.0f}".replace("-", "−"),
        (1.0 if right else 0.0, row),
        xycoords=("axes fraction", "data"),
        xytext=(-5 if right else 5, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        fontsize=0.9 * mpl.rcParams["xtick.labelsize"],
    )


def _dress(ax: Axes, rows: list[str], limit: float) -> None:
    ax.set_xlim(-1.03 * limit, 1.03 * limit)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    for row in range(1, len(rows)):
        ax.axhline(row - 0.5, color="0.88", linewidth=0.5 * venue().scale, zorder=0.5)
    ax.set_xlabel("residual $z$ (SE)")


def _meaning(axes: list[Axes]) -> list[Line2D]:
    """Handles of the marks that are there."""
    there = {line.get_gid() for ax in axes for line in ax.lines if len(np.asarray(line.get_xdata()))}
    scale = venue().scale
    grey: dict[str, Any] = {"color": "0.35", "linestyle": "none", "marker": "o", "markersize": 3.4 * scale}
    bar = {"color": "black", "linestyle": "none", "marker": "|", "markersize": 7 * scale}
    known = (
        ("mean", {**bar, "markeredgewidth": 1.4 * scale}, "mean over layers"),
        ("allowed", {**grey, "markerfacecolor": "white"}, "beyond k, within the width's allowance"),
        ("failed", {**grey, **FAILS}, "fails"),
    )
    return [Line2D([], [], **look, label=text) for gid, look, text in known if gid in there]
