"""Singular values in falling order: theory as a line, Monte Carlo as points."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..base import arguments
from ..base.errors import InputError, UnknownNameError
from .canvas.draw import Look, handle, thin
from .canvas.marks import layer_style
from .canvas.paper import axes_or_none, new_axes, paper, venue
from .canvas.scales import Ordinate, dress_value_axis

#: of the table of spectra
KEYS = ("placement", "scaling", "depth", "width", "tokens")
COLUMNS = (*KEYS, "layer", "stream", "index", "theory", "estimate", "se")


def spectrum(table: pd.DataFrame, *, stream: str = "0", ax: Axes | None = None, names: bool = True) -> Axes:
    """Draw s_i / |X|_F against i, a curve for each layer: one large value over a small rest is rank collapse.

    Args:
        table: of :func:`spannorm_theory.spectra`, of one architecture.
        stream: "0" or "1".
        ax: draw here instead of on a figure of its own.
        names: a legend of the layers.

    Returns:
        the axes.

    Raises:
        InputError: several architectures in the table, or no such stream.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.spectra("pre-norm depth=4 width=64 heads=2 tokens=4")
        >>> st.plot.spectrum(table).get_yscale()
        'log'
    """
    table = arguments.table("table", table, COLUMNS, "what spectra returns")
    stream, ax = arguments.stream(stream), axes_or_none(ax)
    rows = table[table["stream"] == stream]
    if rows.empty:
        raise UnknownNameError("stream", stream, set(table["stream"]))
    count = len(rows[list(KEYS)].drop_duplicates())
    if count > 1:
        raise InputError(f"a spectrum shows one architecture's stream; the table has {count} architectures")
    layers = sorted(set(rows["layer"]))
    with paper():
        axes = new_axes() if ax is None else ax
        dress_value_axis(axes, Ordinate("log"))
        handles = []
        for at, layer in enumerate(layers):
            curve = rows[rows["layer"] == layer].sort_values("index")
            look = Look(layer_style(at, len(layers)), f"$l={layer}$")
            handles.append(_draw(axes, curve, look))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("index $i$")
        axes.set_ylabel(r"singular value $s_i/\Vert X\Vert_F$")
        if names:
            axes.legend(handles=handles, loc="upper right", handletextpad=0.5, labelspacing=0.3)
    return axes


def _draw(ax: Axes, curve: pd.DataFrame, look: Look) -> mpl.lines.Line2D:
    index, theory = curve["index"].to_numpy(), curve["theory"].to_numpy()
    known, measured = bool(np.isfinite(theory).any()), bool(curve["estimate"].notna().any())
    if known:
        (line,) = ax.plot(index, theory, **look.style.line, label=look.label)
        line.set_gid("theory")
    if measured:
        shown = np.union1d(thin(len(curve), look.style.order), [0])
        points = curve.iloc[shown]
        bars = ax.errorbar(
            points["index"],
            points["estimate"],
            yerr=points["se"],
            **look.style.points,
            elinewidth=0.8 * venue().scale,
        )
        bars.lines[0].set_gid("monte-carlo")
    return handle(look, known, measured)
