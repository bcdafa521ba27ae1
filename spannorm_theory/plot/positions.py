"""Moments against the position of a token, a curve for each layer: theory as lines, Monte Carlo as points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from ..base.errors import InputError
from .canvas.draw import Look, handle
from .canvas.marks import layer_style
from .canvas.paper import new_axes, paper, venue
from .canvas.scales import Ordinate, dress_value_axis
from .curves import Tables, join, view

#: layers that are drawn where none are asked for, at most
LAYERS = 4


def position_profile(
    table: Tables,
    quantity: str,
    *,
    layers: Sequence[int] | None = None,
    stream: str = "0",
    ax: Axes | None = None,
    names: bool = True,
) -> Axes:
    """Draw a second moment against the position of a token, both on log axes.

    Args:
        table: what ``predict(..., by="position")`` and ``simulate(..., by="position")`` return, one or
            several, of one architecture.
        quantity: "variance" or "grad_variance".
        layers: those to draw; by default the first, the last and two between.
        stream: "0", "1", ...
        ax: draw here instead of on a figure of its own.
        names: a legend of the layers.

    Raises:
        InputError: a table without positions, several architectures, or nothing to draw.
    """
    what, rows = view(quantity), join(table)
    if "position" not in rows:
        raise InputError("the table has no column position; make it with by='position'")
    rows = rows[(rows["quantity"] == quantity) & (rows["stream"] == stream)]
    known = sorted(set(rows["layer"]))
    shown = sorted(set(layers)) if layers is not None else _spread(known)
    missing = [layer for layer in shown if layer not in known]
    count = len(rows[["placement", "scaling", "depth", "width", "tokens"]].drop_duplicates())
    if rows.empty or missing or count > 1:
        raise InputError(
            f"a profile over positions shows layers of one architecture's stream; the table has {count} "
            f"architectures with {quantity} of stream {stream!r}, and not the layers {missing}"
        )
    with paper():
        axes = new_axes() if ax is None else ax
        dress_value_axis(axes, Ordinate("log"))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=4, numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0f}")
        handles = []
        for at, layer in enumerate(shown):
            look = Look(layer_style(at, len(shown)), f"$l={layer}$")
            handles.append(_draw(axes, rows[rows["layer"] == layer].sort_values("position"), look))
        axes.set_xlabel("position $t$")
        axes.set_ylabel(what.label)
        if names:
            axes.legend(handles=handles, loc="best", handletextpad=0.5, labelspacing=0.3)
    return axes


def _spread(layers: Sequence[int]) -> list[int]:
    """The first, the last, and some between."""
    steps = np.unique(np.round(np.linspace(0, len(layers) - 1, LAYERS)).astype(int)) if layers else []
    return [layers[i] for i in steps]


def _draw(ax: Axes, rows: pd.DataFrame, look: Look) -> Line2D:
    theory, measured = (rows[rows[name].notna()] for name in ("theory", "estimate"))
    if len(theory):
        (line,) = ax.plot(theory["position"], theory["theory"], **look.style.line, label=look.label)
        line.set_gid("theory")
    if len(measured):
        bars = ax.errorbar(
            measured["position"],
            measured["estimate"],
            yerr=measured["se"].fillna(0.0),  # no standard error from one network
            **look.style.points,
            elinewidth=0.8 * venue().scale,
        )
        bars.lines[0].set_gid("monte-carlo")
        if not len(theory):
            bars.lines[0].set_label(look.label)
    return handle(look, bool(len(theory)), bool(len(measured)))
