"""Moments against the position of a token, a curve for each layer: theory as lines, Monte Carlo as points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from ..base import arguments
from ..base.errors import InputError
from .canvas.marks import layer_style
from .canvas.names import fits_at_ends, name_ends
from .canvas.paper import axes_or_none, new_axes, paper
from .canvas.scales import Ordinate, dress_value_axis
from .canvas.series import Look, draw_line, draw_points, handle
from .curves import Tables, interval, join, view

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
        names: write the layers at the ends of their curves.

    Returns:
        the axes.

    Raises:
        InputError: a table without positions, several architectures, or nothing to draw.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.predict("pre-norm depth=2 width=64 heads=2 tokens=8 mask=causal", by="position")
        >>> st.plot.position_profile(table, "variance").get_xscale()
        'log'
    """
    what, rows, stream, ax = view(quantity), join(table), arguments.stream(stream), axes_or_none(ax)
    if "position" not in rows:
        raise InputError("the table has no column position; make it with by='position'")
    if quantity not in set(rows["quantity"]):
        raise InputError(
            f"tables by position have {', '.join(sorted(set(rows['quantity'])))}, not {quantity}"
        )
    rows = rows[(rows["quantity"] == quantity) & (rows["stream"] == stream)]
    known = sorted(set(rows["layer"]))
    shown = _spread(known)
    if layers is not None:
        shown = sorted({arguments.whole("layers", l) for l in arguments.items("layers", layers, "layers")})
    missing = [layer for layer in shown if layer not in known]
    count = len(rows[["placement", "scaling", "depth", "width", "tokens"]].drop_duplicates())
    if rows.empty or missing or not shown or count > 1:
        raise InputError(
            f"a profile over positions shows layers of one architecture's stream: the table has {count} "
            f"architectures with {quantity} of stream {stream}, at the layers {known[:3]} to {known[-1:]}; "
            f"asked for {shown}"
        )
    with paper():
        axes = new_axes() if ax is None else ax
        dress_value_axis(axes, Ordinate("log"))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=4, numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0f}")
        looks = [Look(layer_style(at, len(shown)), f"$l={layer}$") for at, layer in enumerate(shown)]
        parts = [rows[rows["layer"] == layer].sort_values("position") for layer in shown]
        handles = [_draw(axes, part, look) for part, look in zip(parts, looks, strict=True)]
        ends = [(float(part["position"].iloc[-1]), _last(part)) for part in parts]
        axes.set_xlabel("position $t$")
        axes.set_ylabel(what.label)
        if names and fits_at_ends(axes, looks):
            name_ends(axes, looks, ends)
        elif names:
            axes.legend(handles=handles, loc="best", handletextpad=0.5, labelspacing=0.3)
    return axes


def _last(rows: pd.DataFrame) -> float:
    """The value at the last position."""
    return float(rows["theory"].fillna(rows["estimate"]).iloc[-1])


def _spread(layers: Sequence[int]) -> list[int]:
    """The first, the last, and some between."""
    steps = np.unique(np.linspace(0, len(layers) - 1, LAYERS).round().astype(int)) if len(layers) else ()
    return [layers[i] for i in steps]


def _draw(ax: Axes, rows: pd.DataFrame, look: Look) -> Line2D:
    theory, measured = (rows[rows[name].notna()] for name in ("theory", "estimate"))
    if len(theory):
        draw_line(ax, theory["position"], theory["theory"], look)
    if len(measured):
        half = np.expm1(interval(measured["relative_se"], measured["networks"]))
        errors = measured["estimate"].to_numpy() * np.stack([half / (1 + half), half])
        draw_points(ax, measured["position"], measured["estimate"], errors, look, named=not len(theory))
    return handle(look, bool(len(theory)), bool(len(measured)))
