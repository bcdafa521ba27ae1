"""The figure of a comparison: squared gradient norm and token cosine against the block, curves with names."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..plot.canvas.draw import thin
from ..plot.canvas.marks import Style, placement_style
from ..plot.canvas.names import name_ends
from ..plot.canvas.paper import new_figure, paper, venue
from ..plot.canvas.series import Look
from ..plot.curves import quantile
from ..verification.estimators import log_mean, mean
from .measures import Measures
from .simulated import Samples

#: quantity of each panel, and its label
PANELS = {"grad_variance": "squared gradient norm,\nof that at the output", "token_cosine": "token cosine"}

TEN = float(np.log(10))

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
        ends = []
        for ax, quantity in zip(axes, PANELS, strict=True):
            ends.append(
                [
                    _draw(ax, *each, quantity, relative)
                    for each in zip(measured, networks_of, styles, strict=True)
                ]
            )
        _dress(axes, relative)
        axes[0].set_title(_caption(measured, networks, len(found)), loc="left")
        names = [
            Look(placement_style(one.candidate.arch.placement), _lines(one.candidate.name))
            for one in measured
        ]
        for ax, own in zip(axes, ends, strict=True):
            name_ends(ax, names, own)
    return drawn


def _draw(
    ax: Axes, one: Measures, own: Samples, style: Style, quantity: str, relative: bool
) -> tuple[float, float]:
    """A candidate's curve and points; returns its end."""
    gradient = quantity == "grad_variance"
    y, scale = one.gradient / TEN if gradient else one.cosine, one.candidate.arch.depth if relative else 1
    ax.plot(np.arange(len(y)) / scale, y, **style.line)
    _points(ax, own.get((one.stream if gradient else one.apart, quantity)), quantity, style, scale)
    last = int(np.flatnonzero(np.isfinite(y))[-1])
    return last / scale, float(y[last])


def _dress(axes: Sequence[Axes], relative: bool) -> None:
    """Labels and scales of both panels; one decade of the gradient is the least that is shown."""
    gradient, cosine = axes
    for ax, label in zip(axes, PANELS.values(), strict=True):
        ax.set_ylabel(label)
        ax.margins(x=0.02)
    low, high = gradient.get_ylim()
    lack = max(0.0, 1 - (high - low)) / 2
    gradient.set_ylim(low - lack, high + lack)
    gradient.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    gradient.yaxis.set_major_formatter(FuncFormatter(_power))
    cosine.set_ylim(min(-0.03, cosine.get_ylim()[0]), 1.03)
    cosine.set_xlabel("relative depth $l/L$" if relative else "block $l$")
    cosine.xaxis.set_major_locator(MaxNLocator(5, integer=not relative))


def _power(tens: float, _: int) -> str:
    """A power of ten; a plain number where it is no whole one, as within a decade."""
    return rf"$10^{{{tens:.0f}}}$" if tens == round(tens) else f"{10**tens:.2g}"


def _styles(found: Sequence[Measures]) -> list[Style]:
    """The look of each candidate: of its placement, and by shade and dash among several of one placement."""
    names = [one.candidate.arch.placement for one in found]
    return [
        placement_style(name).of_depth(names[: i + 1].count(name) - 1, names.count(name))
        for i, name in enumerate(names)
    ]


def _points(ax: Axes, sample: Array | None, quantity: str, style: Style, scale: float) -> None:
    """Monte Carlo at about ten layers, with 95 % intervals."""
    if sample is None:
        return
    if quantity == "grad_variance":
        middle, error = (x / TEN for x in log_mean(sample))
    else:
        middle, error = mean(sample)
    shown, half = thin(len(middle), style.order), quantile(len(sample)) * error
    bars = ax.errorbar(shown / scale, middle[shown], half[shown], **style.points, elinewidth=0.8)
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
    parts += [f"{networks} networks"] if networks else []
    parts += [f"the first {len(found)} of {count}"] if len(found) < count else []
    return ", ".join(parts)
