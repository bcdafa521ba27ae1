r"""Overlaps of softmax attention rows with Gaussian logits, exact at any number of keys (T6.3 to T6.7).

The logits of one row of n weights are independent N(0, s^2); those of two rows A, B have correlation rho at
the same key and none at different keys. Attention needs

    P2  = E sum_j A_j^2                 P11 = E sum_j A_j B_j
    J   = E[P2 - 2 P3 + P2^2]           J11 = E[P11 - 2 P21 + P11^2],  P21 = sum_j A_j^2 B_j

J and J11 being the second moments of the softmax Jacobian, of one row and between two. As in :mod:`.rows`
each becomes an integral over ln t of products of one-key expectations; two rows share the common part of
their logits, so their joint expectations are matrix products of conditional ones (T6.6). What heads of finite
width and norms over heads change (T6.12, T6.14) is of leading order in 1/d_h.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.linalg import eigh_tridiagonal

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from .rows import LOG_STEP, WIDEST, gaussian_sum, log_grid, one_row

#: logit variance beyond which the softmax is a maximum but for near ties, and laws at large s take over
#: (T6.7); the quadrature's cost grows as s^3
LARGEST_S2 = 64.0

#: logit variance up to which the quadrature resolves the softmax
RESOLVED = 400.0

#: logit variance below which rows are even, and the excess of P2 over 1/n is lost in rounding
UNEVEN = 1e-6

#: how much longer steps of the sums over two rows are for each unit of s, up to s = 8, and those over log t
#: for each unit of the logits' standard deviation that is not shared, which smooths what is summed. Errors
#: stay below 1e-5 of J11 for thousands of keys, and grow fast with longer steps; the cost falls as their cube
STRONGER, APART = 0.02, 0.08

#: Gauss-Laguerre nodes for the length of a query; a fourth changes nothing at the order 1/d_h^2
HEAD_NODES = 3


class Overlaps(NamedTuple):
    """P2, P11, J and J11 of (T6.3), and E |M z|^2 of one row (:class:`.rows.Row`)."""

    p2: float
    p11: float
    j: float
    j11: float
    along_query: float


class HeadOverlaps(NamedTuple):
    """Overlaps in heads of finite width, forward and backward.

    Attributes:
        p2, p11, j11: P2, P11 and J11 of (T6.3).
        query, key: J of the gradient at a query, and at a key.
        tilt: E r J11(r) over the cosine r of two queries, of the gradient at a key.
        swing: E (r - rho) J11(r), the part of the tilt that varying r adds.
        mean: J of the token mean that norms leave of the gradient at keys, over 1 - rho; zero without norms.
    """

    p2: float
    p11: float
    query: float
    j11: float
    tilt: float
    swing: float
    key: float
    mean: float


@lru_cache(maxsize=65536)
def overlaps(s2: float, rho: float, keys: int) -> Overlaps:
    """Overlaps of rows of ``keys`` logits of variance ``s2``, of correlation ``rho`` between two rows.

    Raises:
        AssumptionError: s^2 is negative or beyond ``RESOLVED`` (the softmax's entropy is below any use by
            then).
    """
    if not 0 <= s2 <= RESOLVED or not -1 <= rho <= 1:
        raise AssumptionError(
            f"attention overlaps need a logit variance in [0, {RESOLVED:g}] and a row correlation in "
            f"[-1, 1], got {s2:.4g} and {rho:.4g}"
        )
    if s2 < 1e-12:
        u = 1 / keys
        return Overlaps(u, u, u - u**2, u - u**2, u - u**2)
    s, n = sqrt(s2), keys
    logits = LOG_STEP + STRONGER * sqrt(min(s2, LARGEST_S2))
    step = logits + APART * s * sqrt(1 - abs(rho))
    f0, f1, f2, weight = _conditional(s, rho, log_grid(s, n, step), logits)
    g0, g1, g2 = (f if rho >= 0 else f[:, ::-1] for f in (f0, f1, f2))  # opposite shared parts
    one, both = (f0 * weight) @ g0.T, (f1 * weight) @ g1.T
    others = step**2 * one ** (n - 2)
    p11 = n * float(np.vdot(both, one * others))
    # E of A_j^2 B_j (B_j - 2), summed over keys, and of A_j A_k B_j B_k
    same_key = n * float(np.vdot((f2 * weight) @ (g2 - 2 * g1).T, one * others))
    two_keys = n * (n - 1) * float(np.vdot(both**2, others))
    row = one_row(s, n)
    return Overlaps(row.p2, p11, row.j, p11 + same_key + two_keys, row.along_query)


def _conditional(s: float, rho: float, log_t: Array, step: float) -> tuple[Array, Array, Array, Array]:
    """F_k = E[y^k e^{-y}], y = t e^a, k = 0, 1, 2, of a logit a given the part of it that two rows share:
    (points of log t, points of that part) each; and the weights of the latter. ``step`` is that of logits."""
    own, shared = s * sqrt(1 - abs(rho)), s * sqrt(abs(rho))
    # where steps of the shared part make up a step of log t, many points have one sum
    between = log_t[1] - log_t[0]
    parts = ceil(between / min(WIDEST * shared, step)) if shared else 1
    points, weight = gaussian_sum(shared, between / parts)
    width = len(points)
    if parts < width:
        tau = log_t[0] + points[0] + between / parts * np.arange((len(log_t) - 1) * parts + width)
    else:
        points, weight = gaussian_sum(shared, step)
        tau = np.add.outer(log_t, points)
    a, density = gaussian_sum(own, step)
    y = np.exp(np.minimum(np.add.outer(tau, a), 50))  # e^{-y} is zero long before
    part, found = np.exp(-y), []
    for _ in range(3):
        values = part @ density
        found.append(sliding_window_view(values, width)[::parts] if parts < width else values)
        part *= y
    return found[0], found[1], found[2], weight


def saturating_overlaps(s2: float, rho: float, keys: int) -> Overlaps:
    """Overlaps at any logit variance, beyond ``LARGEST_S2`` by their laws at large s (T6.7): 1 - P2 and J
    fall as 1/s, J11 as 1/s^2, E |M z|^2 as 1/s^3, and P11 tends to a constant. Each law's two leading
    constants come from s = 6 and s = 8.
    """
    if s2 <= LARGEST_S2:
        return overlaps(max(s2, 0.0), rho, keys)
    near, far = overlaps(36.0, rho, keys), overlaps(LARGEST_S2, rho, keys)
    return Overlaps(*saturated(np.sqrt(s2), np.array(near), np.array(far)).tolist())


def saturated(s: Any, six: Array, eight: Array) -> Array:
    """The laws of :func:`saturating_overlaps` beyond s = 8, from overlaps at s = 6 and 8; (5, ...) each."""

    def law(at_six: Array, at_eight: Array, power: int) -> Array:
        slope = (at_six - at_eight) / (6.0**-power - 8.0**-power)
        return np.asarray(at_eight + slope * (s**-power - 8.0**-power))

    return np.array(
        [
            1 - law((1 - six[0]) * 6, (1 - eight[0]) * 8, 2) / s,
            law(six[1], eight[1], 2),
            law(six[2] * 6, eight[2] * 8, 1) / s,
            law(six[3] * 36, eight[3] * 64, 2) / s**2,
            law(six[4] * 216, eight[4] * 512, 1) / s**3,
        ]
    )


@lru_cache(maxsize=65536)
def head_overlaps(s2: float, rho: float, keys: int, head_width: int) -> HeadOverlaps:
    """Overlaps in heads of d_h = ``head_width`` coordinates whose queries and keys are Gaussian (T6.12).

    The variance of one row's logits is s^2 |q|^2 / E|q|^2: overlaps are averaged over that chi-square, those
    of keys times what these read, |q|^2. Exact for one row; two rows are given a common |q|, as at rho = 1.
    Their correlation r, the cosine of two queries, has the variance (1 - rho^2)^2 / d_h around rho. Of the
    keys' coordinates that the gradient at a query reads, weights follow one in d_h.
    """
    middle = saturating_overlaps(s2, rho, keys)
    turned, tilt = _over_cosines(s2, rho, keys, (1 - rho**2) / np.sqrt(head_width))
    bend, swing = turned.j11 - middle.j11, tilt - rho * turned.j11
    found = np.array([0, turned.p11 - middle.p11, 0, bend, swing + rho * bend, swing, 0, 0])
    for share, weight in zip(*query_norms(head_width), strict=True):
        at = saturating_overlaps(s2 * float(share), rho, keys)
        query = at.j + (at.along_query - at.j) / head_width
        found += weight * np.array([at.p2, at.p11, query, at.j11, share * rho * at.j11, 0, share * at.j, 0])
    return HeadOverlaps(*found.tolist())


@lru_cache(maxsize=65536)
def sphere_overlaps(s2: float, rho: float, keys: int, sphere: int) -> HeadOverlaps:
    """Overlaps in heads with norms on queries and keys, on a sphere of m = ``sphere`` dimensions (T6.14).

    Logits are coordinates of points on the sphere: exact for one row. P11 and J11 of two move between their
    values at rho = 0, which depend on the mean alone, and at rho = 1, where the rows are one. The norm takes
    the gradient along each token, beyond the share 1/m of a random direction that its kernel has, and leaves
    of J the part

        k = 1 - (1 - rho) (x - 1) / (m - 1),     x = E sum_j z_j^2 (M^2)_jj / J,

    at keys and, as many of the keys' coordinates being perpendicular to a query, at queries. Rows of like
    gradients add up to rho J11 [1 - s^2 (1 - rho) (1 + rho)^2 / (m - 1)] (from J11 ~ e^{s^2 r}) and 2/n of
    the swing, which lie along the other keys; the token mean of the gradient at keys has m (1 - rho) (1 - k)
    / (m - 2 + rho) of J. Leading order in 1/m.
    """
    gaussian, tilt = _over_cosines(s2, rho, keys, (1 - rho**2) / np.sqrt(sphere))
    row = one_row(float(np.sqrt(s2)), keys, sphere)
    spread = (row.p2 - 1 / keys) / (gaussian.p2 - 1 / keys) if s2 > UNEVEN else 1.0
    j11 = gaussian.j11 * (1 + rho * (row.j / gaussian.j - 1))
    kept = 1 - (1 - rho) * (row.along_key / row.j - 1) / (sphere - 1)
    common = rho * (1 - s2 * (1 - rho) * (1 + rho) ** 2 / (sphere - 1))
    mean = sphere * (1 - kept) / (sphere - 2 + max(rho, -0.5))  # finite for opposite tokens on a sphere of 3
    p11 = 1 / keys + (gaussian.p11 - 1 / keys) * spread
    swing = tilt - rho * gaussian.j11
    across = j11 * common + 2 / keys * swing
    return HeadOverlaps(row.p2, p11, row.j * kept, j11, across, swing * kept, row.j * kept, row.j * mean)


def _over_cosines(s2: float, rho: float, keys: int, deviation: float) -> tuple[Overlaps, float]:
    """Means of the overlaps and of r J11(r) over a row correlation r, ``deviation`` around rho."""
    nodes = [max(-1.0, min(float(rho + x), 1.0)) for x in (-deviation, deviation)]
    found = [saturating_overlaps(s2, r, keys) for r in nodes]
    tilt = sum(r * o.j11 for r, o in zip(nodes, found, strict=True)) / len(nodes)
    return Overlaps(*np.mean(found, axis=0).tolist()), tilt


@lru_cache(maxsize=256)
def query_norms(head_width: int) -> tuple[Array, Array]:
    """Gauss nodes and weights of |q|^2 / E|q|^2, a chi-square over ``head_width`` (Golub and Welsch; gamma
    functions of the width would overflow)."""
    k = np.arange(HEAD_NODES, dtype=float)
    alpha = head_width / 2 - 1
    nodes, vectors = eigh_tridiagonal(2 * k + alpha + 1, np.sqrt(k[1:] * (k[1:] + alpha)))
    return np.asarray(nodes / (head_width / 2)), np.asarray(vectors[0] ** 2)
