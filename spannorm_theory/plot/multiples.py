"""Small multiples: weight gradients by matrix, and the comparison grid of quantities and scalings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..base import arguments
from ..base.errors import InputError
from ..spec.scaling import WEIGHTS
from .canvas.crop import crop_limits
from .canvas.draw import columns_that_fit, draw, handle
from .canvas.paper import new_figure, paper, venue
from .canvas.scales import LAYER_LABELS, choose_ordinate
from .curves import Curve, Tables, View, curves, join, view
from .profiles import looks

#: the matrices that act through attention logits
LOGITS = ("attn.query", "attn.key")


def weight_gradients(table: Tables, *, per: str = "placement", width: float | None = None) -> Figure:
    """Squared weight-gradient norms against depth, one panel for each matrix and learnt multiplier.

    Queries and keys, which vanish as tokens become alike, share one value axis, all others another.

    Args:
        table: what ``predict``, ``simulate`` or ``verify`` return, or their tables.
        per: the column that colours tell apart: "placement", "scaling", "width" or "tokens".
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
    panels = {name: curves(joined, what, name) for name in matrices}
    with paper():
        figure = new_figure(venue().full if width is None else width, (0.5 + 1.55 * rows) * venue().scale)
        grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
        axes = dict(zip(matrices, grid.flat, strict=False))
        for logits in (True, False):
            _share([(axes[name], panels[name]) for name in matrices if (name in LOGITS) is logits], what, per)
        for at, (name, ax) in enumerate(axes.items()):
            ax.set_title(name)
            ax.set_xlabel("")
            beside = matrices[at - 1] if at % columns else None
            ax.tick_params(labelleft=beside is None or (beside in LOGITS) != (name in LOGITS))
            ax.tick_params(labelbottom=at + columns >= len(matrices))
        for ax in list(grid.flat)[len(matrices) :]:
            ax.set_axis_off()
        found = [curve for panel in panels.values() for curve in panel]
        figure.supylabel(what.label, fontsize=mpl.rcParams["axes.labelsize"])
        figure.supxlabel(
            LAYER_LABELS[len({curve.depth for curve in found}) > 1], fontsize=mpl.rcParams["axes.labelsize"]
        )
        _legend(figure, found, per)
    return figure


def _share(pairs: Sequence[tuple[Axes, list[Curve]]], what: View, per: str) -> None:
    """Draw panels on one value axis."""
    if pairs:
        axes = [ax for ax, _ in pairs]
        for ax in axes[1:]:
            ax.sharey(axes[0])
        _fill(axes, [panel for _, panel in pairs], what, per)


def comparison(
    tables: Tables,
    quantities: Sequence[str] | str,
    scalings: Sequence[str] | str | None = None,
    *,
    shared: bool = True,
    bounds: bool = False,
    width: float | None = None,
    height: float | None = None,
) -> Figure:
    """Placements side by side: a row of panels for each quantity, a column for each scaling rule.

    Every stream is drawn. All panels share the layer axis; one legend stands above.

    Args:
        tables: what ``predict``, ``simulate`` or ``verify`` return, or their tables.
        quantities: one or several names in ``QUANTITIES``, or "rank_collapse".
        scalings: which scaling rules, in order; None takes those of the tables.
        shared: panels of a row share their value axis.
        bounds: shade what the bounds allow.
        width, height: of the figure, in inches.

    Returns:
        the figure.

    Raises:
        InputError: a panel would be empty.

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
    views = [view(name) for name in quantities]
    grid = [[curves(joined[joined["scaling"] == rule], what, "all") for rule in rules] for what in views]
    with paper():
        tall = (0.75 + 1.75 * len(views)) * venue().scale if height is None else height
        figure = new_figure(venue().full if width is None else width, tall)
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
        _legend(figure, [c for row in grid for panel in row for c in panel], "placement")
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
    pairs = list(zip(axes, panels, strict=True))
    relative = len({curve.depth for panel in panels for curve in panel}) > 1
    for group in [pairs] if shared else [[pair] for pair in pairs]:
        limits = crop_limits([found for _, found in group]) if what.logarithmic else None
        visible = [c for _, found in group for c in found if limits is None or c.placement != limits.leaver]
        ordinate = choose_ordinate(visible, what.logarithmic)
        for ax, found in group:
            ax.grid(visible=True, color="0.92", linewidth=0.5)
            look = looks(found, per)
            draw(
                ax,
                found,
                look,
                logarithmic=what.logarithmic,
                relative=relative,
                bounds=bounds,
                ordinate=ordinate,
            )
            if limits is not None:
                limits.apply(ax, found, ordinate)


def _legend(figure: Figure, found: Sequence[Curve], per: str) -> None:
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
    columns = columns_that_fit(list(entries), figure.get_figwidth() * 72)
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
