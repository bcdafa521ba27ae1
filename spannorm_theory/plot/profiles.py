"""Depth profiles: one quantity against the layer, theory over Monte Carlo, for any tidy table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..base import arguments
from ..base.errors import InputError
from .canvas.draw import draw, name_curves
from .canvas.marks import layer_style, placement_label, placement_style, sequence_style
from .canvas.paper import axes_or_none, new_axes, paper, venue
from .canvas.series import Look
from .curves import Curve, Tables, curves, join, view

#: columns that may tell curves apart by colour
TELLING = ("placement", "scaling", "width", "tokens")

#: inches that a row of a legend takes
LEGEND_ROW = 0.155


def looks(found: Sequence[Curve], per: str) -> Callable[[Curve], Look]:
    """Looks and names of the curves, told apart by the column ``per``, depth and stream.

    Raises:
        InputError: curves of one value of ``per`` differ in another column too, which the figure would hide.
    """
    per = arguments.choice("column to tell curves apart by", per, TELLING)
    varied = []
    for column in TELLING:
        values = sorted({str(getattr(curve, column)) for curve in found})
        pairs = {(getattr(curve, per), getattr(curve, column)) for curve in found}
        if column != per and len(values) > 1:
            varied.append(column)
        if len(pairs) > len({value for value, _ in pairs}):
            raise InputError(
                f"the table holds several values of {column} ({', '.join(values)}); select one, or pass "
                f"per={column!r} and select one {per}"
            )
    order = list(dict.fromkeys(getattr(curve, per) for curve in found))
    depths = sorted({curve.depth for curve in found})
    paired = {curve.placement for curve in found if curve.stream == "1"}

    def look(curve: Curve) -> Look:
        value = getattr(curve, per)
        if per == "placement":
            style, label = placement_style(value), placement_label(value)
        else:
            style = sequence_style(order.index(value))
            label = str(value) if per == "scaling" else f"{per} {value}"
        label = ", ".join([label, *(str(getattr(curve, column)) for column in varied)])
        if len(depths) > 1:
            at = depths.index(curve.depth)
            style = layer_style(at, len(depths)) if len(order) == 1 else style.of_depth(at, len(depths))
            label = f"$L={curve.depth}$" if len(order) == 1 else f"{label}, $L={curve.depth}$"
        if curve.placement in paired:
            label = f"{label}, stream {curve.stream}"
        return Look(style.of_stream(curve.stream), label)

    return look


def depth_profile(
    table: Tables,
    quantity: str,
    *,
    stream: str = "0",
    ax: Axes | None = None,
    per: str = "placement",
    bounds: bool | None = None,
    names: bool = True,
) -> Axes:
    """Draw a quantity against depth: theory as line, Monte Carlo as points with 95% intervals.

        st.plot.depth_profile(["pre-norm unit depth=48", "post-norm unit depth=48"], "grad_variance")

    Args:
        table: an architecture or its text form, of which the theory is drawn; what ``predict``, ``simulate``
            or ``verify`` return, or their tables; or several of these.
        quantity: a name in ``QUANTITIES``, or "rank_collapse" for 1 - token cosine. Squared norms and
            second moments are shown on a log axis; beyond float64's range the axis has powers of ten
            for coordinates.
        stream: "0", "1", a weight matrix's name, or "all".
        ax: draw here instead of on a figure of its own.
        per: the column that colours tell apart: "placement", "scaling", "width" or "tokens". Several
            depths share an axis l/L.
        bounds: shade what the bounds allow, where a table has any; None does so for one curve alone.
        names: write the curves' names at their ends, or in a legend where they do not fit there.

    Returns:
        the axes.

    Raises:
        InputError: nothing to draw, or curves that could not be told apart.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.predict("pre-norm depth=2 width=64 heads=2 tokens=8")
        >>> ax = st.plot.depth_profile(table, "variance")
        >>> ax.get_ylabel()
        'forward variance $q$'
    """
    what, ax = view(quantity), axes_or_none(ax)
    found = curves(join(table), what, stream)
    look = looks(found, per)
    with paper():
        axes = new_axes() if ax is None else ax
        relative = len({curve.depth for curve in found}) > 1
        bounds = len(found) == 1 if bounds is None else arguments.flag("bounds", bounds)
        ordinate = draw(axes, found, look, logarithmic=what.logarithmic, relative=relative, bounds=bounds)
        axes.set_ylabel(what.label)
        if names:
            rows = name_curves(axes, found, look, ordinate)
            if ax is None:
                figure = axes.figure
                assert isinstance(figure, Figure)
                figure.set_size_inches(
                    figure.get_figwidth(), figure.get_figheight() + LEGEND_ROW * venue().scale * rows
                )
    return axes


def rank_collapse(
    table: Tables,
    *,
    stream: str = "0",
    ax: Axes | None = None,
    per: str = "placement",
    names: bool = True,
) -> Axes:
    """Draw 1 - token cosine against depth on a log axis: 1 for orthogonal tokens, towards 0 as all
    tokens become one. Arguments as for :func:`depth_profile`.

    Args:
        table, stream, ax, per, names: as of :func:`depth_profile`.

    Returns:
        the axes.

    Raises:
        InputError: nothing to draw, or curves that could not be told apart.

    Example:
        >>> import spannorm_theory as st
        >>> table = st.predict("pre-norm depth=2 width=64 heads=2 tokens=8")
        >>> st.plot.rank_collapse(table).get_yscale()
        'log'
    """
    return depth_profile(table, "rank_collapse", stream=stream, ax=ax, per=per, names=names)
