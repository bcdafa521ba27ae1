"""One figure for all: a block, what it does to signals, and how well that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from ...plot import block_diagram, depth_profile, rank_collapse, residuals, spectrum
from ...plot.canvas.paper import new_figure, paper, venue
from ...plot.canvas.series import meaning
from ...verification.outcome import Verification
from ...verification.spectra import spectra

MOSAIC = [["block", "gradient", "collapse"], ["block", "spectrum", "residuals"]]


def overview_figure(found: Sequence[Verification], first: int = 0) -> Figure:
    """Block, spectrum and residuals of one verification; gradient and rank collapse of all.

    Args:
        found: verifications under one scaling rule.
        first: which of them is shown closely.
    """
    shown = found[first]
    arch, ensemble = shown.arch, shown.ensemble
    tables = [one.table for one in found]
    mosaic: Any = MOSAIC
    with paper():
        figure = new_figure(venue().full, 4.6 * venue().scale)
        axes: Any = figure.subplot_mosaic(mosaic, width_ratios=[0.75, 1.15, 1.05], height_ratios=[1, 1.3])
        block_diagram(arch.placement, scaling=arch.scaling, ax=axes["block"])
        depth_profile(tables, "grad_variance", ax=axes["gradient"])
        rank_collapse(tables, ax=axes["collapse"])
        spectrum(spectra(arch, networks=ensemble.networks, seed=ensemble.seed), ax=axes["spectrum"])
        residuals(shown, ax=axes["residuals"], names=False)
        for letter, name in zip(
            "abcde", ("block", "gradient", "collapse", "spectrum", "residuals"), strict=True
        ):
            axes[name].set_title(f"({letter})", loc="left")
        figure.legend(handles=meaning(figure.axes), loc="outside upper right", ncols=2)
    return figure
