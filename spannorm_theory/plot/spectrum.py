"""Singular values in falling order: theory as a line, Monte Carlo as points."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..base import arguments
from ..base.errors import InputError, UnknownNameError
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from ..verification.spectra import spectra
from .canvas.draw import thin
from .canvas.marks import layer_style
from .canvas.paper import axes_or_none, new_axes, paper
from .canvas.scales import Ordinate, dress_value_axis
from .canvas.series import Look, draw_line, draw_points, handle
from .curves import interval

#: of the table of spectra
KEYS = ("placement", "scaling", "depth", "width", "tokens")
COLUMNS = (*KEYS, "layer", "stream", "index", "theory", "estimate", "se", "networks")


def spectrum(
    table: pd.DataFrame | Architecture | str,
    *,
    stream: str = "0",
    ax: Axes | None = None,
    names: bool = True,
) -> Axes:
    """Draw s_i / |X|_F against i, a curve for each layer: one large value over a small rest is rank collapse.

    Layers that the theory declines have points alone, and say so.

    Args:
        table: of :func:`spannorm_theory.spectra`, of one architecture; or an architecture or its text form,
            whose theory is drawn.
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
    if isinstance(table, (Architecture, str)):
        table = spectra(architecture(table))
    table = arguments.table("table", table, COLUMNS, "what spectra returns, or an architecture")
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
        told = rows.groupby("layer")[["theory", "estimate"]].count()
        if declined := [layer for layer in layers if not told["theory"][layer] and told["estimate"][layer]]:
            _say_declined(axes, declined)
        axes.set_xlim(left=min(1, axes.get_xlim()[1]) - 0.03 * float(rows["index"].max()))
        last = int(rows["index"].max())
        axes.set_xticks(
            [1, *(tick for tick in MaxNLocator(4, integer=True).tick_values(1, last) if 1 < tick <= last)]
        )
        axes.set_xlabel("index $i$")
        axes.set_ylabel(r"singular value $s_i/\Vert X\Vert_F$")
        if names:
            axes.legend(handles=handles, loc="upper right", handletextpad=0.5, labelspacing=0.3)
    return axes


def _draw(ax: Axes, curve: pd.DataFrame, look: Look) -> Line2D:
    known, measured = bool(curve["theory"].notna().any()), bool(curve["estimate"].notna().any())
    if known:
        draw_line(ax, curve["index"], curve["theory"], look)
    if measured:
        points = curve.iloc[np.union1d(thin(len(curve), look.style.order), [0])]
        half = interval(points["se"], points["networks"])
        draw_points(ax, points["index"], points["estimate"], half, look, named=not known)
    return handle(look, known, measured)


def _say_declined(ax: Axes, layers: Sequence[int]) -> None:
    """Write which layers have points alone, where no curve is: singular values fall."""
    ax.text(
        0.04,
        0.04,
        f"no theory at $l={', '.join(map(str, layers))}$",
        transform=ax.transAxes,
        color="0.35",
        fontsize=mpl.rcParams["xtick.labelsize"],
    )
