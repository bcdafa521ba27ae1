"""One figure for all: a block, what it does to signals, and how well that is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from ...plot import block_diagram, depth_profile, rank_collapse, residuals, spectrum
from ...plot.canvas.draw import columns_that_fit
from ...plot.canvas.paper import new_figure, paper, venue
from ...plot.panels import named
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
        axes: Any = figure.subplot_mosaic(mosaic, width_ratios=[0.75, 1.1, 1], height_ratios=[1, 1.35])
        block_diagram(arch.placement, scaling=arch.scaling, ax=axes["block"])
        depth_profile(tables, "grad_variance", ax=axes["gradient"], names=False, bounds=False)
        rank_collapse(tables, ax=axes["collapse"], names=False)
        spectrum(spectra(arch, networks=ensemble.networks, seed=ensemble.seed), ax=axes["spectrum"])
        residuals(shown, ax=axes["residuals"], names=False)
        entries = {str(line.get_label()): line for line in named(axes["gradient"])}
        columns = columns_that_fit(list(entries), figure.get_figwidth() * 72)
        figure.legend(handles=list(entries.values()), loc="outside upper right", ncols=columns)
    return figure
