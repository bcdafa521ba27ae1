r"""Singular values of a token representation X, from its moments and the width (T9.6, T9.7).

Where tokens are exchangeable, the eigenvalues of X X^T / d follow the laws of
:mod:`spannorm_theory.gaussian.rank_metrics` and :mod:`spannorm_theory.gaussian.marchenko_pastur`: n - 1 of
them around the drop delta, and one of the token mean outside of these, at (1 + theta)(1 + y/theta) delta with
y = (n-1) V, where theta = n p / delta > sqrt(y); below that, all n are one law. The i-th of m eigenvalues is
the law's quantile at (i - 1/2) / m. Where they are not, X is Gaussian with the token Gram of the
position-resolved theory, and its singular values are averaged over draws of d columns; left out is that
covariances vary beyond 1/d, which widens the bulk further.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.marchenko_pastur import difference_law
from ..spec.architecture import Architecture
from .exchangeable import predict_pair
from .sampled import resolve

#: nodes of the cumulative law over the angle phi, whose spacing limits the digits of quantiles, and draws of
#: X for a token Gram, whose sampling error falls as their root
NODES, DRAWS = 4096, 32


def singular_values(arch: Architecture, layers: Sequence[int]) -> dict[str, Array]:
    """Expected s_i / |X|_F, falling, by stream, (layers, tokens); NaN where rank metrics are declined, and
    under a mask for Zipf inputs, whose Grams are means over ids."""
    if not arch.exchangeable:
        return _from_grams(arch, layers)
    profiles = predict_pair(arch).profiles
    found = {}
    for stream in map(str, range(arch.definition.streams)):
        rho = profiles[stream, "token_cosine"]
        ratio = profiles[stream, "participation_ratio"]
        spread = cosine_spread(rho, ratio, arch)
        found[stream] = np.array([_of_moments(rho[l], spread[l], arch) for l in layers])
    return found


def cosine_spread(rho: Array, participation: Array, arch: Architecture) -> Array:
    """V, (layers,), from the participation ratio: the inverse of
    :func:`spannorm_theory.gaussian.rank_metrics.participation_ratio`."""
    square = (arch.tokens / participation - 1) / (arch.tokens - 1)
    beyond = square - rho**2 - (1 - rho**2) ** 2 / arch.width
    apart = (1 - rho) ** 2
    more = np.divide(beyond, apart, out=np.full_like(beyond, np.nan), where=apart > 0)
    return np.asarray(1 / arch.width + more)


def quantiles(count: int, first: float, second: float = 0.0) -> Array:
    """Quantiles in falling order, (count,), of the law of mean 1 and aspects y1 = ``first`` and y2 =
    ``second`` (:mod:`spannorm_theory.gaussian.marchenko_pastur`)."""
    eigenvalues, weight = difference_law(np.array(first), np.array(second), NODES)
    levels = (np.arange(count) + 0.5) / count
    full = max(first, second) <= 1  # else a share of them is zero
    return np.asarray(np.interp(levels, np.cumsum(weight), eigenvalues, right=None if full else 0.0))


def _of_moments(rho: float, spread: float, arch: Architecture) -> Array:
    tokens = arch.tokens
    if not spread > 0:  # not predicted, or lost in rounding where tokens are one
        return np.full(tokens, np.nan)
    drop = max(1 - rho, np.finfo(float).tiny * tokens)
    theta, aspect = tokens * rho / drop, (tokens - 1) * spread
    parts = np.array([min(spread, 1 / arch.width), max(spread - 1 / arch.width, 0.0)])
    if theta > np.sqrt(aspect):
        bulk = quantiles(tokens - 1, *(tokens - 1) * parts)
        eigenvalues = np.concatenate([[(1 + theta) * (1 + aspect / theta)], bulk])
    else:
        eigenvalues = quantiles(tokens, *tokens * parts)
    return np.asarray(np.sqrt(eigenvalues / eigenvalues.sum()))


def _from_grams(arch: Architecture, layers: Sequence[int]) -> dict[str, Array]:
    resolved = resolve(arch, layers=layers)
    columns = np.random.default_rng(0).standard_normal((DRAWS, arch.tokens, arch.width))
    found = {}
    for stream in map(str, range(arch.definition.streams)):
        rows = []
        for layer in layers:
            kept = np.isfinite(resolved.profiles[stream, "participation_ratio"][layer])
            if arch.reads_ids or not kept:
                rows.append(np.full(arch.tokens, np.nan))
                continue
            size, rotation = np.linalg.eigh(resolved.grams[stream, "variance"][layer])
            root = rotation * np.sqrt(np.maximum(size, 0)) @ rotation.T
            values = np.linalg.svd(root @ columns, compute_uv=False)
            mean = (values / np.linalg.norm(values, axis=1, keepdims=True)).mean(axis=0)
            rows.append(np.pad(mean, (0, arch.tokens - len(mean))))  # fewer coordinates than tokens
        found[stream] = np.array(rows)
    return found
