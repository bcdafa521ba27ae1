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
    plain mean of few networks misses (Land, 1972, Technometrics 14). What is exactly zero in some networks is
    not log-normal: then the logarithm of the plain mean, and its error over it.
    """
    center, apart = _influence(logs)
    n = len(logs)
    with np.errstate(invalid="ignore"):
        variance = logs.var(axis=0, ddof=1)
        cox = np.sqrt(variance / n + variance**2 / (2 * (n - 1)))
    return center, np.where(_some_zero(logs), apart.std(axis=0, ddof=1) / np.sqrt(n), cox)


def _some_zero(logs: Array) -> Array:
    """Where some networks have a zero, and not all, (layers,)."""
    zero = np.isneginf(logs)
    return np.asarray(zero.any(axis=0) & ~zero.all(axis=0))


def _influence(logs: Array) -> tuple[Array, Array]:
    """:func:`log_mean`, (layers,), and each network's influence on it, (networks, layers)."""
    with np.errstate(invalid="ignore"):  # what is zero in all networks has no logarithm
        variance, off = logs.var(axis=0, ddof=1), logs - logs.mean(axis=0)
        center, apart = logs.mean(axis=0) + variance / 2, off + (np.square(off) - variance) / 2
        largest = logs.max(axis=0)
        size = np.exp(logs - largest)
        mean_size = size.mean(axis=0)
        some = _some_zero(logs)
        return (
            np.where(some, largest + np.log(mean_size), center),
            np.where(some, size / mean_size - 1, apart),
        )


def influence(sample: Array, logarithmic: bool) -> tuple[Array, Array]:
    """The estimate over networks, (layers,), and each network's influence on it, (networks, layers), whose
    standard deviation over the root of their number is the estimate's error at leading order."""
    return _influence(sample) if logarithmic else (sample.mean(axis=0), sample - sample.mean(axis=0))
