"""The first step: where in depth it learns, and how far it moves the output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...base.errors import AssumptionError, InputError
from ...first_steps.first_step import first_step
from ...plot import coordinate_check, depth_profile, panels
from ...plot.caption import marks, sizes
from ...plot.coordinate import OVER
from ...plot.curves import join
from ...spec.architecture import Architecture

#: networks of a step, at most: each is a real one in float64
NETWORKS = 4

#: quantities over depth, the stream of their rows, and what a panel's title calls them
SHARES = {
    "learning_share": ("block", "learning"),
    "coherent_share": ("all", "coherent movement"),
}


def learning_figure(
    archs: Sequence[Architecture], networks: int, seed: int, optimiser: str = "sign"
) -> tuple[Figure, str]:
    """Shares of learning and of coherent movement over depth, a column for each scaling rule, and the
    caption."""
    tables = _tables(archs, networks, seed, optimiser)
    drawings: dict[str, Callable[[Axes], object]] = {}
    for quantity, (stream, words) in SHARES.items():
        for scaling, own in _by_rule(tables).items():
            drawings[f"{words}, {scaling}"] = partial(_profile, own, quantity, stream)
    columns = len(_by_rule(tables))
    figure = panels(drawings, columns=columns, height=2.0)
    first = (
        "Top: share of each block in the decrease of the loss to first order; bottom: share of the streams' "
    )
    return figure, f"{first}squared movement along the gradient. {_words(tables, optimiser)}"


def coordinate_figure(
    archs: Sequence[Architecture], networks: int, seed: int, optimiser: str = "sign"
) -> tuple[Figure, str]:
    """How far the first step moves the output, over depth and over width, a row for each scaling rule, and
    the caption.

    Args:
        archs: of several depths at one width, and of several widths at one depth.
    """
    tables = _tables(archs, networks, seed, optimiser)
    drawings: dict[str, Callable[[Axes], object]] = {}
    for scaling, own in _by_rule(tables).items():
        for over in OVER:
            drawings[f"over {over}, {scaling}"] = partial(_check, _swept(own, over), over)
    figure = panels(drawings, columns=len(OVER), height=2.1)
    words = "Root mean square of the change of the output by the first step, at a learning rate of 1. "
    return figure, words + _words(tables, optimiser)


def _tables(archs: Sequence[Architecture], networks: int, seed: int, optimiser: str) -> list[pd.DataFrame]:
    """Theory and networks of each architecture; the theory is left out where none is derived."""
    found = []
    for arch in archs:
        with suppress(AssumptionError):
            found.append(first_step(arch, optimiser))
        with suppress(InputError):
            count = min(networks, NETWORKS)
            found.append(first_step(arch, optimiser, networks=count, seed=seed, progress=False))
    return found


def _by_rule(tables: Iterable[pd.DataFrame]) -> dict[str, list[pd.DataFrame]]:
    found: dict[str, list[pd.DataFrame]] = {}
    for table in tables:
        found.setdefault(str(table["scaling"].iloc[0]), []).append(table)
    return found


def _swept(tables: Sequence[pd.DataFrame], over: str) -> list[pd.DataFrame]:
    """The tables along one axis: those of the commonest value of the other."""
    (other,) = (name for name in OVER if name != over)
    at = pd.DataFrame([{name: int(table[name].iloc[0]) for name in OVER} for table in tables])
    commonest = at.groupby(other)[over].nunique().idxmax()
    return [table for table, value in zip(tables, at[other], strict=True) if value == commonest]


def _profile(tables: list[pd.DataFrame], quantity: str, stream: str, ax: Axes) -> None:
    depth_profile(tables, quantity, stream=stream, ax=ax, names=False)


def _check(tables: list[pd.DataFrame], over: str, ax: Axes) -> None:
    coordinate_check(tables, over, ax=ax, names=False)


def _words(tables: Sequence[pd.DataFrame], optimiser: str) -> str:
    rows = join(tables)
    return f"First step of {optimiser}. {marks(rows[rows['quantity'] == 'stream_change'])} {sizes(rows)}"
