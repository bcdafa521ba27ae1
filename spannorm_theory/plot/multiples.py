"""Small multiples: the comparison grid of quantities and scalings, and weight gradients by matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..base import arguments
from ..base.errors import InputError
from ..spec.scaling import WEIGHTS
from .canvas.crop import crop_limits
from .canvas.draw import curve_ends, draw
from .canvas.names import fits_at_ends, name_ends
from .canvas.paper import new_figure, paper, venue
from .canvas.scales import Ordinate, choose_ordinate
from .canvas.series import Look, columns_that_fit, handle, meaning
from .curves import Curve, Tables, View, curves, join, view
from .profiles import looks

#: one number under two names
SAME = {"token_cosine", "rank_collapse"}


def weight_gradients(table: Tables, *, per: str = "placement", width: float | None = None) -> Figure:
    """Squared weight-gradient norms against depth, one panel for each matrix and learnt multiplier, each on a
    value axis of its own.

    Args:
        table: an architecture or its text form; what ``predict``, ``simulate`` or ``verify`` return, or their
            tables; or several.
        per: the column that colours tell apart, as of ``depth_profile``.
        width: of the figure, in inches.

    Returns:
        the figure.

    Raises:
        InputError: the table has no weight gradients, or curves that could not be told apart.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.predict("pre-norm depth=2 width=64 heads=2 tokens=8")
        >>> sorted(ax.get_title() for ax in st.plot.weight_gradients(table).axes)[0]
        'attn.key'
    """
    joined = join(table)
    streams = set(joined.loc[joined["quantity"] == "weight_grad_norm", "stream"])
    # the matrices in their order, then routers and learnt multipliers
    matrices = [name for name in WEIGHTS if name in streams] + sorted(streams - set(WEIGHTS))
    if not matrices:
        raise InputError("the table has no weight_grad_norm")
    what = view("weight_grad_norm")
    columns = 3 if len(matrices) <= 6 else 4
    rows = -(-len(matrices) // columns)
    grid = [curves(joined, what, name) for name in matrices]
    with paper():
        figure = new_figure(venue().full if width is None else width, (0.5 + 1.55 * rows) * venue().scale)
        axes = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
        for at, (name, ax, found) in enumerate(zip(matrices, axes, grid, strict=False)):
            _fill([ax], [found], what, per)
            ax.set_title(name)
            ax.set_ylabel(r"squared norm $\Vert\partial_W\Vert_F^2$" if at % columns == 0 else "")
            below = at + columns >= len(matrices)
            ax.tick_params(labelbottom=below)
            if not below:
                ax.set_xlabel("")
        for ax in axes[len(matrices) :]:
            ax.set_axis_off()
        figure.legend(**_legend(figure, axes, [curve for found in grid for curve in found], per))
    return figure


def comparison(
    tables: Tables,
    quantities: Sequence[str] | str,
    scalings: Sequence[str] | str | None = None,
    *,
    shared: bool = False,
    bounds: bool = False,
    width: float | None = None,
    height: float | None = None,
) -> Figure:
    """Placements side by side: a row of panels for each quantity, a column for each scaling rule.

    Every stream is drawn. Curves are named at their ends in the last column, or in a legend above where there
    are too many for that; three to five can be told apart at the width of a page.

    Args:
        tables: architectures or their text forms; what ``predict``, ``simulate`` or ``verify`` return, or
            their tables.
        quantities: one or several names in ``QUANTITIES``, or "rank_collapse".
        scalings: which scaling rules, in order; None takes those of the tables.
        shared: panels of a row share their value axis, so that rules can be compared by height.
        bounds: shade what the bounds allow.
        width, height: of the figure, in inches.

    Returns:
        the figure.

    Raises:
        InputError: a panel would be empty, or two rows would show one number.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.predict("pre-norm depth=2 width=64 heads=2 tokens=8")
        >>> len(st.plot.comparison(table, ["variance", "grad_variance"]).axes)
        2
    """
    joined = join(tables)
    rules = arguments.names("scalings", dict.fromkeys(joined["scaling"]) if scalings is None else scalings)
    quantities = arguments.names("quantities", quantities)
    if not rules or not quantities:
        raise InputError("a comparison needs at least one quantity and one scaling")
    if set(quantities) >= SAME:
        raise InputError("rank_collapse is 1 - token_cosine: leave out one of the two")
    views = [view(name) for name in quantities]
    grid = [[curves(joined[joined["scaling"] == rule], what, "all") for rule in rules] for what in views]
    with paper():
        tall = (0.6 + 1.75 * len(views)) * venue().scale if height is None else height
        figure = new_figure(venue().full if width is None else width, tall)
        axes = figure.subplots(
            len(views), len(rules), sharex=True, sharey="row" if shared else False, squeeze=False
        )
        everything = [curve for row in grid for found in row for curve in found]
        in_last = _labels(grid[0][-1]) >= _labels(everything)
        at_ends = in_last and all(
            fits_at_ends(ax, _looks(row[-1])) for ax, row in zip(axes[:, -1], grid, strict=True)
        )
        for row, what, panels in zip(axes, views, grid, strict=True):
            ordinates = _fill(row, panels, what, "placement", shared=shared, bounds=bounds)
            row[0].set_ylabel(what.label)
            if at_ends:
                name_ends(row[-1], _looks(panels[-1]), curve_ends(row[-1], panels[-1], ordinates[-1]))
        for ax, rule in zip(axes[0], rules, strict=True):
            ax.set_title(f"scaling: {rule}")
        for ax in axes[:-1].flat:
            ax.set_xlabel("")
        named = [] if at_ends else everything
        figure.legend(**_legend(figure, list(axes.flat), named, "placement"))
    return figure


def _looks(found: Sequence[Curve], per: str = "placement") -> list[Look]:
    look = looks(found, per)
    return [look(curve) for curve in found]


def _labels(found: Sequence[Curve]) -> set[tuple[str, str]]:
    """What tells curves apart in a panel."""
    return {(curve.placement, curve.stream) for curve in found}


def _fill(
    axes: Sequence[Axes],
    panels: Sequence[list[Curve]],
    what: View,
    per: str,
    *,
    shared: bool = False,
    bounds: bool = False,
) -> list[Ordinate]:
    """Draw panels; those that share a value axis get one kind of it. Returns the kind of each."""
    pairs = list(zip(axes, panels, strict=True))
    relative = len({curve.depth for panel in panels for curve in panel}) > 1
    ordinates = []
    for group in [pairs] if shared else [[pair] for pair in pairs]:
        limits = crop_limits([found for _, found in group]) if what.logarithmic else None
        visible = [c for _, found in group for c in found if limits is None or c.placement != limits.leaver]
        ordinate = choose_ordinate(visible, what.logarithmic)
        for ax, found in group:
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
            if limits is not None:
                limits.apply(ax, found, ordinate)
            ordinates.append(ordinate)
    return ordinates


def _legend(figure: Figure, axes: Sequence[Axes], found: Sequence[Curve], per: str) -> dict[str, Any]:
    """One legend above all panels: every curve once, then what lines, points and ends mean."""
    entries: dict[str, Line2D] = {}
    matrices = any(curve.stream in WEIGHTS for curve in found)
    for panel in _alike(found, matrices):
        for one in _looks(panel, per):
            entries.setdefault(one.label, handle(one))
    entries |= {str(line.get_label()): line for line in meaning(axes)}
    columns = columns_that_fit(list(entries), figure.get_figwidth() * 72)
    return {"handles": list(entries.values()), "loc": "outside upper center", "ncols": columns}


def _alike(found: Sequence[Curve], matrices: bool) -> list[list[Curve]]:
    """Curves in groups of one scaling (and one matrix), as panels hold them."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in found:
        groups.setdefault((curve.scaling, curve.stream if matrices else ""), []).append(curve)
    return list(groups.values())
