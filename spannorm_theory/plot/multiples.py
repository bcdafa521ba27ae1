"""Small multiples: weight gradients by matrix, and the comparison grid of quantities and scalings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..definitions.scalings import WEIGHTS
from ..errors import InputError
from .crop import crop
from .curves import Curve, View, curves, join, view
from .draw import columns_that_fit, draw, handle
from .profiles import looks
from .scales import choose_ordinate
from .style import DOUBLE, new_figure, paper


def weight_gradients(
    table: pd.DataFrame | Iterable[pd.DataFrame], *, per: str = "placement", width: float = DOUBLE
) -> Figure:
    """Squared weight-gradient norms against depth, one panel for each matrix, on shared axes.

    Raises:
        InputError: the table has no weight gradients, or curves that could not be told apart.
    """
    joined = join(table)
    streams = set(joined.loc[joined["quantity"] == "weight_grad_norm", "stream"])
    matrices = [name for name in WEIGHTS if name in streams]
    if not matrices:
        raise InputError("the table has no weight_grad_norm")
    what = view("weight_grad_norm")
    columns = 3 if len(matrices) <= 6 else 4
    rows = -(-len(matrices) // columns)
    panels = [curves(joined, what, name) for name in matrices]
    with paper():
        figure = new_figure(width, 0.5 + 1.55 * rows)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        _fill(axes.flat[: len(matrices)], panels, what, per)
        for ax, name in zip(axes.flat, matrices, strict=False):
            ax.set_title(name)
            ax.set_xlabel("")
        for ax in list(axes.flat)[len(matrices) :]:
            ax.set_axis_off()
        for column in range(columns):
            lowest = max(r for r in range(rows) if r * columns + column < len(matrices))
            axes[lowest, column].tick_params(labelbottom=True)
        _one_label(figure, what, panels)
        _legend(figure, [c for panel in panels for c in panel], per, width)
    return figure


def comparison(
    tables: pd.DataFrame | Iterable[pd.DataFrame],
    quantities: Sequence[str],
    scalings: Sequence[str] | None = None,
    *,
    shared: bool = True,
    bounds: bool = False,
    width: float = DOUBLE,
    height: float | None = None,
) -> Figure:
    """Placements side by side: a row of panels for each quantity, a column for each scaling rule.

    Every stream is drawn. All panels share the layer axis; one legend stands above.

    Args:
        tables: tables of ``predict``, ``simulate`` or ``verify``.
        quantities: names in ``QUANTITIES``, or "rank_collapse".
        scalings: which scaling rules, in order; None takes those of the tables.
        shared: panels of a row share their value axis.
        bounds: shade what the bounds allow.
        width, height: of the figure, in inches.

    Raises:
        InputError: a panel would be empty.
    """
    joined = join(tables)
    rules = list(dict.fromkeys(joined["scaling"])) if scalings is None else list(scalings)
    if not rules or not quantities:
        raise InputError("a comparison needs at least one quantity and one scaling")
    views = [view(name) for name in quantities]
    grid = [[curves(joined[joined["scaling"] == rule], what, "all") for rule in rules] for what in views]
    with paper():
        figure = new_figure(width, 0.75 + 1.75 * len(views) if height is None else height)
        axes = figure.subplots(
            len(views), len(rules), sharex=True, sharey="row" if shared else False, squeeze=False
        )
        for row, what, panels in zip(axes, views, grid, strict=True):
            _fill(row, panels, what, "placement", shared=shared, bounds=bounds)
            row[0].set_ylabel(what.label)
        for ax, rule in zip(axes[0], rules, strict=True):
            ax.set_title(f"scaling: {rule}")
        for ax in axes[:-1].flat:
            ax.set_xlabel("")
        _legend(figure, [c for row in grid for panel in row for c in panel], "placement", width)
    return figure


def _fill(
    axes: Iterable[Axes],
    panels: Sequence[list[Curve]],
    what: View,
    per: str,
    *,
    shared: bool = True,
    bounds: bool = False,
) -> None:
    """Draw panels; those that share a value axis get one kind of it."""
    everything = [curve for panel in panels for curve in panel]
    ordinate = choose_ordinate(everything, what.logarithmic) if shared else None
    relative = len({curve.depth for curve in everything}) > 1
    axes = list(axes)
    for ax, found in zip(axes, panels, strict=True):
        ax.grid(visible=True, color="0.92", linewidth=0.5)
        draw(
            ax,
            found,
            looks(found, per),
            logarithmic=what.logarithmic,
            relative=relative,
            bounds=bounds,
            ordinate=ordinate,
        )
    if what.logarithmic:
        for group in (
            [(axes, panels)] if shared else [([ax], [found]) for ax, found in zip(axes, panels, strict=True)]
        ):
            crop(*group)


def _one_label(figure: Figure, what: View, panels: Sequence[list[Curve]]) -> None:
    relative = len({curve.depth for panel in panels for curve in panel}) > 1
    figure.supylabel(what.label, fontsize=8)
    figure.supxlabel("relative depth $l/L$" if relative else "layer $l$", fontsize=8)


def _legend(figure: Figure, found: Sequence[Curve], per: str, width: float) -> None:
    """One legend above all panels: every curve once, then what lines and points mean."""
    entries: dict[str, Line2D] = {}
    matrices = any(curve.stream in WEIGHTS for curve in found)
    for panel in _alike(found, matrices):
        look = looks(panel, per)
        for curve in panel:
            one = look(curve)
            entries.setdefault(one.label, handle(one))
    for label, line in _meaning(found):
        entries[label] = line
    columns = columns_that_fit(list(entries), width * 72)
    figure.legend(handles=list(entries.values()), loc="outside upper center", ncols=columns)


def _alike(found: Sequence[Curve], matrices: bool) -> list[list[Curve]]:
    """Curves in groups of one scaling (and one matrix), as panels hold them."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in found:
        groups.setdefault((curve.scaling, curve.stream if matrices else ""), []).append(curve)
    return list(groups.values())


def _meaning(found: Sequence[Curve]) -> list[tuple[str, Line2D]]:
    keys = []
    if any(np.isfinite(curve.theory).any() for curve in found):
        keys.append(("theory", Line2D([], [], color="0.35", linewidth=1.1, label="theory")))
    if any(np.isfinite(curve.estimate).any() for curve in found):
        label = "Monte Carlo ± SE"
        point = Line2D([], [], color="0.35", linestyle="none", marker="o", markersize=3.4, label=label)
        keys.append((label, point))
    return keys
