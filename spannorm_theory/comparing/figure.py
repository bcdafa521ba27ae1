"""The figure of a comparison: squared gradient norm and token cosine against the block, curves with names."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..plot.canvas.draw import thin
from ..plot.canvas.marks import Style, placement_style
from ..plot.canvas.names import name_ends
from ..plot.canvas.paper import new_figure, paper, venue
from ..plot.canvas.scales import FLOAT_RANGE, Ordinate, dress_value_axis
from ..plot.canvas.series import Look
from ..plot.curves import quantile
from ..verification.estimators import log_mean, mean
from .measures import Measures
from .simulated import Samples

#: quantity of each panel, and its label
PANELS = {"grad_variance": "squared gradient norm,\nof that at the output", "token_cosine": "token cosine"}

#: the axis of cosines, and the least ratio that an axis of gradients spans
PLAIN, LEAST = Ordinate("plain"), 3.0

#: curves of a panel, at most
MOST = 5

#: letters of a name beyond which its rule has a line of its own, and of a line of fields
WIDEST, LINE = 14, 20


def figure(
    found: Sequence[Measures], samples: Sequence[Samples], networks: int, width: float | None
) -> Figure:
    """Both panels, of the first ``MOST`` candidates that have numbers.

    Raises:
        AssumptionError: none has.
    """
    shown = [(one, own) for one, own in zip(found, samples, strict=True) if one.theory][:MOST]
    if not shown:
        raise AssumptionError(f"no candidate of the comparison is predicted: {found[0].problem}")
    measured, networks_of = zip(*shown, strict=True)
    styles = _styles(measured)
    relative = len({one.candidate.arch.depth for one in measured}) > 1
    with paper():
        drawn = new_figure(width, 1.15 * (venue().column if width is None else width))
        axes = drawn.subplots(2, 1, sharex=True)
        ordinate = Ordinate("powers" if _largest(measured) > FLOAT_RANGE else "log")
        dress_value_axis(axes[0], ordinate)
        ends = []
        for ax, quantity in zip(axes, PANELS, strict=True):
            ends.append(
                [
                    _draw(ax, *each, quantity, relative, ordinate if ax is axes[0] else PLAIN)
                    for each in zip(measured, networks_of, styles, strict=True)
                ]
            )
        _dress(axes, relative, ordinate)
        axes[0].set_title(_caption(measured, networks, len(found)), loc="left")
        names = [
            Look(placement_style(one.candidate.arch.placement), _lines(one.candidate.name))
            for one in measured
        ]
        for ax, own in zip(axes, ends, strict=True):
            drawn_ends = [(look, end) for look, end in zip(names, own, strict=True) if end is not None]
            if drawn_ends:
                name_ends(ax, *zip(*drawn_ends, strict=True))
    return drawn


def _draw(
    ax: Axes, one: Measures, own: Samples, style: Style, quantity: str, relative: bool, ordinate: Ordinate
) -> tuple[float, float] | None:
    """A candidate's curve and points; returns its end, None where the theory has no value."""
    gradient = quantity == "grad_variance"
    y, scale = ordinate(one.gradient) if gradient else one.cosine, one.candidate.arch.depth if relative else 1
    if np.isnan(y).all():
        return None
    ax.plot(np.arange(len(y)) / scale, y, **style.line)
    sample = own.get((one.stream if gradient else one.apart, quantity))
    if sample is not None:
        _points(ax, *(log_mean if gradient else mean)(sample), len(sample), style, scale, ordinate)
    last = int(np.flatnonzero(np.isfinite(y))[-1])
    return last / scale, float(y[last])


def _largest(found: Sequence[Measures]) -> float:
    """The largest logarithm of a gradient, or of its inverse."""
    logs = np.concatenate([one.gradient for one in found])
    return float(np.abs(logs[np.isfinite(logs)]).max(initial=0.0))


def _dress(axes: Sequence[Axes], relative: bool, ordinate: Ordinate) -> None:
    """Labels and limits of both panels; gradients within ``LEAST`` are shown as even."""
    gradient, cosine = axes
    for ax, label in zip(axes, PANELS.values(), strict=True):
        ax.set_ylabel(label)
        ax.margins(x=0.02)
    low, high = gradient.get_ylim()
    if ordinate.kind == "log" and high < LEAST * low:
        middle = sqrt(low * high)
        gradient.set_ylim(middle / sqrt(LEAST), middle * sqrt(LEAST))
    cosine.set_ylim(min(-0.03, cosine.get_ylim()[0]), 1.03)
    cosine.set_xlabel("relative depth $l/L$" if relative else "block $l$")
    cosine.xaxis.set_major_locator(MaxNLocator(5, integer=not relative))


def _styles(found: Sequence[Measures]) -> list[Style]:
    """The look of each candidate: of its placement, and by shade and dash among several of one placement."""
    names = [one.candidate.arch.placement for one in found]
    return [
        placement_style(name).of_depth(names[: i + 1].count(name) - 1, names.count(name))
        for i, name in enumerate(names)
    ]


def _points(
    ax: Axes, middle: Array, error: Array, networks: int, style: Style, scale: float, ordinate: Ordinate
) -> None:
    """Monte Carlo at about ten layers, with 95 % intervals."""
    shown, half = np.union1d(0, thin(len(middle), style.order)), quantile(networks) * error
    y, low, high = (ordinate(x)[shown] for x in (middle, middle - half, middle + half))
    bars = ax.errorbar(shown / scale, y, [y - low, high - y], **style.points, elinewidth=0.8)
    bars.lines[0].set_gid("monte-carlo")


def _lines(name: str) -> str:
    """A candidate's name, a long rule and fields in lines of their own."""
    pair, _, fields = name.partition(" ")
    head = pair if len(pair) <= WIDEST else pair.replace("@", "\n@", 1)
    return "\n".join([head, *wrap(fields, LINE)])


def _caption(found: Sequence[Measures], networks: int, count: int) -> str:
    """The sizes that all have in common."""
    archs = [one.candidate.arch for one in found]
    sizes = {"L": {a.depth for a in archs}, "d": {a.width for a in archs}, "n": {a.tokens for a in archs}}
    parts = [rf"${name}={next(iter(x)):,}$".replace(",", "{,}") for name, x in sizes.items() if len(x) == 1]
    parts += [f"{networks} networks, bars 95 %"] if networks else []
    parts += [f"the first {len(found)} of {count}"] if len(found) < count else []
    return ", ".join(parts)
