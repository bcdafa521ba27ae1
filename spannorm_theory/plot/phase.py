"""Phase diagrams: a quantity over a plane of two parameters, theory beside Monte Carlo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..base import arguments
from ..base.errors import InputError, shown
from ..base.quantities import QUANTITIES
from .canvas.marks import placement_label
from .canvas.paper import COLUMN, axes_or_none, new_figure, paper
from .canvas.scales import LN10

#: tick labels on one axis, at most, and contours
TICKS, CONTOURS = 5, 7
NUMBERS = "theory", "estimate"


def phase_diagram(
    table: pd.DataFrame,
    x: str,
    y: str,
    quantity: str,
    *,
    labels: Mapping[str, str] | None = None,
    title: str = "",
    ax: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Draw theory as contours and, beside it, Monte Carlo as a heat map under the same contours.

    Both share one colour scale, so that agreement is equality of colours. Values of the parameters are
    evenly spaced. Placements, which have no order, get a heat map of theory instead of contours.

    Args:
        table: one row for each point: the columns ``x``, ``y``, "theory" and "estimate"; natural
            logarithms where ``quantity`` is logarithmic.
        x, y: columns of the two parameters.
        quantity: a name in ``QUANTITIES``; logarithmic ones are shown as powers of ten.
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
    wanted = "a table with a row for each point, and the columns x, y, theory and estimate"
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"a phase diagram is drawn from {wanted}; got {arguments.described(table)}")
    grids, values = _planes(table, x, y)
    names = {"value": f"{what.label} ${what.latex}$", **(labels or {})}
    if what.logarithmic:
        grids = {name: grid / LN10 for name, grid in grids.items()}
        names["value"] = rf"$\log_{{10}}$ {names['value']}"
    given = None if ax is None else [axes_or_none(one) for one in arguments.items("ax", ax, "two axes")]
    if given is not None and (len(given) != 2 or None in given):
        raise InputError(f"a phase diagram needs two axes, got {arguments.described(list(ax or ()))}")
    ordered = not any(isinstance(v, str) for v in [*values[0], *values[1]])
    with paper():
        if given is None:
            height = 2.05 + (0.16 if title else 0)
            left, right = new_figure(COLUMN, height).subplots(1, 2, sharey=True)
        else:
            left, right = given
        norm, colours = _colours(list(grids.values()))
        mesh: QuadMesh | None = None
        for panel, name, text in ((left, "theory", "theory"), (right, "estimate", "Monte Carlo")):
            grid = grids[name]
            if name == "estimate" or not ordered:
                mesh = panel.pcolormesh(grid, norm=norm, cmap=colours, linewidth=0, rasterized=True)
                mesh.set_gid(name)
            panel.set_title(text, pad=3)
            panel.set_xlabel(names.get(x, x), labelpad=2)
            _ticks(panel, values)
        if ordered:
            _contours(left, right, grids["theory"], norm, colours)
        left.set_ylabel(names.get(y, y), labelpad=2)
        right.tick_params(labelleft=False)
        assert mesh is not None
        figure: Any = left.figure
        bar = figure.colorbar(
            mesh, ax=[left, right], orientation="horizontal", aspect=38, pad=0.03, fraction=0.05
        )
        bar.set_label(names["value"], labelpad=2)
        bar.outline.set_linewidth(0.4)
        bar.locator = MaxNLocator(6)
        bar.update_ticks()
        if title:
            figure.suptitle(title, fontsize=8)
    return left, right


def _planes(
    table: pd.DataFrame, x: str, y: str
) -> tuple[dict[str, NDArray[np.float64]], tuple[list[Any], list[Any]]]:
    """Each number as an array (y, x), and the parameters' values in order."""
    for column in (x, y, *NUMBERS):
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
        for name in NUMBERS
    }
    return grids, (values[0], values[1])


def _colours(grids: Sequence[NDArray[np.float64]]) -> tuple[Normalize, str]:
    """One scale for both panels: diverging around zero where values have both signs."""
    finite = np.concatenate([grid[np.isfinite(grid)] for grid in grids])
    if not len(finite):
        raise InputError("nothing to draw: no point of the plane has a number")
    low, high = float(finite.min()), float(finite.max())
    if low < 0 < high:
        return TwoSlopeNorm(0.0, low, high), "RdBu_r"
    return Normalize(low, high if high > low else low + 1), "viridis"


def _contours(left: Axes, right: Axes, grid: NDArray[np.float64], norm: Normalize, colours: str) -> None:
    """Filled contours of theory on the left, its lines on both; coordinates are the cells' centres."""
    # to the edges of the outer cells, so that both panels show the same area
    rows, columns = (np.concatenate([[0], np.arange(size) + 0.5, [size]]) for size in grid.shape)
    masked = np.ma.masked_invalid(np.pad(grid, 1, mode="edge"))
    if len(np.unique(masked.compressed())) < 2:
        left.pcolormesh(grid, norm=norm, cmap=colours).set_gid("theory")
        return
    fine = np.linspace(float(masked.min()), float(masked.max()), 60)
    filled = left.contourf(columns, rows, masked, levels=fine, norm=norm, cmap=colours, extend="both")
    filled.set_gid("theory")
    filled.set_rasterized(True)  # bands that are drawn as paths show the seams between them
    levels = MaxNLocator(CONTOURS).tick_values(float(masked.min()), float(masked.max()))
    for panel in (left, right):
        lines = panel.contour(
            columns, rows, masked, levels=levels, colors="black", linewidths=0.6, linestyles="-"
        )
        lines.set_gid("contours")
        if panel is left:
            panel.clabel(lines, fontsize=6, inline_spacing=1, fmt="%g")


def _ticks(panel: Axes, values: tuple[list[Any], list[Any]]) -> None:
    for axis, found in zip((panel.xaxis, panel.yaxis), values, strict=True):
        step = 1 if isinstance(found[0], str) else -(-len(found) // TICKS)
        at = range(0, len(found), step)
        axis.set_ticks([i + 0.5 for i in at], [_text(found[i]) for i in at])
        axis.set_tick_params(length=2)


def _text(value: Any) -> str:
    return placement_label(value) if isinstance(value, str) else f"{value:.3g}"
