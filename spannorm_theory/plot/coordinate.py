"""The coordinate check: how far the first step moves the output, against depth or width."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from ..base import arguments
from ..base.errors import InputError
from ..base.quantities import OUTPUT
from .canvas.marks import placement_label, placement_style
from .canvas.paper import axes_or_none, new_axes, paper
from .canvas.scales import Ordinate, dress_value_axis
from .canvas.series import Look, draw_line, draw_points
from .curves import Tables, interval, join

#: what a curve goes over, by the label of its axis
OVER = {"depth": "depth $L$", "width": "width $d$"}


def coordinate_check(
    tables: Tables, over: str = "depth", *, ax: Axes | None = None, names: bool = True
) -> Axes:
    """Draw the root mean square of the output's first change against depth or width, on log axes.

    A rate for every matrix that is to keep it must fall as the curve rises.

    Args:
        tables: of ``first_step``, at one learning rate, of architectures that differ in ``over`` alone; with
            and without networks.
        over: "depth" or "width".
        ax: draw here instead of on a figure of its own.
        names: a legend.

    Returns:
        the axes.

    Raises:
        InputError: no such change in the tables, or stacks of one placement that differ in more.

    Example:
        >>> import spannorm_theory as st
        >>> archs = [f"pre-norm depth={depth} width=32 heads=2 tokens=4" for depth in (1, 2)]
        >>> found = [st.first_step(arch, "sign", networks=n) for arch in archs for n in (0, 2)]
        >>> st.plot.coordinate_check(found).get_xlabel()
        'depth $L$'
    """
    over, ax = arguments.choice("axis of a coordinate check", over, OVER), axes_or_none(ax)
    rows = join(tables)
    rows = rows[(rows["quantity"] == "stream_change") & (rows["stream"] == OUTPUT)]
    if rows.empty:
        raise InputError("there is no change of the output to draw; pass tables of first_step")
    for column in ("scaling", "tokens", *(name for name in OVER if name != over)):
        if len(known := {str(value) for value in rows[column]}) > 1:
            found = ", ".join(sorted(known))
            raise InputError(f"the curves differ in {over} alone, and not in {column} ({found})")
    with paper():
        axes = new_axes() if ax is None else ax
        dress_value_axis(axes, Ordinate("log"))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        for name in dict.fromkeys(rows["placement"]):
            _draw(axes, rows[rows["placement"] == name], over, str(name))
        axes.set_xlabel(OVER[over])
        axes.set_ylabel("change of the output (rms)")
        if names:
            axes.legend(loc="best", ncols=1, labelspacing=0.3)
    return axes


def _draw(ax: Axes, rows: pd.DataFrame, over: str, name: str) -> None:
    """One placement: roots of the second moment, whose logarithms are halved with their errors."""
    look = Look(placement_style(name), placement_label(name))
    rows = rows.sort_values(over, kind="stable")
    theory = rows[np.isfinite(rows["log_theory"])].drop_duplicates(over)
    measured = rows[np.isfinite(rows["log_estimate"])]
    if len(theory):
        draw_line(ax, theory[over], np.exp(theory["log_theory"] / 2), look)
    if len(measured):
        y = np.exp(measured["log_estimate"].to_numpy(dtype=float) / 2)
        half = np.asarray(interval(measured["relative_se"], measured["networks"])) / 2
        bars = y * np.stack([-np.expm1(-half), np.expm1(half)])
        draw_points(ax, measured[over], y, bars, look, named=not len(theory))
