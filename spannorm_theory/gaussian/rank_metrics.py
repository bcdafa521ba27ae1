r"""Rank metrics of a token representation X, (tokens, d), from its moments and the width (T9.6 to T9.9).

For second moment q and drop delta the eigenvalues of X X^T / d, in units of delta, are those of a
Marchenko-Pastur law of aspect y = (n-1)/d with one spike 1 + theta of the token mean, theta = n p / delta. On
lambda = |1 + sqrt(y) e^{i phi}|^2 three measures make up sum_i f(lambda_i):

    bulk     (n-1) (2/pi) sin(phi)^2 / lambda dphi
    edges    [f(lambda_-) + f(lambda_+)]/4 - int f dphi / 2pi, the 1/n term of real entries
    spike    (1/pi) Re[u/(u - theta) - u/(1 + u)] dphi, u = sqrt(y) e^{i phi}, and, for |theta| > sqrt(y),
             a point at lambda_s = (1 + theta)(1 + y/theta)

The largest eigenvalue is lambda_s, or the edge of all n rows with its Tracy-Widom mean where that is larger.
Left out: O(1/n) of the sum for Gaussian tokens; where V > 1/d the bulk is that of :mod:`.marchenko_pastur`,
leading order in V. Sources: Marchenko and Pastur, 1967; Bai and Silverstein, 2004, Ann. Probab. 32, eq. 5.13;
Baik, Ben Arous and Peche, 2005.
"""

from __future__ import annotations

from functools import lru_cache
from math import frexp

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import entr

from .closed_forms import Array
from .marchenko_pastur import difference_law

#: nodes of the quadrature over phi, and of the spline over the root of y2: half as many change the effective
#: rank by 3e-6
NODES, SPREADS = 48, 25

#: mean of the Tracy-Widom law of real matrices (Bornemann, 2010, arXiv:0904.1581)
TRACY_WIDOM_MEAN = -1.2065335745820


def rank_metrics(q: Array, delta: Array, spread: Array, tokens: int, width: int) -> dict[str, Array]:
    """Rank metrics of exchangeable tokens by name, of the residual its logarithm.

    Args:
        q, delta: second moment of the tokens and its drop, per coordinate.
        spread: V of (T9.1), 1/d for Gaussian tokens; of the shape of q, as are the metrics.
    """
    return {
        "rank_residual": log_rank_residual(q, delta, tokens),
        "stable_rank": stable_rank(q, delta, tokens, spread),
        "effective_rank": effective_rank(q, delta, tokens, width, spread),
        "participation_ratio": participation_ratio(q, delta, tokens, width, spread),
    }


def rank_metrics_gram(grams: Array, drops: Array, factor: Array) -> dict[str, Array]:
    """Rank metrics of tokens that are not alike by name, (layers,), means over samples of the coordinates.

    Args:
        grams: (layers, tokens, tokens), per coordinate.
        drops: (layers,), one minus the token cosine.
        factor: T of shape (samples, layers, tokens, tokens) with T T^T a draw of Z Z^T / d, Z standard normal
            (tokens, d): G^(1/2) Z Z^T G^(1/2) / d, the Gram of d Gaussian coordinates, has the spectrum of
            T^T G T. Where covariances vary over pairs by more than 1/d, T is a product of two such (T9.7).
    """
    eigenvalues = np.maximum(np.linalg.eigvalsh(factor.swapaxes(-1, -2) @ grams @ factor), 0)
    total = eigenvalues.sum(axis=-1, keepdims=True)
    share = eigenvalues / np.where(total > 0, total, np.nan)  # a stream that is zero has no spectrum
    p = np.sqrt(share) / np.sqrt(share).sum(axis=-1, keepdims=True)
    return {
        "rank_residual": log_rank_residual(np.ones_like(drops), drops, grams.shape[-1]),
        "stable_rank": (1 / share[..., -1]).mean(axis=0),
        "effective_rank": np.exp(entr(p).sum(axis=-1)).mean(axis=0),
        "participation_ratio": (1 / np.square(share).sum(axis=-1)).mean(axis=0),
    }


def log_rank_residual(q: Array, delta: Array, tokens: int) -> Array:
    """ln of |X - 1 xbar^T|_F / |X|_F = sqrt((1 - 1/n) delta / q), an identity at any width; -inf for equal
    tokens, whose delta may be below zero by rounding."""
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.log((1 - 1 / tokens) * np.maximum(delta, 0) / q))


def participation_ratio(q: Array, delta: Array, tokens: int, width: int, spread: Array) -> Array:
    """(tr G)^2 / tr G^2 = n / (1 + (n-1) E cos^2) of the sample Gram G; ``spread`` is V.

    E cos^2 = rho^2 + (1 - rho^2)^2 / d + (1 - rho)^2 (V - 1/d): the second moment of a sample correlation,
    and what covariances vary by beyond it (T9.8).
    """
    rho = 1 - delta / q
    square = rho**2 + (1 - rho**2) ** 2 / width + (1 - rho) ** 2 * (spread - 1 / width)
    return np.asarray(tokens / (1 + (tokens - 1) * square))


def stable_rank(q: Array, delta: Array, tokens: int, spread: Array) -> Array:
    """|X|_F^2 / |X|_2^2 = n q / lambda_1; ``spread`` is V, in the place of 1/d."""
    theta, y = _spike(q, delta, tokens), (tokens - 1) * spread
    edge, scale = largest_eigenvalue(tokens, spread)
    outside = np.maximum(theta, np.sqrt(y))
    spike = np.where(theta > np.sqrt(y), (1 + outside) * (1 + y / outside), 0.0)
    largest = np.maximum(spike, edge + TRACY_WIDOM_MEAN * scale) / (1 + theta / tokens)  # over q
    return np.asarray(tokens / largest)


def largest_eigenvalue(tokens: int, spread: Array) -> tuple[Array, Array]:
    """Centre and scale of the largest eigenvalue of uncorrelated tokens (Johnstone, 2001, Ann. Statist.
    29), over d times their variance (T9.9); ``spread`` is V, in the place of 1/d."""
    other, own = np.sqrt(np.maximum(1 / spread - 1, 1)), np.sqrt(tokens)
    scale = (other + own) * (1 / other + 1 / own) ** (1 / 3)
    return np.asarray((other + own) ** 2 * spread), np.asarray(scale * spread)


def _spike(q: Array, delta: Array, tokens: int) -> Array:
    """theta = n p / delta, kept finite where delta underflows."""
    return np.asarray(tokens * (q - delta) / np.maximum(delta, np.finfo(float).tiny * q * tokens))


def effective_rank(q: Array, delta: Array, tokens: int, width: int, spread: Array) -> Array:
    """exp of the Shannon entropy of the normalised singular values of X (Roy and Vetterli, 2007).

    ``spread`` is V. At V = 1/d by the three measures above; beyond, their bulk gives way to that of
    :mod:`.marchenko_pastur`.
    """
    sampled = (tokens - 1) / width
    sums = _entropy_sums(tokens, _spike(q, delta, tokens), sampled)
    more = _more_spread(sampled, (tokens - 1) * np.maximum(spread - 1 / width, 0.0))
    total, logs = sums + (tokens - 1) * more
    return np.asarray(np.exp(np.log(total) - logs / total))


def _more_spread(first: float, second: Array) -> Array:
    """Increase of the means of s and s ln s over the bulk, s^2 an eigenvalue, between y2 = 0 and y2 =
    ``second`` at y1 = ``first``; shape (2, ...)."""
    largest = float(np.max(second, initial=0.0))
    if not 0 < largest < np.inf:
        return np.zeros((2, *np.shape(second)))
    return np.moveaxis(_spread_table(first, frexp(largest)[1])(np.sqrt(second)), -1, 0)


@lru_cache(maxsize=64)
def _spread_table(first: float, exponent: int) -> CubicSpline:
    """Spline through the increases of :func:`_more_spread` in the root of y2, up to y2 = 2^exponent."""
    roots = np.linspace(0, 2.0 ** (exponent / 2), SPREADS)
    eigenvalues, weight = difference_law(np.full(SPREADS, first), roots**2, NODES)
    s = np.sqrt(eigenvalues)
    means = np.array([(weight * s).sum(axis=0), -(weight * entr(s)).sum(axis=0)]).T
    return CubicSpline(roots, means - means[0])


def _entropy_sums(tokens: int, theta: Array, y: float) -> Array:
    """Sums of s and of s ln s over all eigenvalues s^2 at a bulk of aspect y, (2, ...).

    With ratio r of the smaller to the larger of |theta| and sqrt(y), signed, the three measures at a node are

        w = 2 (n-1) sin(phi)^2 / lambda + (1 - y) / (2 lambda) - 1/2 -+ (1 - r^2) / (2 |1 - r e^{i phi}|^2)

    over the nodes, - for a spike outside the bulk.
    """
    root = np.sqrt(y)
    outside = np.abs(theta) > root
    apart = np.where(outside, theta, root)
    ratio = np.where(outside, root / apart, np.clip(theta, -root, root) / root)
    cosine = np.cos((np.arange(NODES) + 0.5) * np.pi / NODES)
    eigenvalues = 1 + y + 2 * root * cosine
    values = np.sqrt(eigenvalues) / NODES * np.array([np.ones(NODES), np.log(eigenvalues) / 2])
    bulk = (2 * (tokens - 1) * (1 - cosine**2) + (1 - y) / 2) / eigenvalues - 0.5
    # nodes first: one node's numbers of all layers lie together
    poles = np.multiply.outer(-2 * cosine, ratio.ravel())
    poles += 1 + ratio.ravel() ** 2
    spikes = values @ np.reciprocal(poles, out=poles)
    sums = (values @ bulk)[:, None] + np.where(outside, 0.5, -0.5).ravel() * (ratio.ravel() ** 2 - 1) * spikes
    # next to its pole the quadrature of the last term misses mass, which lies at that edge
    missed = ratio ** (2 * NODES)
    missed = np.where(outside, -missed, missed) / (1 + missed)
    low, high = 0.25 + np.where(theta < 0, missed, 0.0), 0.25 + np.where(theta < 0, 0.0, missed)
    spike = np.sqrt(np.maximum((1 + apart) * (1 + y / apart), 0))
    total, logs = sums.reshape(2, *np.shape(theta))
    for weight, s in ((low, np.abs(1 - root)), (high, 1 + root), (outside, spike)):
        total = total + weight * s
        logs = logs - weight * entr(s)
    return np.array([total, logs])
