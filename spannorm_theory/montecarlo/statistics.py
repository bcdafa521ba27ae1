"""Counts, means and variances of an ensemble, merged exactly across its chunks, and their table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from ..base.errors import StoreError
from ..base.quantities import QUANTITIES, Key

Array = NDArray[np.float64]
Words = NDArray[np.object_]


@dataclass(frozen=True)
class Statistics:
    """One entry for each (stream, quantity, layer), over ``networks`` networks.

    A logarithmic quantity s is averaged as exp(s - shift), so that no size under- or overflows.

    Attributes:
        shift: the largest s (minus infinity where all are zero); 0 for quantities that are not logarithmic.
        mean, m2: mean of the values, and sum of their squared distances from it, in units of exp(shift).
        log_mean: mean of s; NaN for quantities that are not logarithmic.
    """

    stream: Words
    quantity: Words
    layer: NDArray[np.int64]
    networks: NDArray[np.int64]
    shift: Array
    mean: Array
    m2: Array
    log_mean: Array

    def labels_equal(self, other: Statistics) -> bool:
        """Whether both hold the same entries in the same order."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("stream", "quantity", "layer")
        )


def summarise(samples: Mapping[Key, Array]) -> Statistics:
    """The statistics of an ensemble's samples: ``(stream, quantity)`` to (networks, layers)."""
    parts: list[tuple[Array, ...]] = []
    for (_, quantity), sample in samples.items():
        logarithmic = QUANTITIES[quantity].logarithmic
        shift = np.max(sample, axis=0) if logarithmic else np.zeros(sample.shape[1])
        with np.errstate(under="ignore"):
            values = np.exp(sample - _finite(shift)) if logarithmic else sample
            mean = values.mean(axis=0)
            m2 = ((values - mean) ** 2).sum(axis=0)
        log_mean = sample.mean(axis=0) if logarithmic else np.full_like(mean, np.nan)
        parts.append((shift, mean, m2, log_mean))
    lengths = [len(part[0]) for part in parts]
    networks = [len(sample) for sample in samples.values()]
    return Statistics(
        np.repeat(np.array([stream for stream, _ in samples], dtype=object), lengths),
        np.repeat(np.array([quantity for _, quantity in samples], dtype=object), lengths),
        np.concatenate([np.arange(length) for length in lengths]),
        np.repeat(networks, lengths),
        *(np.concatenate(columns) for columns in zip(*parts, strict=True)),
    )


def _finite(shift: Array) -> Array:
    """The shift, and zero where every network has a zero, whose logarithm is infinite."""
    return np.where(np.isfinite(shift), shift, 0.0)


def merge(a: Statistics, b: Statistics) -> Statistics:
    """Statistics of both sets of networks together: Chan's update, in units of the larger shift.

    Raises:
        StoreError: the two do not measure the same things.
    """
    if not a.labels_equal(b):
        raise StoreError("cells of one architecture hold different quantities; they cannot be merged")
    shift = np.maximum(a.shift, b.shift)
    with np.errstate(under="ignore"):
        unit_a, unit_b = (np.exp(s.shift - _finite(shift)) for s in (a, b))
        mean_a, mean_b = a.mean * unit_a, b.mean * unit_b
        n = a.networks + b.networks
        distance = mean_b - mean_a
        mean = mean_a + distance * (b.networks / n)
        between = distance**2 * (a.networks * b.networks / n)
        m2 = a.m2 * unit_a**2 + b.m2 * unit_b**2 + between
    log_mean = (a.networks * a.log_mean + b.networks * b.log_mean) / n
    return Statistics(a.stream, a.quantity, a.layer, n, shift, mean, m2, log_mean)


def estimates(groups: Sequence[tuple[Mapping[str, object], Statistics]]) -> pd.DataFrame:
    """One row for each group and entry, with the columns of :attr:`.ensemble.Ensemble.table`.

    Args:
        groups: values of the leading columns, the same in each group, and the group's statistics.
    """
    stacked = {
        name: np.concatenate([getattr(s, name) for _, s in groups])
        for name in ("stream", "quantity", "layer", "networks", "shift", "mean", "m2", "log_mean")
    }
    known, index = np.unique(stacked["quantity"].astype(str), return_inverse=True)
    logarithmic = np.array([QUANTITIES[str(name)].logarithmic for name in known])[index]
    n, mean, shift = stacked["networks"], stacked["mean"], _finite(stacked["shift"])
    width = np.full(len(n), np.nan)
    for count in np.unique(n[n > 1]):
        width[n == count] = stdtrit(count - 1, 0.975)
    with np.errstate(all="ignore"):
        logs = shift + np.log(mean)
        value = np.where(logarithmic, np.exp(logs), mean)
        log_value = np.where(logarithmic, logs, np.log(np.where(mean > 0, mean, np.nan)))
        se = np.where(n > 1, np.sqrt(stacked["m2"] / (n - 1)) / np.sqrt(n), np.nan)
        unit = np.exp(shift)
        columns = {
            "layer": stacked["layer"],
            "stream": stacked["stream"],
            "quantity": stacked["quantity"],
            "value": value,
            "log_value": log_value,
            "se": se * unit,
            "relative_se": se / np.abs(mean),
            "networks": n,
            "low": (mean - width * se) * unit,
            "high": (mean + width * se) * unit,
            "geometric": np.exp(stacked["log_mean"]),
        }
    lengths = [len(s.layer) for _, s in groups]
    leading = {
        name: np.repeat(np.array([values[name] for values, _ in groups]), lengths) for name in groups[0][0]
    }
    return pd.DataFrame({**leading, **columns})
