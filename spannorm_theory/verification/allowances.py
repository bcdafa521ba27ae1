r"""How far a finite network may sit from the wide limit: leading 1/d terms, stated and not tuned.

A residual add x + f with fresh Gaussian f of share g in the sum's second moment changes the logarithm
of a token's squared norm by a fluctuation of variance 2 g (2 - g) / d: the sampling of 2 x.f + f.f over
d coordinates. A block whose skip keeps the cosine c has two such adds, 1 - g = c each, together

    v_l = 4 (1 - c_l^2) / d.

Heads that share keys and values leave kv_heads d_h coordinates to what all tokens have in common: the
size of an attention output of share g = 1 - c then fluctuates by g^2 2 (1 / (kv_heads d_h) - 1/d) more.
Fluctuations accumulate as independent increments: up to layer l forward, V_l = sum_{k<l} v_k, and from
layer l up backward, W_l = sum_{k>=l} v_k (Hanin and Nica, arXiv:1812.05994, for the same mechanism in
plain networks). A mean of a log-normal variable differs from its median by half the variance, so the mean of
a nonlinear function of it is off by that order: the allowances below are these variances, plus 2/d
for the norms' own projections and the sampling of the input.

Rank metrics are functions of rho: what rho may be off by moves them, and where they are curved its
fluctuation shifts their mean. The mean mode's share fluctuates with the streams, by
rho (1 - rho) sqrt(V_l + 2/d). The largest eigenvalue of nearly uncorrelated tokens fluctuates by the
Tracy-Widom scale, where the transition to a spike is not resolved. The spectra of the position-resolved
theory leave out that covariances spread over pairs of tokens
(:mod:`spannorm_theory.prediction.pair_variance`), by at most V_l / 4 beyond 1/d; the pair theory knows the
second moment of that spread and not the shape, which repeated token ids make another one than a sample's.

Experts leave two terms at any width. A token with large gates has a longer branch output, which norms behind
it divide its gradient by: weight gradients of experts, sums of a gradient times gates, are less by up to
the branch's share times the relative variance of sum g^2. And these norms remove the part of the gradient
along the stream, which holds the experts' outputs: the router's gradient is less by up to that share, in as
far as it moves the size of the output.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..base.quantities import SPECTRAL, Key
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import largest_eigenvalue, rank_metrics
from ..layers.experts import MixtureOfExperts
from ..moments.branches import QUADRATIC_IN_DROP, feedforward_moments
from ..spec.architecture import Architecture


def block_variances(arch: Architecture, profiles: Mapping[Key, Array]) -> Array:
    """v_l of each block, the largest over streams; shape (depth,)."""
    cosines = np.array([profiles[str(s), "layer_cosine"] for s in range(arch.definition.streams)])
    cosine = np.clip(np.nan_to_num(cosines, nan=1.0), -1, 1).min(axis=0)  # a stream that is zero has none
    values = arch.weights["attn.value"][1]
    shared = 2 * (1 - cosine) ** 2 * (1 / values - 1 / arch.width)
    return np.asarray(4 * (1 - cosine**2) / arch.width + shared)


def fluctuations(arch: Architecture, profiles: Mapping[Key, Array]) -> dict[Key, Array]:
    """Standard deviation over networks of the logarithm of a stream's second moment (sqrt V_l) and of its
    gradient's (sqrt(V_L + W_l)), beside the sampling of the input, sqrt(2 / d)."""
    v = block_variances(arch, profiles)
    below = np.concatenate([[0.0], np.cumsum(v)])
    above = np.concatenate([np.cumsum(v[::-1])[::-1], [0.0]])
    floor = 2 / arch.width
    return {
        key: np.sqrt(floor + (below if key[1] == "variance" else below[-1] + above))[: len(profile)]
        for key, profile in profiles.items()
        if key[1] in ("variance", "grad_variance")
    }


def allowances(arch: Architecture, profiles: Mapping[Key, Array]) -> dict[Key, Array]:
    """Absolute difference to allow between a finite network's mean and the wide limit.

    For logarithmic quantities it is on the logarithm (a relative difference). Query and key gradients
    have their spread over pairs and networks in the theory, and are allowed what other weights are. But the
    pair theory holds the cosine of two queries fixed, which over a head's d_h coordinates varies by 1/d_h:
    rows of like queries read like keys, whose gradients then add up, (n - 1) r (1 - rho) / d_h of the
    squared norm at most (s^2 e^{-s^2} of that for independent logits). Under QK norm keys lie on a sphere
    of head-width dimensions: those that a row attends to have 3 s^2 / d_h less of their length across the
    query.
    """
    v = block_variances(arch, profiles)
    below = np.concatenate([[0.0], np.cumsum(v)])
    above = np.concatenate([np.cumsum(v[::-1])[::-1], [0.0]])
    floor = 2 / arch.width
    normed = any("query" in arch.normed(b) for t in arch.traces for b in t.branches if b.kind == "attention")
    sphere = 3 / arch.head_width if normed and arch.qk_norm_over == "head" else 0.0
    result: dict[Key, Array] = {}
    for (stream, quantity), profile in profiles.items():
        if quantity == "variance":
            result[stream, quantity] = floor + below / 2
        elif quantity == "token_cosine":
            result[stream, quantity] = floor + (1 - profile) * below
        elif quantity == "rank_residual":
            result[stream, quantity] = floor + below / 2
        elif quantity in SPECTRAL:
            cosine = profiles[stream, "token_cosine"]
            result[stream, quantity] = _of_rank(arch, quantity, profile, cosine, below, floor)
        elif quantity == "grad_variance":
            result[stream, quantity] = (floor + below[-1] / 2 + above)[: len(profile)]
        elif quantity == "grad_token_cosine":
            result[stream, quantity] = floor + (1 - np.abs(profile)) * (above + below[-1] / 2)
        elif quantity == "layer_cosine":
            result[stream, quantity] = floor + (1 - profile**2) * (below[:-1] + v)
        elif quantity == "branch_share":
            result[stream, quantity] = floor + profile * (below[:-1] + v)
        elif quantity == "load_imbalance":
            largest = arch.experts / arch.top_k - 1
            result[stream, quantity] = largest * floor + (largest - profile) * (below[:-1] + v)
        elif stream in QUADRATIC_IN_DROP:
            result[stream, quantity] = floor + below[:-1] + above[:-1] + sphere
        else:
            result[stream, quantity] = floor + below[:-1] + above[:-1]
            if quantity == "weight_grad_norm" and stream.startswith("ffn."):
                result[stream, quantity] = result[stream, quantity] + _of_routing(arch, stream, profiles)
    return result


def _of_routing(arch: Architecture, name: str, profiles: Mapping[Key, Array]) -> Array | float:
    """What the theory of experts leaves out of the weight gradient ``name`` of each block."""
    component = feedforward_moments(arch, None)
    if not isinstance(component, MixtureOfExperts):
        return 0.0
    streams = range(arch.definition.streams)
    share = np.max([profiles[str(s), "branch_share"] for s in streams], axis=0)
    uneven, lean = component.unevenness()
    return np.asarray(np.minimum(share, 1.0) * (uneven + (lean if name == "ffn.router" else 0.0)))


def _of_rank(
    arch: Architecture, quantity: str, profile: Array, cosine: Array, below: Array, floor: float
) -> Array:
    """Allowance of a spectral metric at token cosine ``cosine``."""
    sample = np.full_like(cosine, 1 / arch.width)

    def metric(rho: Array, spread: Array = sample) -> Array:
        drop = 1 - np.clip(rho, -1 / arch.tokens, 1)
        return rank_metrics(np.ones_like(drop), drop, spread, arch.tokens, arch.width)[quantity]

    center, off = metric(cosine), (1 - cosine) * (floor + below)
    moved = np.maximum(np.abs(metric(cosine + off) - center), np.abs(metric(cosine - off) - center))
    apart = np.abs(cosine) * (1 - cosine) * np.sqrt(below + floor)
    curved = np.abs(metric(cosine + apart) + metric(cosine - apart) - 2 * center) / 2
    allowed = moved + curved + floor * profile
    if not arch.exchangeable:
        allowed = allowed + np.abs(metric(cosine, sample + below / 4) - center)
    if quantity == "stable_rank":
        edge, scale = largest_eigenvalue(arch.tokens, np.array(1 / arch.width))
        unresolved = (1 - cosine) * (edge + 3 * scale) * profile > arch.tokens
        allowed = allowed + np.where(unresolved, profile * scale / edge, 0.0)
    return np.asarray(allowed)
