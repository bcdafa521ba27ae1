r"""Overlaps of softmax attention rows with Gaussian logits, exact at any number of keys.

Two rows A, B of n softmax weights; the logits of one row are independent N(0, s^2), those of two
rows have correlation rho at the same key and none at different keys. Attention needs

    P2  = E sum_j A_j^2                 P11 = E sum_j A_j B_j
    J   = E[P2 - 2 P3 + P2^2]           J11 = E[P11 - 2 P21 + P11^2],  P21 = sum_j A_j^2 B_j

(J and J11 are the second moments of the softmax Jacobian, for one row and between two). With
1/S^m = int t^{m-1} e^{-tS} dt / Gamma(m) every one becomes an integral over log t of products of
single-key expectations f(t) = E exp(-t e^a) and its derivatives; two rows share the common part of
their logits, so their joint expectations are matrix products of conditional ones. All integrands are
analytic and decay, hence plain equidistant sums converge exponentially.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import gamma

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.linalg import eigh_tridiagonal
from scipy.stats import norm

from ..errors import AssumptionError
from .kernels import Array

#: step of the sums over log t; the integrands are analytic in a strip of half width pi/2, so the error
#: is about exp(-pi^2 / step)
LOG_STEP = 0.4

#: beyond this logit variance the softmax is a maximum but for near ties
LARGEST_S2 = 64.0

#: Gauss-Laguerre nodes for the norm of a query
HEAD_NODES = 3


@dataclass(frozen=True)
class Overlaps:
    """P2, P11, J and J11 as defined above; all between 0 and 1."""

    p2: float
    p11: float
    j: float
    j11: float


@dataclass(frozen=True)
class HeadOverlaps(Overlaps):
    """Overlaps in heads of finite width, and ``tilt`` = E[r J11(r)] over the cosine r of two queries."""

    tilt: float


def overlaps(s2: float, rho: float, keys: int) -> Overlaps:
    """Row overlaps for logits of variance ``s2`` and row correlation ``rho`` over ``keys`` keys.

    Raises:
        AssumptionError: s^2 is negative or beyond 400, where the quadrature no longer resolves the
            softmax (its entropy is below any use by then).
    """
    if not 0 <= s2 <= 400 or not -1 <= rho <= 1:
        raise AssumptionError(
            f"attention overlaps need a logit variance in [0, 400] and a row correlation in [-1, 1], "
            f"got {s2:.4g} and {rho:.4g}"
        )
    if s2 < 1e-12:
        u = 1 / keys
        return Overlaps(u, u, u - u**2, u - u**2)
    s, n = float(np.sqrt(s2)), keys
    log_t = _log_grid(s, n)
    c = np.arange(-8.25, 8.5, min(0.25, 0.7 / (s * np.sqrt(abs(rho)) + 0.1)))
    weight = norm.pdf(c) * (c[1] - c[0])
    shared = s * np.sqrt(abs(rho)) * c
    moments = _conditional(s * float(np.sqrt(1 - abs(rho))), log_t[0] + shared[0], log_t[-1] + shared[-1])
    f0, f1, f2 = moments(np.add.outer(log_t, shared))
    g0, g1, g2 = (f if rho >= 0 else f[:, ::-1] for f in (f0, f1, f2))  # opposite shared parts

    def joint(f: Array, g: Array) -> Array:
        return np.asarray((f * weight) @ g.T)

    one, both = joint(f0, g0), joint(f1, g1)
    others = LOG_STEP**2 * one ** (n - 2)
    p11 = n * np.sum(both * one * others)
    p21 = n * np.sum(joint(f2, g1) * one * others)
    same_key = n * np.sum(joint(f2, g2) * one * others)
    two_keys = n * (n - 1) * np.sum(both**2 * others)
    p2, j = _single_row(s, n)
    return Overlaps(p2, float(p11), j, float(p11 - 2 * p21 + same_key + two_keys))


def _conditional(own: float, low: float, high: float) -> Callable[[Array], Array]:
    """F_k(tau) = E[y^k e^{-y}], y = e^{tau + own x}, k = 0, 1, 2, as one spline over [low, high]: a
    row's expectations given what it shares with the other row, in tau = log t + shared part."""
    x = np.arange(-8.5, 8.6, min(0.25, 0.5 / max(own, 0.1)))
    weight = norm.pdf(x) * (x[1] - x[0])
    tau = np.arange(low, high + 0.05, 0.05)
    y = np.exp(np.minimum(np.add.outer(tau, own * x), 50))  # e^{-y} is zero long before
    decay = np.exp(-y)
    # not by BLAS, whose threads would cost more than so small a product
    moments = [np.einsum("ij,j->i", part, weight) for part in (decay, y * decay, y**2 * decay)]
    spline = CubicSpline(tau, np.stack(moments, axis=1))
    return lambda points: np.moveaxis(spline(points), -1, 0)


def _log_grid(s: float, n: int) -> Array:
    """log t over the range of -log sum_j e^{a_j}: the largest of n logits lies between these quantiles
    but for a probability of 1e-11, and the integrands fall as t^2 below and as exp(-t) above."""
    low, high = norm.ppf(1e-11 ** (1 / n)), norm.isf(1e-11 / n)
    return np.arange(-np.log(n) - s * high - 20, 5 - s * low, LOG_STEP)


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
def row_powers(s: float, n: int, sphere: int = 0) -> RowPowers:
    """Power sums of a row of ``n`` weights whose logits are Gaussian, or coordinates of a uniform point on a
    sphere of ``sphere`` dimensions and radius sqrt(sphere) (both times s)."""
    if s == 0:
        p2, p3, p4, p5 = (float(n) ** -k for k in range(1, 5))
        return RowPowers(p2, p3, p4, p5, p2**2, p2 * p3, p2 * p4, p2**3)
    if sphere:
        x, weight = np.polynomial.legendre.leggauss(160)
        z = x * min(np.sqrt(sphere), 8.5)
        weight = weight * np.exp((sphere - 3) / 2 * np.log1p(-(z**2) / sphere))
        weight /= weight.sum()
    else:
        step = min(0.1, 0.2 / s)
        z = np.arange(-8.5, 8.5 + step, step)
        weight = norm.pdf(z) * step
    t = np.exp(_log_grid(s, n))
    y = t[:, None] * np.exp(s * z)
    part = np.exp(-y)
    found = []
    for _ in range(7):
        found.append(part @ weight)
        part = part * y
    none = found[0]

    def distinct(*powers: int) -> float:
        """E of the sum over distinct keys of the products of these powers of their weights."""
        if len(powers) > n:
            return 0.0
        value = LOG_STEP / gamma(sum(powers)) * none ** (n - len(powers))
        for i, power in enumerate(powers):
            value = value * (n - i) * found[power]
        return float(np.sum(value))

    p4, p5, p6, p2_4 = distinct(4), distinct(5), distinct(6), distinct(2, 4)
    return RowPowers(
        distinct(2),
        distinct(3),
        p4,
        p5,
        p4 + distinct(2, 2),
        p5 + distinct(2, 3),
        p6 + p2_4,
        p6 + 3 * p2_4 + distinct(2, 2, 2),
    )


def _single_row(s: float, n: int, sphere: int = 0) -> tuple[float, float]:
    """P2 and J of one row."""
    p = row_powers(s, n, sphere)
    return p.p2, p.p2 - 2 * p.p3 + p.p22


@lru_cache(maxsize=65536)
def saturating_overlaps(s2: float, rho: float, keys: int) -> Overlaps:
    """Overlaps at any logit variance, beyond ``LARGEST_S2`` by their laws at large s.

    There the softmax is a maximum but for near ties, whose probability falls as 1/s: 1 - P2 and J go
    as 1/s, J11 (a near tie in both rows) as 1/s^2, and P11 tends to the probability that two rows have
    the same maximum. Each law's two leading constants come from s = 6 and s = 8.
    """
    if s2 <= LARGEST_S2:
        return overlaps(max(s2, 0.0), rho, keys)
    s = float(np.sqrt(s2))
    near, far = overlaps(36.0, rho, keys), overlaps(64.0, rho, keys)

    def law(at_six: float, at_eight: float, power: int) -> float:
        slope = (at_six - at_eight) / (6.0**-power - 8.0**-power)
        return at_eight + slope * (s**-power - 8.0**-power)

    return Overlaps(
        1 - law((1 - near.p2) * 6, (1 - far.p2) * 8, 2) / s,
        law(near.p11, far.p11, 2),
        law(near.j * 6, far.j * 8, 1) / s,
        law(near.j11 * 36, far.j11 * 64, 2) / s2,
    )


@lru_cache(maxsize=65536)
def head_overlaps(s2: float, rho: float, keys: int, head_width: int, normed: bool) -> HeadOverlaps:
    """Overlaps for heads of finite width, whose logits are not quite independent Gaussians.

    The correlation of two rows is the cosine r of their queries, which fluctuates around rho with variance
    (1 - rho^2)^2 / d_h: two nodes of r beside rho carry it. Keys collect r J11(r) from pairs of rows, which
    does not vanish at rho = 0. Without a norm the logits of one row are Gaussian with variance s^2 |q|^2 /
    E|q|^2, a chi-square over ``head_width`` coordinates: the overlaps are averaged over it (exact for one
    row; two rows are given a common |q|, right at rho = 0 and rho = 1). With norms on queries and keys the
    logits are coordinates of points on a sphere: exact for one row; for two, P11 and J11 move between their
    values at rho = 0, which depend on the mean alone, and at rho = 1, where the rows are one.
    """
    if not normed:
        shares, weights = query_norms(head_width)
        middle = HEAD_NODES // 2
        found = [
            _over_cosines(s2 * float(x), rho, keys, (1 - rho**2) / np.sqrt(head_width * weights[middle]))
            if i == middle
            else _over_cosines(s2 * float(x), rho, keys, 0.0)
            for i, x in enumerate(shares)
        ]
        table = np.array([(o.p2, o.p11, o.j, o.j11, o.tilt) for o in found])
        return HeadOverlaps(*map(float, weights @ table))
    gaussian = _over_cosines(s2, rho, keys, (1 - rho**2) / np.sqrt(head_width))
    if s2 < 1e-6:  # both are uniform to this order
        return gaussian
    p2, j = _single_row(float(np.sqrt(s2)), keys, head_width)
    spread = (p2 - 1 / keys) / (gaussian.p2 - 1 / keys)
    p11 = 1 / keys + (gaussian.p11 - 1 / keys) * spread
    sphere = 1 + max(rho, 0.0) * (j / gaussian.j - 1)
    return HeadOverlaps(p2, p11, j, gaussian.j11 * sphere, gaussian.tilt * sphere)


def _over_cosines(s2: float, rho: float, keys: int, deviation: float) -> HeadOverlaps:
    """Means over a row correlation of standard deviation ``deviation`` around rho."""
    nodes = [max(-1.0, min(float(rho + x), 1.0)) for x in ((-deviation, deviation) if deviation else (0.0,))]
    found = [saturating_overlaps(s2, r, keys) for r in nodes]
    p2, p11, j, j11 = np.mean([(o.p2, o.p11, o.j, o.j11) for o in found], axis=0).tolist()
    tilt = sum(r * o.j11 for r, o in zip(nodes, found, strict=True)) / len(nodes)
    return HeadOverlaps(p2, p11, j, j11, tilt)


@lru_cache(maxsize=256)
def query_norms(head_width: int) -> tuple[Array, Array]:
    """Gauss nodes and weights of chi-square / head_width (Golub and Welsch; no gamma function of the
    width, which would overflow)."""
    k = np.arange(HEAD_NODES, dtype=float)
    alpha = head_width / 2 - 1
    nodes, vectors = eigh_tridiagonal(2 * k + alpha + 1, np.sqrt(k[1:] * (k[1:] + alpha)))
    return np.asarray(nodes / (head_width / 2)), np.asarray(vectors[0] ** 2)
