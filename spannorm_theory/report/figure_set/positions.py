"""Variance and gradient over position and depth, where tokens are unlike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...base.quantities import tidy_positions
from ...layers.shown_positions import shown_positions
from ...montecarlo.ensemble import simulate
from ...plot import caption, panels, position_profile
from ...plot.canvas.marks import placement_title
from ...prediction.predict import at_positions, predict_profiles
from ...spec.architecture import Architecture

#: quantity, and what a panel's title calls it
QUANTITIES = {"variance": "variance", "grad_variance": "gradient"}

#: measured positions, at most
POSITIONS = 8


def positions_figure(
    archs: Sequence[Architecture], networks: int, seed: int, progress: bool = False
) -> tuple[Figure, str]:
    """A row of panels for each architecture, in which each curve is a layer, and the caption.

    Raises:
        AssumptionError: the theory of positions does not cover an architecture.
    """
    drawings, tables = {}, []
    for arch in archs:
        at = sorted(set(np.geomspace(1, arch.tokens, POSITIONS).round().astype(int).tolist()))
        both = [
            _predicted(arch, progress),
            simulate(arch, networks, seed, by="position", positions=at, progress=progress).table,
        ]
        tables += both
        for quantity, name in QUANTITIES.items():
            drawings[f"{placement_title(arch.placement)}: {name}"] = partial(_draw, both, quantity)
    figure = panels(drawings, columns=len(QUANTITIES), height=2.1, legend=False)
    return figure, caption(tables, list(QUANTITIES), figure="position_profile")


def _predicted(arch: Architecture, progress: bool) -> pd.DataFrame:
    prediction = predict_profiles(arch, "positions", progress)
    shown = shown_positions(arch, "position", None)
    assert shown is not None
    return tidy_positions(
        arch.labels, shown.tolist(), at_positions(prediction, shown)[0], theory=prediction.theory
    )


def _draw(tables: list[pd.DataFrame], quantity: str, ax: Axes) -> None:
    position_profile(tables, quantity, ax=ax)
