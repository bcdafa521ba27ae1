"""Means over independent networks, with standard errors."""

from __future__ import annotations

import numpy as np

from ..gaussian.closed_forms import Array


def mean(sample: Array) -> tuple[Array, Array]:
    """Mean over the first axis, and its standard error."""
    return sample.mean(axis=0), sample.std(axis=0, ddof=1) / np.sqrt(len(sample))


def log_mean(logs: Array) -> tuple[Array, Array]:
    """Logarithm of a log-normal mean, and its standard error, from the samples' logarithms.

    Cox' estimator, mean(ln) + var(ln)/2, whose error sqrt(var/n + var^2/(2(n-1))) counts the spread that a
    plain mean of few networks misses (Land, 1972, Technometrics 14).
    """
    with np.errstate(invalid="ignore"):  # a gradient that is exactly zero has no logarithm
        n, variance = len(logs), logs.var(axis=0, ddof=1)
        return logs.mean(axis=0) + variance / 2, np.sqrt(variance / n + variance**2 / (2 * (n - 1)))


def influence(sample: Array, logarithmic: bool) -> tuple[Array, Array]:
    """The estimate over networks, (layers,), and each network's influence on it, (networks, layers), whose
    standard deviation over the root of their number is the estimate's error at leading order."""
    center, _ = log_mean(sample) if logarithmic else mean(sample)
    with np.errstate(invalid="ignore"):
        apart = sample - sample.mean(axis=0)
        if logarithmic:
            apart = apart + (np.square(apart) - sample.var(axis=0, ddof=1)) / 2
    return center, apart
