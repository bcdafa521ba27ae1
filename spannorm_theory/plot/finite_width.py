"""The ratio of Monte Carlo to theory against L/d, and the law by which a typical network leaves the mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from ..base import arguments
from ..base.errors import InputError
from ..base.quantities import QUANTITIES, Array
from ..prediction.predict import predict_profiles
from ..verification.allowances import fluctuations
from ..verification.estimators import log_mean, mean
from ..verification.outcome import Verification
from .alike import OF_WIDTH, require_alike
from .canvas.marks import Style, placement_label, placement_style
from .canvas.paper import axes_or_none, new_axes, paper, venue
from .canvas.series import Look, draw_line, draw_points, handle
from .curves import quantile

#: points of a law's line, and factor by which it goes on beyond the outer networks
POINTS, BEYOND = 60, 1.3
#: factors on L/d between the points of two placements, and between the two of one, so that all are seen
APART, PAIR = 1.09, 1.015


def finite_width(
    found: Verification | Iterable[Verification],
    quantity: str = "grad_variance",
    layer: int | None = None,
    *,
    stream: str = "0",
    ax: Axes | None = None,
    names: bool = True,
) -> Axes:
    r"""Draw Monte Carlo over theory against L/d, of networks of several widths or depths.

    Full points are means over networks, which the theory predicts: they belong on the line at 1. Hollow
    points are geometric means, a typical network: they belong on the line of their placement, exp(-V/2) with
    the variance V of the logarithm over networks that the width implies (T9.10, T9.11), 2/d + V_l of a second
    moment and 2/d + V_L + W_l of a gradient. Bars are 95% intervals.

    Args:
        found: verifications, best of one placement at several widths; of each placement at one depth.
        quantity: "variance" or "grad_variance".
        layer: None takes the embedding for gradients, and the output otherwise.
        stream: "0", "1", ...
        ax: draw here instead of on a figure of its own.
        names: a legend.

    Returns:
        the axes.

    Raises:
        InputError: no verification, another quantity, no such stream or layer, or stacks of one placement and
            rule that differ in more than depth, width and what goes with it.

    Example:
        >>> import spannorm_theory as st
        >>> small = [f"post-norm unit depth=2 width={d} heads=2 tokens=8" for d in (32, 64)]
        >>> found = [st.verify(arch, networks=8, progress=False) for arch in small]
        >>> st.plot.finite_width(found).get_xscale()
        'log'
    """
    several = [found] if isinstance(found, Verification) else arguments.items("found", found, "verifications")
    shown = [arguments.instance("found", one, Verification, "verify") for one in several]
    quantity = arguments.choice("quantity of a finite width", quantity, ("variance", "grad_variance"))
    stream, ax = arguments.stream(stream), axes_or_none(ax)
    if not shown:
        raise InputError("a ratio of Monte Carlo to theory needs at least one verification")
    groups: dict[tuple[str, str, int], list[Verification]] = {}
    for one in shown:
        arguments.choice(
            "stream", stream, [name for name, known in one.ensemble.samples if known == quantity]
        )
        groups.setdefault((one.arch.placement, one.arch.scaling, one.arch.depth), []).append(one)
    require_alike([one.arch for one in shown], ("depth", *OF_WIDTH))
    at = None if layer is None else min(_layer(one, quantity, layer) for one in shown)
    with paper():
        axes = new_axes() if ax is None else ax
        axes.axhline(1.0, color="0.6", linewidth=0.6 * venue().scale, zorder=1)
        handles = []
        for index, (key, members) in enumerate(groups.items()):
            look = Look(_style(list(groups), index), _label(list(groups), key))
            _law(axes, members, (stream, quantity), at, look)
            beside = APART ** (index - (len(groups) - 1) / 2)
            for one in members:
                _point(axes, one, (stream, quantity), at, look, beside)
            handles.append(handle(look))
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
        ratios = sorted({float(f"{one.arch.depth / one.arch.width:.2g}") for one in shown})
        axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        axes.minorticks_off()
        _ratio_ticks(axes)
        axes.set_xlabel("depth over width $L/d$")
        place = at if at is not None else 0 if quantity == "grad_variance" else "L"
        axes.set_ylabel(rf"Monte Carlo / theory, ${QUANTITIES[quantity].latex}_{{{place}}}$")
        if names:
            axes.legend(handles=[*handles, *_meaning()], loc="best", ncols=1, labelspacing=0.3)
    return axes


def _layer(one: Verification, quantity: str, layer: int | None) -> int:
    if layer is not None:
        return arguments.whole("layer", layer, 0, one.arch.depth)
    return 0 if quantity == "grad_variance" else one.arch.depth


def _style(keys: Sequence[tuple[str, str, int]], index: int) -> Style:
    """The look of a placement; of its depths, paler the shallower."""
    placement, scaling, _ = keys[index]
    depths = sorted(depth for name, rule, depth in keys if (name, rule) == (placement, scaling))
    return placement_style(placement).of_depth(depths.index(keys[index][2]), len(depths))


def _label(keys: Sequence[tuple[str, str, int]], key: tuple[str, str, int]) -> str:
    parts = [placement_label(key[0])]
    if len({scaling for _, scaling, _ in keys}) > 1:
        parts.append(key[1])
    if len({depth for _, _, depth in keys}) > 1:
        parts.append(f"$L={key[2]}$")
    return ", ".join(parts)


def _law(
    ax: Axes, members: Sequence[Verification], key: tuple[str, str], layer: int | None, look: Look
) -> None:
    """exp(-V/2) over the widths of one stack, whose V is as 1/d."""
    widest = max(members, key=lambda one: one.arch.width).arch
    at = _layer(members[0], key[1], layer)
    variance = float(fluctuations(widest, predict_profiles(widest).profiles)[key][at]) ** 2
    ratios = [one.arch.depth / one.arch.width for one in members]
    x = np.geomspace(min(ratios) / BEYOND, max(ratios) * BEYOND, POINTS)
    draw_line(ax, x, np.exp(-variance / 2 * x * widest.width / widest.depth), look)


def _point(
    ax: Axes, one: Verification, key: tuple[str, str], layer: int | None, look: Look, beside: float
) -> None:
    at = _layer(one, key[1], layer)
    logs = one.ensemble.samples[key][:, at : at + 1]
    rows = one.table[(one.table["stream"] == key[0]) & (one.table["quantity"] == key[1])]
    theory = float(rows.sort_values("layer")["log_theory"].iloc[at])
    x, points = beside * one.arch.depth / one.arch.width, len(logs)
    hollow = Look(replace(look.style, hollow=True), "_typical")
    for (center, error), shown, side in ((log_mean(logs), look, PAIR), (mean(logs), hollow, 1 / PAIR)):
        ratio, half = np.exp(center - theory), quantile(points) * error
        errors: Array = np.stack([ratio * -np.expm1(-half), ratio * np.expm1(half)])
        draw_points(ax, [x * side], ratio, errors, shown)


def _ratio_ticks(ax: Axes) -> None:
    low, high = ax.get_ylim()
    nice = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0]
    if high / low > 3:
        nice = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
    inside = [tick for tick in nice if low <= tick <= high]
    ax.set_yticks(inside, [f"{tick:g}" for tick in inside])


def _meaning() -> list[Line2D]:
    size = 3.4 * venue().scale
    grey = {"color": "0.35", "linestyle": "none", "marker": "o", "markersize": size}
    return [
        Line2D([], [], **grey, label="mean"),  # type: ignore[arg-type]
        Line2D([], [], **grey, markerfacecolor="white", label="typical network"),  # type: ignore[arg-type]
        Line2D([], [], color="0.35", linewidth=1.1 * venue().scale, label=r"law of it, $e^{-V/2}$"),
    ]
