r"""Allowances: how far a finite network's mean may be from the wide limit, leading order (T9.10 to T9.14).

A block whose skip keeps the cosine c adds to the logarithm of a token's squared norm a fluctuation of
variance v_l = 4 (1 - c_l^2) / d, and 2 (1 - c)^2 (1/d_kv - 1/d) where heads share keys and values of d_kv
coordinates, 2 (1 - c)^2 / d_c more where these read a latent of d_c. They add up to V_l = sum_{k<l} v_k
forward, and to W_l = sum_{k>=l} v_k backward. Means of log-normal variables differ from medians by half the
variance: allowances are these variances, plus 2/d for the norms' own projections and the sampling of the
input. They are stated, not tuned; the c_l are measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..base.quantities import OUTPUT, SPECTRAL, Key
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import largest_eigenvalue, rank_metrics
from ..layers.experts import MixtureOfExperts
from ..moments.branches import QUADRATIC_IN_DROP, feedforward_moments
from ..softmax.rows import one_row, row_powers
from ..spec.architecture import Architecture

#: relative variance of a network's squared gradient by its labels up to which its logarithm is normal nearly
MOST_BY_LABELS = 0.01


def block_variances(arch: Architecture, profiles: Mapping[Key, Array]) -> Array:
    """v_l of each block, the largest over streams, from the streams' ``layer_cosine``; shape (depth,)."""
    cosines = np.array([profiles[str(s), "layer_cosine"] for s in range(arch.definition.streams)])
    cosine = np.clip(np.nan_to_num(cosines, nan=1.0), -1, 1).min(axis=0)  # a stream that is zero has none
    values = arch.weights["attn.value"][1]
    latent = 1 / arch.latent_keys if arch.latent_keys else 0.0
    shared = 2 * (1 - cosine) ** 2 * max(0.0, 1 / values + latent - 1 / arch.width)
    return np.asarray(4 * (1 - cosine**2) / arch.width + shared + _of_gate(arch, profiles))


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


def spreads(arch: Architecture, profiles: Mapping[Key, Array]) -> dict[Key, Array]:
    """The :func:`fluctuations`, with what labels add to those of gradients."""
    labels = _of_labels(arch, profiles)
    found = fluctuations(arch, profiles)
    return {
        key: np.sqrt(x**2 + labels * (key[1] == "grad_variance")) if labels else x for key, x in found.items()
    }


def allowances(arch: Architecture, profiles: Mapping[Key, Array]) -> dict[Key, Array]:
    """Allowance of each quantity: the difference between a finite network's mean and the wide limit.

    Of the profiles' shapes. Absolute, on the logarithm for logarithmic quantities. Query and key gradients
    have V and U in the theory, and are allowed what other weights are; under norms over heads 3/d_h more, by
    which keys that a row attends to are shorter across its query, and 3/d_c where keys read a latent. Rank
    metrics are functions of rho: they are allowed what moving rho moves, and half of what they are curved by
    over its fluctuation rho (1 - rho) sqrt(V_l + 2/d).
    """
    v = block_variances(arch, profiles)
    below = np.concatenate([[0.0], np.cumsum(v)])
    above = np.concatenate([np.cumsum(v[::-1])[::-1], [0.0]])
    floor = 2 / arch.width
    normed = any("query" in arch.normed(b) for t in arch.traces for b in t.branches if b.kind == "attention")
    sphere = 3 / arch.head_size if normed and arch.qk_norm_over == "head" else 0.0
    sphere += 3 / arch.latent_keys if arch.latent_keys else 0.0
    leaning = np.zeros(arch.depth + 1)
    leaning[-1] = _of_head(arch, profiles)
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
            result[stream, quantity] = (floor + below[-1] / 2 + above + leaning)[: len(profile)]
        elif quantity == "grad_token_cosine":
            result[stream, quantity] = floor + (1 - np.abs(profile)) * (above + below[-1] / 2 + leaning)
        elif quantity == "layer_cosine":
            result[stream, quantity] = floor + (1 - profile**2) * (below[:-1] + v)
        elif quantity == "branch_share":
            result[stream, quantity] = floor + profile * (below[:-1] + v)
        elif quantity == "load_imbalance":
            largest = arch.experts / arch.top_k - 1
            result[stream, quantity] = largest * floor + (largest - profile) * (below[:-1] + v)
        elif stream == OUTPUT:
            result[stream, quantity] = _of_log(arch, quantity, profiles, floor, below[-1:])
        elif stream in QUADRATIC_IN_DROP:
            result[stream, quantity] = floor + below[:-1] + above[:-1] + sphere
        else:
            result[stream, quantity] = floor + below[:-1] + above[:-1]
            if quantity == "weight_grad_norm" and stream.startswith("ffn."):
                result[stream, quantity] = result[stream, quantity] + _of_routing(arch, stream, profiles)
    return result


def _of_head(arch: Architecture, profiles: Mapping[Key, Array]) -> float:
    """Share by which the gradient of a cross-entropy at the model's output exceeds the wide limit's, as it
    leans on that output (T9.14): E (z.(P - e_label))^2 = [z2 (1 - P2)]^2 + z2, over d z2 (1 + P2)."""
    if (OUTPUT, "logit_second_moment") not in profiles:
        return 0.0
    size = float(np.exp(profiles[OUTPUT, "logit_second_moment"][0]))
    p2 = one_row(size**0.5, arch.vocabulary).p2
    return (size * (1 - p2) ** 2 + 1) / (1 + p2) / arch.width


def _of_labels(arch: Architecture, profiles: Mapping[Key, Array]) -> float:
    """Variance over networks of the logarithm of a cross-entropy's squared gradient, by what labels its
    tokens have and how sure their softmax P is: of |P - e_label|^2 = 1 + P2 - 2 P_label, in which P_label
    varies by (P2 - 1/V) / V from token to token, and P2 with the logits that all tokens may share. Beyond any
    number where it is not small, as for few types: a few labels may all be the likely ones."""
    if (OUTPUT, "logit_second_moment") not in profiles:
        return 0.0
    size, even = float(np.exp(profiles[OUTPUT, "logit_second_moment"][0])), 1 / arch.vocabulary
    row = row_powers(size**0.5, arch.vocabulary)
    varies = 4 * even / arch.tokens * (row.p2 - even) + row.p22 - row.p2**2
    found = varies / (1 + row.p2 - 2 * even) ** 2
    return found if found < MOST_BY_LABELS else np.finfo(float).max


def _of_log(
    arch: Architecture, quantity: str, profiles: Mapping[Key, Array], floor: float, whole: Array
) -> Array:
    """Allowance of what a training log holds, (1,), ``whole`` being V_L (T9.14).

    Logits have the fluctuation of the output, with whose second moment z2 a loss moves as (1 - P2) / 2. The
    gradient's norm is the mean of a root, which is below the root of the mean by an eighth of a
    variance, beside half of what the squares are allowed.
    """
    if quantity == "global_grad_norm":
        routed = [_of_routing(arch, name, profiles) for name in arch.weights if name.startswith("ffn.")]
        return np.asarray(floor + whole + max(np.max(share) for share in routed))
    logits = floor + whole / 2
    if quantity == "logit_second_moment":
        return logits
    size = np.exp(profiles[OUTPUT, "logit_second_moment"])
    return np.asarray(size * (1 - one_row(float(np.sqrt(size[0])), arch.vocabulary).p2) / 2 * logits)


def _of_routing(arch: Architecture, name: str, profiles: Mapping[Key, Array]) -> Array | float:
    """Share of the squared weight gradient ``name`` that the theory of experts leaves out, (depth,) (T9.13).

    A token with large gates has a longer branch output, by which norms behind divide its gradient: experts'
    weights receive less by up to the branch's share times the relative variance of sum g^2. These norms also
    remove the part of the gradient along the stream, which holds the experts' outputs: the router receives
    less by up to that share, in as far as it moves the size of the output.
    """
    if arch.experts == 1:
        return 0.0
    uneven, _, lean = _experts(arch).unevenness(arch.base_gains)
    moved = {"ffn.router": lean, "ffn.shared_gate": 1.0}.get(name, 0.0)
    return _branch_share(arch, profiles) * (uneven + moved)


def _of_gate(arch: Architecture, profiles: Mapping[Key, Array]) -> Array | float:
    """Variance of the logarithm of a token's squared norm by the one gate on the shared experts, (depth,): by
    its logit's part that tokens have in common a network's branches are large or small as a whole."""
    if not arch.shared_gate:
        return 0.0
    _, gate, _ = _experts(arch).unevenness(arch.base_gains)
    streams = range(arch.definition.streams)
    cosine = np.max([profiles[str(s), "token_cosine"][1:] for s in streams], axis=0)
    cosine = np.clip(np.nan_to_num(cosine), 0, 1)
    return np.asarray(_branch_share(arch, profiles) ** 2 * gate * (cosine + (1 - cosine) / arch.tokens))


def _experts(arch: Architecture) -> MixtureOfExperts:
    component = feedforward_moments(arch, None)
    assert isinstance(component, MixtureOfExperts)
    return component


def _branch_share(arch: Architecture, profiles: Mapping[Key, Array]) -> Array:
    """The largest share of a branch in a stream, at most 1, zero where blocks have no experts; (depth,)."""
    share = np.max([profiles[str(s), "branch_share"] for s in range(arch.definition.streams)], axis=0)
    return np.asarray(np.minimum(share, 1.0) * (np.arange(arch.depth) >= arch.dense_layers))


def _of_rank(
    arch: Architecture, quantity: str, profile: Array, cosine: Array, below: Array, floor: float
) -> Array:
    """Allowance of a spectral metric, of the shape of ``profile``, at the token cosines ``cosine``.

    The largest eigenvalue of nearly uncorrelated tokens fluctuates by the Tracy-Widom scale, where its
    transition to a spike is not resolved.
    """
    sample = np.full_like(cosine, 1 / arch.width)

    def metric(rho: Array, spread: Array = sample) -> Array:
        drop = 1 - np.clip(rho, -1 / arch.tokens, 1)
        return rank_metrics(np.ones_like(drop), drop, spread, arch.tokens, arch.width)[quantity]

    center, off = metric(cosine), (1 - cosine) * (floor + below)
    moved = np.maximum(np.abs(metric(cosine + off) - center), np.abs(metric(cosine - off) - center))
    apart = np.abs(cosine) * (1 - cosine) * np.sqrt(below + floor)
    curved = np.abs(metric(cosine + apart) + metric(cosine - apart) - 2 * center) / 2
    allowed = moved + curved + floor * profile
    if quantity == "stable_rank":
        edge, scale = largest_eigenvalue(arch.tokens, np.array(1 / arch.width))
        unresolved = (1 - cosine) * (edge + 3 * scale) * profile > arch.tokens
        allowed = allowed + np.where(unresolved, profile * scale / edge, 0.0)
    return np.asarray(allowed)
