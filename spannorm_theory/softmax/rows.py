r"""One row of softmax attention weights with independent logits: moments, exact at any number of keys (T6.5).

With 1/S^m = int t^{m-1} e^{-tS} dt / Gamma(m) the mean of a product of powers of n weights becomes an
integral over ln t of products of one-key expectations E a^l (t e^a)^k exp(-t e^a). The integrands are
analytic and decay, hence plain equidistant sums converge exponentially.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, gamma, log, sqrt
from typing import Any

import numpy as np
from scipy.special import ndtri

from ..gaussian.closed_forms import Array

#: probability that the largest of n logits lies beyond the sums; smaller values only make these longer
BEYOND = 1e-11

#: where sums over a standard Gaussian end: it has 6e-14 beyond, which rows of many keys multiply
END = 7.5

#: the widest step of such a sum, whose error is exp(-2 pi^2 / step^2) = 4e-14
WIDEST = 0.8

#: step of the sums over log t and over logits. The integrands are analytic in a strip of half width pi/2, so
#: that the error is of order exp(-pi^2 / step) = 5e-15; rows are told apart from even ones, and from a
#: maximum, by differences of such sums
LOG_STEP = 0.3

#: a key's powers of its weight and of its logit
Powers = tuple[int, int]


def log_grid(s: float, n: int, step: float, cap: float | None = None) -> Array:
    """log t over the range of -log sum_j e^{a_j}; a soft cap brings its upper end nearer.

    The largest of n logits lies between s times two quantiles but for a probability ``BEYOND``; integrands
    fall at least as t below -log of the sum, as that probability does further on, and as exp(-t) above.
    """
    low, high = float(ndtri(BEYOND ** (1 / n))), -float(ndtri(BEYOND / n))
    longest = (high**2 + s**2) / 2 if s < high else s * high
    return np.arange(-log(n) - longest, 4 - float(capped(s * low, cap)), step)


def gaussian_sum(scale: float, step: float, widest: float = WIDEST) -> tuple[Array, Array]:
    """Points of N(0, scale^2) at most ``step`` apart, an odd number around zero, and their weights."""
    if not scale:
        return np.zeros(1), np.ones(1)
    h = min(widest, step / scale)
    z = h * np.arange(-ceil(END / h), ceil(END / h) + 1)
    return np.asarray(scale * z), np.asarray(np.exp(-(z**2) / 2) * (h / sqrt(2 * np.pi)))


def capped(z: Any, cap: float | None) -> Any:
    """Logits under a soft cap C, C tanh(z / C); as they are without one."""
    return z if cap is None else cap * np.tanh(z / cap)


def cap_step(step: float, cap: float | None) -> float:
    """The step of sums over logits, which a cap that is not large bends within some steps."""
    return step if cap is None else min(step, LOG_STEP * cap)


def capped_moment(s: float, cap: float | None) -> float:
    """Second moment of logits of N(0, s^2) under a soft cap."""
    z, density = gaussian_sum(s, cap_step(LOG_STEP, cap))
    return s**2 if cap is None else float(density @ np.square(capped(z, cap)))


@lru_cache(maxsize=4096)
def log_partition(s: float, n: int, cap: float | None = None) -> float:
    r"""E ln sum_j e^{a_j} of ``n`` independent logits a of N(0, s^2), under a soft cap where one is given.

    With F(u) = E exp(-e^{u + a}), Frullani's integral for a logarithm is int (exp(-e^u) - F(u)^n) du over all
    u = ln t.
    """
    z, density = gaussian_sum(s, cap_step(LOG_STEP, cap))
    a = capped(z, cap)
    low, *_, high = log_grid(s, n, LOG_STEP)
    u = np.arange(low, max(high, 4.0), LOG_STEP)  # exp(-e^4) is zero
    none = np.exp(-np.exp(np.minimum(np.add.outer(u, a), 50))) @ density
    return LOG_STEP * float(np.sum(np.exp(-np.exp(u)) - none**n))


@dataclass(frozen=True)
class RowPowers:
    """Means of the power sums p_k of one row's weights, and of their products: ``p23`` is E p_2 p_3."""

    p2: float
    p3: float
    p4: float
    p5: float
    p22: float
    p23: float
    p24: float
    p222: float


@lru_cache(maxsize=4096)
def row_powers(s: float, n: int) -> RowPowers:
    """Power sums of a row of ``n`` weights whose logits are Gaussian of variance s^2."""
    if s == 0:
        p2, p3, p4, p5 = (float(n) ** -k for k in range(1, 5))
        return RowPowers(p2, p3, p4, p5, p2**2, p2 * p3, p2 * p4, p2**3)
    mean = _row(s, n, weights=6)
    p4, p5, p6, p2_4 = mean((4, 0)), mean((5, 0)), mean((6, 0)), mean((2, 0), (4, 0))
    return RowPowers(
        mean((2, 0)),
        mean((3, 0)),
        p4,
        p5,
        p4 + mean((2, 0), (2, 0)),
        p5 + mean((2, 0), (3, 0)),
        p6 + p2_4,
        p6 + 3 * p2_4 + mean((2, 0), (2, 0), (2, 0)),
    )


@dataclass(frozen=True)
class Row:
    """Overlaps of one row A with itself, and of M = diag(A) - A A^T with its logits z of variance 1.

    Attributes:
        p2, j: P2 and J of (T6.3).
        along_query: E |M z|^2 (T6.12); J where weights ignore logits.
        along_key: E sum_j z_j^2 (M^2)_jj, which over J is the x of (T6.14); J likewise.
    """

    p2: float
    j: float
    along_query: float
    along_key: float


@lru_cache(maxsize=4096)
def one_row(s: float, n: int, sphere: int = 0) -> Row:
    """Overlaps of a row of ``n`` logits.

    Args:
        s: standard deviation of a logit.
        sphere: 0 for Gaussian logits, else dimensions of a sphere, one coordinate of whose uniform points
            they are.
    """
    if s == 0:
        even = 1 / n - 1 / n**2
        return Row(1 / n, even, even, even)
    mean = _row(s, n, sphere, weights=4, logits=2)
    p2 = mean((2, 0))
    two = mean((4, 2)) + mean((2, 0), (2, 2))
    read = two + 2 * mean((3, 1), (1, 1)) + mean((2, 0), (1, 1), (1, 1))  # p2 times the squared mean logit
    crossed = mean((3, 2)) + mean((2, 1), (1, 1))
    return Row(
        p2,
        p2 - 2 * mean((3, 0)) + mean((4, 0)) + mean((2, 0), (2, 0)),
        (mean((2, 2)) - 2 * crossed + read) / s**2,
        (mean((2, 2)) - 2 * mean((3, 2)) + two) / s**2,
    )


def _row(s: float, n: int, sphere: int = 0, *, weights: int, logits: int = 0) -> Callable[..., float]:
    """Function from :data:`Powers` to E of the sum over distinct keys of the product of their weights and
    logits to these powers, at most ``weights`` and ``logits``."""
    a, density = _logits(s, sphere)
    y = np.exp(log_grid(s, n, LOG_STEP))[:, None] * np.exp(a)
    part, found = np.exp(-y), []
    for _ in range(weights + 1):
        found.append([part @ (density * a**power) for power in range(logits + 1)])
        part = part * y
    none = found[0][0]

    def mean(*powers: Powers) -> float:
        if len(powers) > n:
            return 0.0
        value = LOG_STEP / gamma(sum(of_weight for of_weight, _ in powers)) * none ** (n - len(powers))
        for i, (of_weight, of_logit) in enumerate(powers):
            value = value * (n - i) * found[of_weight][of_logit]
        return float(np.sum(value))

    return mean


def _logits(s: float, sphere: int) -> tuple[Array, Array]:
    """Nodes and weights for one logit."""
    if not sphere:
        return gaussian_sum(s, LOG_STEP)
    z, weight = _coordinate(sphere)
    return s * z, weight


@lru_cache(maxsize=64)
def _coordinate(sphere: int) -> tuple[Array, Array]:
    """Nodes and weights for one coordinate of a point on a sphere of radius sqrt(sphere)."""
    x, weight = np.polynomial.legendre.leggauss(160)
    z = x * min(np.sqrt(sphere), 8.5)
    weight = weight * np.exp((sphere - 3) / 2 * np.log1p(-(z**2) / sphere))
    return z, weight / weight.sum()
