"""The two axes of a depth profile: layers across, a value on a plain, log or powers-of-ten axis up."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, Formatter, Locator, LogLocator, MaxNLocator, NullFormatter

from ...base.errors import InputError
from ..curves import Array, Curve

LN10 = float(np.log(10.0))
#: natural logarithms beyond this are not drawn on an ordinary log axis
FLOAT_RANGE = 650.0
#: the least span of an axis, so that noise around a constant looks like noise
LEAST_SPAN = 0.2

#: label of the layer axis, by whether layers are relative to the depth
LAYER_LABELS = {False: "layer $l$", True: "relative depth $l/L$"}


class _Decades(Locator):
    """Powers of ten; round numbers where an axis spans less than about a decade."""

    def __call__(self) -> Any:
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Any:
        low, high = sorted((max(vmin, 1e-320), max(vmax, 1e-320)))
        decades = log10(high) - log10(low)
        if decades < 1:
            return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        if decades < 2:
            exponents = range(floor(log10(low)), ceil(log10(high)) + 1)
            return [m * 10.0**e for e in exponents for m in ((1, 2, 5) if decades < 1.5 else (1, 3))]
        step = ceil(decades / 5)
        first = ceil(log10(low) / step - 1e-9) * step
        return [10.0**e for e in range(first, floor(log10(high) + 1e-9) + 1, step)]


class _Power(Formatter):
    """Plain decimals near one, else m x 10^k."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        if x <= 0:
            return ""
        if 1e-2 <= x < 1e4:
            return f"{x:.4g}"
        exponent = floor(log10(x) + 1e-9)
        mantissa = x / 10.0**exponent
        front = "" if abs(mantissa - 1) < 1e-6 else rf"{mantissa:.3g}{{\times}}"
        return rf"${front}10^{{{exponent}}}$"


class _Exponent(Formatter):
    """10^x on an axis whose coordinates are the exponents."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return rf"$10^{{{x:.0f}}}$"


class Ordinate:
    """Maps a curve's ordinates to coordinates of an axes: "plain", "log" or "powers" (log10)."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, values: Array) -> Array:
        """Coordinates of ordinates."""
        if self.kind == "plain":
            return values
        if self.kind == "powers":
            return values / LN10
        return np.asarray(np.exp(np.clip(values, -FLOAT_RANGE, FLOAT_RANGE)))


def choose_ordinate(found: Sequence[Curve], logarithmic: bool) -> Ordinate:
    """The kind of axis that shows these curves: powers of ten where float64 cannot hold the values."""
    if not logarithmic:
        return Ordinate("plain")
    extreme = max(
        (float(np.nanmax(np.abs(c.best[np.isfinite(c.best)]), initial=0)) for c in found), default=0.0
    )
    return Ordinate("powers" if extreme > FLOAT_RANGE else "log")


def dress_value_axis(ax: Axes, ordinate: Ordinate) -> None:
    """Scale, ticks and tick labels of the value axis.

    Raises:
        InputError: the axes hold curves on an ordinary log axis already and these need powers of ten,
            or the other way round.
    """
    axis: Any = ax.yaxis
    formatter = axis.get_major_formatter()
    present = "powers" if isinstance(formatter, _Exponent) else "log" if ax.get_yscale() == "log" else "plain"
    if ax.has_data() and present != ordinate.kind:
        raise InputError(
            f"these axes show values on a {present} axis, and these curves need a {ordinate.kind} one; "
            "draw both in one call, or on axes of their own"
        )
    if ordinate.kind == "log":
        ax.set_yscale("log", nonpositive="clip")
        axis.set_major_locator(_Decades())
        axis.set_major_formatter(_Power())
        axis.set_minor_locator(LogLocator(subs="auto", numticks=12))
        axis.set_minor_formatter(NullFormatter())
    elif ordinate.kind == "powers":
        axis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_major_formatter(_Exponent())
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def widen(ax: Axes, found: Sequence[Curve], ordinate: Ordinate) -> None:
    """Give nearly constant curves an axis that does not magnify their noise."""
    values = np.concatenate([c.best for c in found])
    values = values[np.isfinite(values)]
    if len(values):
        middle, half = (values.min() + values.max()) / 2, LEAST_SPAN / 2
        ends = ordinate(np.array([middle - half, middle + half]))
        at = float(found[0].layer[0])
        ax.update_datalim([(at, ends[0]), (at, ends[1])], updatex=False)
        ax.autoscale_view(scalex=False)


def dress_layer_axis(ax: Axes, relative: bool, depth: int) -> None:
    """Ticks and label of the layer axis: l, or l/L where several depths share the axes."""
    ax.set_xlabel(LAYER_LABELS[relative])
    if relative:
        ax.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(min(6, depth), steps=[1, 2, 4, 5, 6, 8, 10], integer=True))
    ax.margins(x=0.02)
