"""Errors of each statistic in float32 and bfloat16, against float64 on the same networks.

The random numbers are the same in every precision, so the difference is rounding alone: that of the
forward pass, of the gradient, and of nothing else, as statistics are accumulated in float64. Networks
come from the explicit engine: where tokens collapse, the implicit one factors a Gram whose small
directions are rounding, and another precision then sees other matrices of the same law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from ..base.errors import NonFiniteError
from ..base.quantities import QUANTITIES
from ..gaussian.closed_forms import Array
from ..montecarlo.ensemble import Ensemble, simulate
from ..spec.architecture import Architecture

PLACEMENTS = ("pre-norm", "post-norm", "span-norm")
SCALINGS = ("unit", "depth-scaled-init")

#: sizes of the stacks, networks, and formats held against float64
SIZES = {"width": 256, "heads": 8, "tokens": 64, "depth": 24}
NETWORKS = 8
DTYPES = ("float32", "bfloat16")

#: quantities that pass through zero: their differences are absolute
COSINES = ("token_cosine", "grad_token_cosine", "layer_cosine")


def precision(
    archs: Iterable[Architecture],
    networks: int = NETWORKS,
    seed: int = 0,
    progress: Callable[[str], object] = lambda line: None,
) -> pd.DataFrame:
    """One row for each architecture, precision, quantity, stream and layer.

    Returns:
        columns placement, scaling, dtype, quantity, stream, layer, median and largest: over networks, of
        the relative difference to float64 (of cosines the absolute one). A precision in which a number
        leaves the range has infinite differences.
    """
    frames = []
    for arch in archs:
        progress(f"precision: {arch}")
        exact = simulate(arch, networks, seed, engine="explicit", dtype="float64", progress=False)
        for dtype in DTYPES:
            try:
                rounded = simulate(arch, networks, seed, engine="explicit", dtype=dtype, progress=False)
            except NonFiniteError:
                rounded = None
            frames.append(_differences(exact, rounded, dtype))
    return pd.concat(frames, ignore_index=True)


def _differences(exact: Ensemble, rounded: Ensemble | None, dtype: str) -> pd.DataFrame:
    frames = []
    for (stream, quantity), reference in exact.samples.items():
        if rounded is None:
            difference = np.full_like(reference, np.inf)
        else:
            difference = _difference(quantity, rounded.samples[stream, quantity], reference)
        columns = {
            "placement": exact.arch.placement,
            "scaling": exact.arch.scaling,
            "dtype": dtype,
            "quantity": quantity,
            "stream": stream,
            "layer": np.arange(reference.shape[1]),
            "median": np.median(difference, axis=0),
            "largest": difference.max(axis=0),
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def _difference(quantity: str, value: Array, reference: Array) -> Array:
    if QUANTITIES[quantity].logarithmic:
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.abs(np.expm1(value - reference))
        return np.asarray(np.where(value == reference, 0.0, apart))
    off = np.abs(value - reference)
    return off if quantity in COSINES else off / np.abs(reference)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The median over layers and streams and the largest with its layer, for each quantity."""
    keys = ["placement", "scaling", "dtype", "quantity"]
    groups = table.groupby(keys, sort=False)
    worst = table.loc[groups["largest"].idxmax()].set_index(keys)
    return pd.DataFrame(
        {
            "median": groups["median"].median(),
            "largest": worst["largest"],
            "at_layer": worst["layer"],
            "of": worst["stream"],
        }
    ).reset_index()
