r"""Overlaps of top-k gates whose router logits are Gaussian, at one logit variance v (T7.1, T7.3 to T7.5).

A router gives each token as many independent logits as there are experts; at one expert the logits of two
tokens have correlation rho. With the gates g, g', weights w, w' and slopes r, r' of two tokens
(:mod:`.gates`), and S = sum_e g_e g'_e,

    A    E sum_e g_e^2                  O    E S                         (rho = 1: O = A)
    R    E[sum_e g_e g'_e r_e r'_e (1 - g_e - g'_e) + S sum_j w_j w'_j r_j r'_j], the inner product of the
         gates' Jacobians
    C    mean share of the k experts that two tokens have in common
    U_S  variance of S over pairs of tokens of one router, around what either token explains,
         E (S_12 - S_13 - S_42 + S_43)^2 / 4 of four tokens

Near rho = 1 the gap A - O is t h(t), t = sqrt((1 - rho)/2), with a smooth h of known h(0) (T7.3).

Method. Points of a circle z(a) = w_1 cos a + w_2 sin a, w_1 and w_2 standard Gaussian vectors, have
correlation cos(a - b): M equidistant points of one circle give M samples of a token and M samples of a pair
for each of M/2 correlations, and every change of places on the way round is met. Multiples of the roots of
primes, modulo one and shifted at random (Richtmyer, 1951), take the place of random w. Gaps are
(A + A')/2 - O of the same samples; h(0) is computed apart, or with groups sampled. U_S comes from four tokens
at a time, at correlations from 0 to 1; it is taken as constant below 0. ``errors`` are standard errors over
independent shifts.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import gammaln, log_ndtr, logsumexp, ndtr, ndtri
from sympy import prime
from threadpoolctl import threadpool_limits

from ..base.tables import made_once
from ..gaussian.closed_forms import Array
from .gates import Gates

#: points on a circle; half as many correlations are sampled, between which splines in t are drawn
POINTS = 64

#: t of pairs of points, 0 to half a circle apart
KNOTS = np.sin(np.pi * np.arange(POINTS // 2 + 1) / POINTS)

#: the largest t of two uncorrelated tokens, and its knot
UNCORRELATED = 0.5**0.5
MIDDLE = POINTS // 4

#: independent shifts, and numbers in one array of logits of a shift: errors fall as the root of their product
SHIFTS, SIZE = 8, 1 << 17

#: points of a shift, at least, for what one token alone decides: A, of which all others are shares
SINGLE = 1 << 13

#: t of the nearest tokens that are sampled where h(0) is not known, and such pairs on a circle
NEAR, NEIGHBOURS = 0.005, 16

#: logit variances beyond which gates are equal, or one-hot but for near ties whose share falls as 1/sqrt(v)
SMALLEST_V, LARGEST_V = 1e-6, 1e4


def even_points(count: int, dimensions: int, random: np.random.Generator) -> Array:
    """Points that fill the unit cube more evenly than random ones do, (count, dimensions)."""
    points = np.outer(np.arange(count), _roots(dimensions)) + random.random(dimensions)
    return np.asarray(np.clip(points % 1, 1e-15, 1 - 1e-15))


@lru_cache(maxsize=64)
def _roots(count: int) -> Array:
    """Square roots of the first primes."""
    return np.sqrt([float(prime(i + 1)) for i in range(count)])


class GateStatistics:
    """Overlaps of gates at one logit variance, sampled.

    Attributes:
        own, alone: A, and R of one token.
        values: h = (A - O)/t, R, C and U_S/t, which are smooth in t, at ``KNOTS``; (knots, 4).
        uneven: variance over tokens of a = sum_e g_e^2, over A^2.
        size_share: E sum_j (da/dz_j)^2 / (4a) over R of one token: the share of the router's gradient that
            moves the size of the branch's output.
        errors: standard errors of "own", and the largest over t of those of "gap" (relative), "router"
            (relative to R of one token) and "common".
    """

    def __init__(self, gates: Gates, logit_variance: float) -> None:
        self.gates, self.experts, self.top_k = gates, gates.experts, gates.top_k
        least = 1e-30
        sizes = np.array([self._sizes(logit_variance, seed) for seed in range(SHIFTS)])
        own, square, moved, alone = sizes.mean(axis=0).tolist()
        self.own, self.alone = own, alone
        self.uneven = square / own**2 - 1
        self.size_share = moved / alone if alone > least else 0.0
        found = [self._sample(logit_variance, seed, own, alone) for seed in range(SHIFTS)]
        tables = np.array(found)
        gap, router, common = tables.mean(axis=0)
        error = tables.std(axis=0, ddof=1) / np.sqrt(SHIFTS)
        slope = np.concatenate([[self._slope_at_one(logit_variance)], gap[1:] / KNOTS[1:]])
        scatter = self._scatter(logit_variance)
        self.values = np.stack([slope, router, common, scatter], axis=1)
        self.errors = {
            "own": float(sizes[:, 0].std(ddof=1) / np.sqrt(SHIFTS)),
            "gap": float((error[0] / np.maximum(gap, least)).max()),
            "router": float(error[1].max() / max(router[0], least)),
            "common": float(error[2].max()),
        }

    def _sample(self, logit_variance: float, seed: int, own: float, alone: float) -> Array:
        """The gap, R and C at each angle; shape (3, POINTS/2 + 1). The first two are scaled to ``own`` and
        ``alone``, by which A and R of one token are better known than from these circles."""
        experts, k = self.experts, self.top_k
        circles = max(64, 1 << int(np.log2(SIZE / (POINTS * experts))))
        random = np.random.default_rng((seed, experts, k))
        w = ndtri(even_points(circles, 2 * experts, random)).reshape(circles, 2, experts)
        angle = 2 * np.pi * np.arange(POINTS) / POINTS
        basis = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        z = np.sqrt(logit_variance) * (basis @ w)
        g, weights, chosen, slopes = self.gates(z)

        def mean(a: Array, b: Array) -> Array:
            """Mean over circles of sum_e a_e b_e between any two points."""
            left, right = (np.moveaxis(x, 1, 0).reshape(POINTS, -1) for x in (a, b))
            return np.asarray(left @ right.T / circles)

        s = mean(g, g)
        sizes = s.diagonal()
        gap = ((sizes[:, None] + sizes[None, :]) / 2 - s) * (own / sizes.mean())
        moved, others = g * slopes, weights * slopes
        square = mean(g * moved, moved)
        router = mean(moved, moved) + np.mean((g @ g.mT) * (others @ others.mT), axis=0) - square - square.T
        common = mean(chosen, chosen) / k
        if alone > 0:
            router *= alone / np.mean(router.diagonal())
        rows = np.arange(POINTS)
        found = []
        for table in (gap, router, common):
            around = [table[rows, (rows + lag) % POINTS].mean() for lag in range(POINTS // 2 + 1)]
            found.append(around)
        return np.array(found)

    def _sizes(self, logit_variance: float, seed: int) -> Array:
        """Means over tokens of a = sum_e g_e^2, of a^2, of sum_j (da/dz_j)^2 / (4a), and R of one token."""
        random = np.random.default_rng((seed, self.experts, self.top_k))
        count = max(SINGLE, SIZE // self.experts)
        z = np.sqrt(logit_variance) * ndtri(even_points(count, self.experts, random))
        g, w, _, r = self.gates(z)
        a = (g**2).sum(axis=-1, keepdims=True)
        moved = ((g**2 - a * w) ** 2 / a * r**2).sum(axis=-1)  # da/dz_j = 2 (g_j^2 - a w_j) r_j
        own = (g**2 * r**2 * (1 - 2 * g)).sum(axis=-1)
        alone = own + a[:, 0] * (w**2 * r**2).sum(axis=-1)
        return np.array([a.mean(), np.mean(a**2), moved.mean(), max(alone.mean(), 0.0)])

    def _slope_at_one(self, logit_variance: float) -> float:
        """h(0), by quadrature over the value x of the tied logits and samples of the others."""
        experts, k = self.experts, self.top_k
        if k == experts:
            return 0.0
        if self.gates.groups > 1:
            return self._slope_near_one(logit_variance)
        x = np.linspace(-8.5, 8.5, 171)
        above, below = log_ndtr(-x), log_ndtr(x)
        front = gammaln(experts + 1) - gammaln(k) - gammaln(experts - k)
        density = np.exp(-(x**2) - np.log(2 * np.pi) + (experts - k - 1) * below + (k - 1) * above + front)
        density *= x[1] - x[0]
        among_chosen, score = self.gates.among_chosen, self.gates.log_score
        dimensions = k - 1 + (0 if among_chosen else experts - k - 1)
        gate = np.ones_like(x)
        if dimensions:
            u = even_points(256, dimensions, np.random.default_rng((experts, k)))
            # P(z > x) = 1 - Phi(x) = Phi(-x): higher logits are minus lower ones of -x
            higher = -ndtri(u[None, :, : k - 1] * ndtr(-x)[:, None, None])
            lower = ndtri(u[None, :, k - 1 :] * ndtr(x)[:, None, None])
            root = np.sqrt(logit_variance)
            tied = np.zeros((len(x), 256, 1 if among_chosen else 2))
            others = score(root * np.concatenate([higher, lower], axis=2))
            apart = others - score(root * x)[:, None, None]
            gate = np.exp(-2 * logsumexp(np.concatenate([tied, apart], axis=2), axis=2)).mean(axis=1)
        elif not among_chosen:
            gate = np.full_like(x, 0.25)
        return float(2 / np.sqrt(np.pi) * (density @ gate))

    def _slope_near_one(self, logit_variance: float) -> float:
        """h(0), on the line through h at ``NEAR`` and at twice that, from neighbours on circles: two groups
        that change places take many experts with them."""
        angle = 2 * np.arcsin(NEAR) * np.arange(NEIGHBOURS + 1)
        basis = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        shape = 16 * SIZE // (NEIGHBOURS * self.experts), 2, self.experts
        found = []
        for seed in range(SHIFTS):
            w = np.random.default_rng((seed, self.experts, self.top_k)).standard_normal(shape)
            g = self.gates(np.sqrt(logit_variance) * (basis @ w)).gates
            near, far = (np.square(g[:, lag:] - g[:, :-lag]).sum(axis=-1).mean() for lag in (1, 2))
            found.append((2 * near - far / 2) / (2 * NEAR))
        return float(max(np.mean(found), 0.0))

    def _scatter(self, logit_variance: float) -> Array:
        """U_S/t at each knot: swaps of experts make U_S proportional to t near rho = 1."""
        t = np.linspace(0, UNCORRELATED, 13)[1:]
        samples = max(256, SIZE // (16 * self.experts))
        normal = np.random.default_rng((self.experts, self.top_k)).standard_normal((5, samples, self.experts))
        found = []
        for x in t:
            drop = 2 * x**2
            z = np.sqrt(max(1 - drop, 0.0)) * normal[0] + np.sqrt(min(drop, 1.0)) * normal[1:]
            g = self.gates(np.sqrt(logit_variance) * z).gates
            rest = ((g[0] - g[3]) * (g[1] - g[2])).sum(axis=-1)  # S_12 - S_13 - S_42 + S_43
            found.append(np.mean(rest**2) / (4 * x))
        curve = CubicSpline(np.append(0.0, t), [found[0], *found])
        return np.asarray(
            curve(np.minimum(KNOTS, UNCORRELATED)) * UNCORRELATED / np.maximum(KNOTS, UNCORRELATED)
        )


def gate_statistics(gates: Gates, logit_variance: float) -> GateStatistics:
    """The :class:`GateStatistics` of a logit variance between ``SMALLEST_V`` and ``LARGEST_V``, made once;
    beyond these, of the nearer one."""
    return _statistics(gates, min(max(logit_variance, SMALLEST_V), LARGEST_V))


@made_once(maxsize=256)
def _statistics(gates: Gates, logit_variance: float) -> GateStatistics:
    with threadpool_limits(1, "blas"):  # small products: threads would only wait for each other
        return GateStatistics(gates, logit_variance)
