"""Independent runs of a sampled theory: the token ids that each reads, and the mean over them.

Runs differ in their draws. Where inputs are token ids, most of what they differ by is how many pairs of
tokens are alike, whose mean, the collision probability P_c, is known: ids are drawn from strata of equal
probability, and the mean over runs is that at P_c of a line fitted to them (a control variate). It is exact
for everything that is linear in the input's Gram.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..base.quantities import QUANTITIES, Key
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture

Ids = NDArray[np.int64]

#: sequences among which those of the runs are chosen: their mean number of pairs alike is off by a hundredth
#: of the standard deviation of one
CANDIDATES = 8192


def balanced_ids(
    arch: Architecture, runs: int, random: np.random.Generator, sequences: int = 1
) -> tuple[Ids, Array]:
    """Ids of each run's sequences, (runs, tokens of all), and the share of pairs that are alike beyond P_c.

    Candidates are sorted by that share and cut into as many strata as there are runs; each run takes the one
    nearest to its stratum's mean.
    """
    tokens = sequences * arch.tokens
    candidates: Ids = arch.token_law.ids(random.random((CANDIDATES, tokens)))
    equal_neighbours = np.diff(np.sort(candidates, axis=1), axis=1) == 0
    share = _pairs_in_runs(equal_neighbours) / (tokens * (tokens - 1) / 2)
    order = np.argsort(share, kind="stable")
    strata = np.array_split(order, runs)
    chosen = [part[np.argmin(np.abs(share[part] - share[part].mean()))] for part in strata]
    return candidates[chosen], share[chosen] - arch.token_law.collision


def _pairs_in_runs(equal: NDArray[np.bool_]) -> Array:
    """Number of equal pairs in each sorted row, from the mask of equal neighbours; (rows,)."""
    total, length = np.zeros(len(equal)), np.zeros(len(equal))
    for column in equal.T:
        length = np.where(column, length + 1, 0)
        total += length
    return total


def average(runs: Sequence[dict[Key, Array]], excess: Array) -> tuple[dict[Key, Array], dict[Key, Array]]:
    """Mean over runs and its standard error by key; of logarithms, the logarithm of the mean and its relative
    error.

    Args:
        excess: a number of each run whose mean is known to be zero, (runs,); zeros where there is none.
    """
    means, errors = {}, {}
    for key in runs[0]:
        x = np.array([run[key] for run in runs])
        if not QUANTITIES[key[1]].logarithmic:
            means[key], errors[key] = at_no_excess(x, excess)
            continue
        largest = np.max(x, axis=0)
        some = ~np.isneginf(largest)  # a gradient may be zero in every run
        shift = np.where(some, largest, 0.0)
        mean, error = at_no_excess(np.exp(x - shift), excess)
        unit = np.where(some, mean, 1.0)
        means[key], errors[key] = np.where(some, shift + np.log(unit), -np.inf), error / unit
    return means, errors


def at_no_excess(x: Array, excess: Array) -> tuple[Array, Array]:
    """The value at zero of the line fitted to ``x``, (runs, ...), over ``excess``, with its standard error;
    the plain mean where there is no excess."""
    centre = excess.mean()
    apart = excess - centre
    size = float(apart @ apart)
    mean, freedom, weight = x.mean(axis=0), len(x) - 1, 1 / len(x)
    left = x - mean
    if size > 0:
        slope = np.tensordot(apart, x, 1) / size
        mean, left = mean - slope * centre, left - np.multiply.outer(apart, slope)
        freedom, weight = freedom - 1, weight + centre**2 / size
    return mean, np.sqrt(np.square(left).sum(axis=0) / freedom * weight)
