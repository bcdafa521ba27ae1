"""Phase diagrams: a quantity over a plane of two parameters, theory and Monte Carlo as equal cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import CenteredNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ..base import arguments
from ..base.errors import InputError, shown
from ..base.quantities import QUANTITIES, Array, Quantity
from .canvas.marks import placement_label
from .canvas.paper import COLUMN, PaperAxes, axes_or_none, new_figure, paper, venue
from .canvas.scales import LN10

#: tick labels on one axis, at most, and contours
TICKS, CONTOURS = 5, 7
NUMBERS = "theory", "estimate"
#: a ratio of ends from which on a positive parameter is on a log axis; a share of the axes without a label;
#: and a share of the largest value up to which negative ones are noise around zero
WIDE, EDGE, NOISE = 8.0, 0.07, 0.1


def phase_diagram(
    table: pd.DataFrame,
    x: str,
    y: str,
    quantity: str,
    *,
    finer: pd.DataFrame | None = None,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw theory and, beside it, Monte Carlo as cells of one colour scale, under the contours of the theory.

    Agreement is equality of colours. Values of the parameters are evenly spaced. Placements, which have no
    order, get no contours.

    Args:
        table: one row for each point: the columns ``x``, ``y``, "theory" and "estimate"; natural
            logarithms where ``quantity`` is logarithmic.
        x, y: columns of the two parameters.
        quantity: a name in ``QUANTITIES``; logarithmic ones are shown as powers of ten.
        finer: theory at more points, ``x``, ``y`` and "theory", from which contours are drawn; without one
            they are interpolated between the cells.
        labels: what figures call ``x`` and ``y``, and "value" for the colour bar.
        title: above both panels.
        ax: two axes of one figure to draw on.

    Returns:
        the axes of theory and of Monte Carlo.

    Raises:
        InputError: a column is missing, points are not a full plane, or there are not two axes.

    Example:
        >>> import pandas as pd
        >>> import spannorm_theory as st
        >>> points = [(x, y, 0.1 * x + y, 0.1 * x + y) for x in (1, 2, 3) for y in (1, 2, 3)]
        >>> table = pd.DataFrame(points, columns=["depth", "scale", "theory", "estimate"])
        >>> len(st.plot.phase_diagram(table, "depth", "scale", "token_cosine"))
        2
    """
    what = QUANTITIES[arguments.choice("quantity", quantity, QUANTITIES)]
    grids, values = _planes(table, x, y, NUMBERS, what)
    names = _names(what, labels)
    given = None if ax is None else [axes_or_none(one) for one in arguments.items("ax", ax, "two axes")]
    if given is not None and (len(given) != 2 or None in given):
        raise InputError(f"a phase diagram needs two axes, got {arguments.described(list(ax or ()))}")
    ordered = not any(isinstance(v, str) for v in [*values[0], *values[1]])
    with paper():
        if given is None:
            height = (2.05 + (0.16 if title else 0)) * venue().scale
            left, right = new_figure(max(COLUMN, venue().column), height).subplots(1, 2, sharey=True)
        else:
            left, right = given
        norm, colours = _colours(list(grids.values()))
        for panel, name, text in ((left, "theory", "theory"), (right, "estimate", "Monte Carlo")):
            mesh = panel.pcolormesh(grids[name], norm=norm, cmap=colours, linewidth=0, rasterized=True)
            mesh.set_gid(name)
            panel.set_title(text, pad=3)
            panel.set_xlabel(names.get(x, x), labelpad=2)
            _ticks(panel, values)
        if ordered:
            points, grid = _over_cells(grids["theory"], values, finer, x, y, what)
            for panel in (left, right):
                _contours(panel, *points, grid)
                panel.set(xlim=(0, len(values[0])), ylim=(0, len(values[1])))
        left.set_ylabel(names.get(y, y), labelpad=2)
        right.tick_params(labelleft=False)
        _bar(mesh, [left, right], names["value"], "horizontal")
        if title:
            left.get_figure(root=True).suptitle(title, fontsize=8)
    return left, right


def phase_map(
    table: pd.DataFrame,
    x: str,
    y: str,
    quantity: str,
    *,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a plane of theory alone, with its contours; parameters that span much are on log axes.

    Args:
        table: one row for each point: the columns ``x``, ``y`` and "theory"; natural logarithms where
            ``quantity`` is logarithmic.
        x, y, quantity, labels, title: those of :func:`phase_diagram`.
        ax: draw here instead of on a figure of its own.

    Returns:
        the axes.

    Raises:
        InputError: a column is missing, points are not a full plane of numbers, or have no values.

    Example:
        >>> import pandas as pd
        >>> import spannorm_theory as st
        >>> plane = [(depth, width, 1 / depth) for depth in (2, 4, 8) for width in (32, 64, 128)]
        >>> table = pd.DataFrame(plane, columns=["depth", "width", "theory"])
        >>> st.plot.phase_map(table, "depth", "width", "token_cosine").get_xlabel()
        'depth'
    """
    what, ax = QUANTITIES[arguments.choice("quantity", quantity, QUANTITIES)], axes_or_none(ax)
    grids, values = _planes(table, x, y, ("theory",), what)
    if any(isinstance(value, str) for value in [*values[0], *values[1]]):
        raise InputError(f"a map needs numbers along {x} and {y}; use phase_diagram for names")
    names, grid = _names(what, labels), grids["theory"]
    with paper():
        axes = new_figure().add_subplot(axes_class=PaperAxes) if ax is None else ax
        norm, colours = _colours([grid])
        mesh = axes.pcolormesh(*values, grid, norm=norm, cmap=colours, shading="gouraud", rasterized=True)
        mesh.set_gid("theory")
        for axis, found, set_scale in (
            (axes.xaxis, values[0], axes.set_xscale),
            (axes.yaxis, values[1], axes.set_yscale),
        ):
            if found[0] > 0 and found[-1] >= WIDE * found[0]:
                set_scale("log", base=2)
                axis.set_major_locator(LogLocator(base=2, numticks=8))
                axis.set_minor_locator(NullLocator())
                axis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(values[0][0], values[0][-1])
        axes.set_ylim(values[1][0], values[1][-1])
        columns, rows = (np.asarray(v, dtype=float) for v in values)
        _contours(axes, columns, rows, grid)
        axes.set_xlabel(names.get(x, x))
        axes.set_ylabel(names.get(y, y))
        axes.set_title(title)
        _bar(mesh, [axes], names["value"], "vertical")
    return axes


def _names(what: Quantity, labels: Mapping[str, str] | None) -> dict[str, str]:
    names = {"value": f"{what.label} ${what.latex}$", **(labels or {})}
    if what.logarithmic:
        names["value"] = rf"$\log_{{10}}$ {names['value']}"
    return names


def _planes(
    table: pd.DataFrame, x: str, y: str, numbers: Sequence[str], what: Quantity
) -> tuple[dict[str, Array], tuple[list[Any], list[Any]]]:
    """Each number as an array (y, x), logarithms to the base of ten, and the parameters' values in order."""
    if not isinstance(table, pd.DataFrame):
        wanted = f"a table with a row for each point, and the columns x, y, {', '.join(numbers)}"
        raise InputError(f"a phase diagram is drawn from {wanted}; got {arguments.described(table)}")
    for column in (x, y, *numbers):
        if not isinstance(column, str) or column not in table:
            known = ", ".join(map(str, table.columns))
            raise InputError(f"the table has no column {shown(column)}; it has {known}")
    if table.empty:
        raise InputError("the table has no rows; a phase diagram needs one for each point")
    values = tuple(
        list(dict.fromkeys(table[c])) if isinstance(table[c].iloc[0], str) else sorted(set(table[c]))
        for c in (x, y)
    )
    points = len(values[0]) * len(values[1])
    if len(table) != points or table.duplicated([x, y]).any():
        raise InputError(
            f"expected one row for each of {len(values[0])} x {len(values[1])} points, got {len(table)} rows"
        )
    grids = {
        name: table.pivot_table(index=y, columns=x, values=name, dropna=False, sort=False)
        .reindex(index=values[1], columns=values[0])
        .to_numpy(dtype=float)
        / (LN10 if what.logarithmic else 1.0)
        for name in numbers
    }
    return grids, (values[0], values[1])


def _colours(grids: Sequence[Array]) -> tuple[Normalize, str]:
    """One scale for all panels: diverging around zero where values have both signs, beyond noise."""
    finite = np.concatenate([grid[np.isfinite(grid)] for grid in grids])
    if not len(finite):
        raise InputError("nothing to draw: no point of the plane has a number")
    low, high = float(finite.min()), float(finite.max())
    if low < -NOISE * high < 0:
        return CenteredNorm(0.0, max(-low, high)), "RdBu_r"
    return Normalize(low, high if high > low else low + 1), "viridis"


def _over_cells(
    grid: Array,
    values: tuple[list[Any], list[Any]],
    finer: pd.DataFrame | None,
    x: str,
    y: str,
    what: Quantity,
) -> tuple[tuple[Array, Array], Array]:
    """Coordinates and theory for contours over cells whose centres are at 1/2, 3/2, ...; without finer theory
    that of the cells, which goes on to the edges of the outer ones."""
    sizes = grid.shape[1], grid.shape[0]
    if finer is not None:
        grids, fine = _planes(finer, x, y, ("theory",), what)
        columns, rows = (_placed(v, cells) for v, cells in zip(fine, values, strict=True))
        return (columns, rows), grids["theory"]
    columns, rows = (np.concatenate([[0.0], np.arange(size) + 0.5, [float(size)]]) for size in sizes)
    return (columns, rows), np.pad(grid, 1, mode="edge")


def _placed(fine: list[float], cells: list[float]) -> Array:
    """Where values lie among cells and, in steps of the outer ones, beyond; by logarithms where all are
    positive."""
    centres = np.arange(len(cells)) + 0.5
    if len(cells) < 2:
        return np.linspace(0.0, 1.0, len(fine))
    logarithmic = cells[0] > 0 and fine[0] > 0
    at, known = (np.log(v) if logarithmic else np.asarray(v, dtype=float) for v in (fine, cells))
    below = (at - known[0]) / (known[1] - known[0]) + centres[0]
    above = (at - known[-1]) / (known[-1] - known[-2]) + centres[-1]
    within = np.interp(at, known, centres)
    return np.asarray(np.where(at < known[0], below, np.where(at > known[-1], above, within)))


def _contours(panel: Axes, columns: Array, rows: Array, grid: Array) -> None:
    """Lines of theory with their numbers, but for numbers that the edge would cut."""
    masked = np.ma.masked_invalid(grid)
    if len(np.unique(masked.compressed())) < 2:
        return
    levels = MaxNLocator(CONTOURS).tick_values(float(masked.min()), float(masked.max()))
    lines = panel.contour(
        columns, rows, masked, levels=levels, colors="black", linewidths=0.6, linestyles="-"
    )
    lines.set_gid("contours")
    for text in panel.clabel(lines, fontsize=6, inline=False, fmt=lambda v: f"{v:g}".replace("-", "−")):
        text.set_path_effects([withStroke(linewidth=1.6, foreground="white")])
        x, y = panel.transAxes.inverted().transform(text.get_transform().transform(text.get_position()))
        if min(x, y, 1 - x, 1 - y) < EDGE:
            text.remove()


def _bar(mesh: QuadMesh, axes: list[Axes], label: str, orientation: Any) -> None:
    figure = axes[0].get_figure(root=True)
    assert isinstance(figure, Figure)
    sizes = {"aspect": 38, "pad": 0.03, "fraction": 0.05} if orientation == "horizontal" else {"aspect": 28}
    bar: Any = figure.colorbar(mesh, ax=axes, orientation=orientation, **sizes)
    bar.set_label(label, labelpad=2)
    bar.outline.set_linewidth(0.4)
    bar.locator = MaxNLocator(6)
    bar.update_ticks()


def _ticks(panel: Axes, values: tuple[list[Any], list[Any]]) -> None:
    for axis, found in zip((panel.xaxis, panel.yaxis), values, strict=True):
        step = 1 if isinstance(found[0], str) else -(-len(found) // TICKS)
        at = range(0, len(found), step)
        axis.set_ticks([i + 0.5 for i in at], [_text(found[i]) for i in at])
        axis.set_tick_params(length=2)


def _text(value: Any) -> str:
    return placement_label(value) if isinstance(value, str) else f"{value:.3g}"
