"""The distribution of a quantity over networks, against the log-normal law that a finite width implies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from ..base import arguments
from ..base.quantities import QUANTITIES
from ..prediction.predict import predict_profiles
from ..verification.allowances import fluctuations
from .canvas.marks import placement_label, placement_style
from .canvas.paper import axes_or_none, new_axes, paper

if TYPE_CHECKING:
    from ..montecarlo.ensemble import Ensemble


def distribution(
    ensemble: Ensemble,
    quantity: str = "grad_variance",
    layer: int = 0,
    *,
    stream: str = "0",
    ax: Axes | None = None,
) -> Axes:
    """Draw the histogram over networks of a variance's logarithm, and the normal law of the theory.

    The law has the theory's mean of the quantity itself (so the logarithm's mean lies below by half its
    variance) and the fluctuation that the width implies, see :mod:`spannorm_theory.verification.allowances`.
    Two lines mark the mean over networks and the geometric mean.

    Source: docs/theory.md, section 9.4.

    Args:
        ensemble: what ``simulate`` returns, or ``verify(...).ensemble``.
        quantity: "variance" or "grad_variance".
        layer: from 0 to depth.
        stream: "0", "1", ...
        ax: draw here instead of on a figure of its own.

    Returns:
        the axes.

    Raises:
        InputError: another quantity, or no such stream or layer.

    Example:
        >>> import spannorm_theory as st
        >>> found = st.simulate("post-norm depth=2 width=64 heads=2 tokens=8", networks=16, progress=False)
        >>> st.plot.distribution(found).get_ylabel()
        'density over networks'
    """
    from ..montecarlo.ensemble import Ensemble

    ensemble = arguments.instance("ensemble", ensemble, Ensemble, "simulate")
    quantity = arguments.choice("quantity of a distribution", quantity, ("variance", "grad_variance"))
    streams = [name for name, known in ensemble.samples if known == quantity]
    key, arch = (arguments.choice("stream", arguments.stream(stream), streams), quantity), ensemble.arch
    layer, ax = arguments.whole("layer", layer, 0, arch.depth), axes_or_none(ax)
    logs = ensemble.samples[key][:, layer]
    profiles = predict_profiles(arch).profiles
    spread = float(fluctuations(arch, profiles)[key][layer])
    center = float(profiles[key][layer]) - spread**2 / 2
    style = placement_style(arch.placement)
    with paper():
        axes = new_axes() if ax is None else ax
        axes.hist(logs, bins="fd", density=True, color=style.colour, alpha=0.35, label="networks")
        low, high = min(logs.min(), center - 3 * spread), max(logs.max(), center + 3 * spread)
        x = np.linspace(low, high, 200)
        (law,) = axes.plot(x, stats.norm.pdf(x, center, spread), **style.line, label="log-normal law")
        law.set_gid("theory")
        mean = float(np.log(np.mean(np.exp(logs - logs.max()))) + logs.max())
        axes.axvline(mean, color="0.2", linewidth=1.0, linestyle="-", label="mean")
        axes.axvline(float(logs.mean()), color="0.2", linewidth=1.0, linestyle=":", label="geometric mean")
        axes.set_xlabel(rf"$\ln\,{QUANTITIES[quantity].latex}$ at $l={layer}$")
        axes.set_ylabel("density over networks")
        if ax is None:
            axes.set_title(f"{placement_label(arch.placement)}, width {arch.width}", pad=22)
            axes.legend(
                loc="lower center",
                bbox_to_anchor=(0.5, 1.0),
                ncols=4,
                handlelength=1.6,
                columnspacing=0.9,
                borderaxespad=0.2,
            )
    return axes
