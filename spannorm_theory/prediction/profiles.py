"""Profiles of the pair theory: quantities of every layer from its moments, and where they are declined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..base.quantities import INPUT, SPECTRAL, Key
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import log_rank_residual, rank_metrics
from ..layers.attention import Attention
from ..layers.experts import MixtureOfExperts
from ..spec.architecture import Architecture
from .backward import Gradients
from .blocks import BlockMoments
from .forward import StackMoments
from .logged import logged, of_pairs
from .pair_variance import PairVariance

Mask = NDArray[np.bool_]

#: least 1 - P2 of rows that mix many tokens: where a block has less, rank metrics above it are declined
LEAST_OPEN = 0.75

#: n (V - 1/d) up to which leading order describes a spectrum, and beyond which spectra are declined: at 0.5
#: the effective rank is off by 2 %
LARGEST_EXCESS = 0.5

#: matrices whose gradients read that tokens of one id are sent to the same experts, which a mean and a
#: variance over pairs do not say: not predicted where experts stand behind token ids
ROUTED_ALIKE = ("attn.query", "attn.key", "ffn.up", "ffn.gate", "ffn.down", "ffn.router", "ffn.shared_gate")

#: matrices whose gradients read that tokens of one id have equal weights in every row, and the mean number of
#: other tokens of a token's id up to which that is left out: at 1 gradients of values are 9 % too low
REPEATED, FEWEST_REPEATS = ("attn.query", "attn.key", "attn.value", "attn.output"), 0.25

#: V up to which second order describes experts' answer to pairs that differ; beyond, the rank residual is
#: declined
LARGEST_ROUTED = 0.5


def all_profiles(
    arch: Architecture, moments: StackMoments, pair_variance: PairVariance, gradients: Gradients
) -> dict[Key, Array]:
    """Profiles of all quantities of streams and weights, NaN where the theory declines one."""
    stack, step = moments.stack, moments.stack.step
    q, delta, v = (x[:, step.own] for x in (moments.q, moments.delta, pair_variance.streams))
    open_share = undecided_rows(arch, moments) / (arch.heads * arch.tokens)
    closed, unresolved = _declined(arch, open_share, v)
    spectra = _spectra(arch, q, delta, v, ~unresolved & (q > 0))
    profiles: dict[Key, Array] = {}
    for stream, place in enumerate(step.places):
        at = 2 * step.gradients.index((stream, stream))
        gamma, c = gradients.mantissas[:, at], gradients.mantissas[:, at + 1]
        name = str(stream)
        sizes, changes = of_stream(moments, place)
        profiles.update({(name, quantity): x for quantity, x in sizes.items()})
        with np.errstate(invalid="ignore"):
            residual = log_rank_residual(q[:, place], delta[:, place], arch.tokens)
        profiles[name, "rank_residual"] = np.where(closed, np.nan, residual)
        profiles.update({(name, metric): spectra[metric][:, place] for metric in SPECTRAL})
        with np.errstate(divide="ignore", invalid="ignore"):  # a stream that is not passed on
            profiles[name, "grad_variance"] = np.log(gamma) + gradients.exponents
            profiles[name, "grad_token_cosine"] = c / gamma
        profiles.update({(name, quantity): x for quantity, x in changes.items()})
    source = _input_gradient(step.gradients, gradients)
    if len(step.places) > 1:
        profiles[INPUT] = np.log(source[:1]) + gradients.exponents[0]
    profiles.update({(matrix, "weight_grad_norm"): value for matrix, value in gradients.weights.items()})
    declined: tuple[str, ...] = ()
    if arch.reads_ids and (arch.tokens - 1) * arch.token_law.collision > FEWEST_REPEATS:
        declined = REPEATED
    if arch.experts > 1:
        profiles["ffn.router", "load_imbalance"] = stack.in_order(
            [_load_imbalance(wiring, arch) for wiring in moments.wirings]
        )
        _decline_unlike_pairs(profiles, v[:, step.places])
        declined = (*declined, *ROUTED_ALIKE) if arch.reads_ids else declined
    if arch.crossed:  # what two sequences have in common is left to sampled heads
        declined = tuple(gradients.weights)
    nothing = np.full(arch.depth, np.nan)
    profiles.update({(name, "weight_grad_norm"): nothing for name in declined if name in gradients.weights})
    if arch.loss == "cross-entropy":
        head, embedding = of_pairs(arch, gradients.output, gradients.loss, source)
        embedding += gradients.exponents[0]
        profiles.update(logged(arch, gradients.output[0], head, embedding, profiles))
    return profiles


def _input_gradient(pairs: Sequence[tuple[int, int]], gradients: Gradients) -> tuple[float, float]:
    """(gamma, c) at the embedding, over e^exponent: all streams start as it, so that their gradients add
    up."""
    twice = [1.0 if i == j else 2.0 for i, j in pairs]
    gamma, c = gradients.mantissas[0].reshape(-1, 2).T @ twice
    return float(gamma), float(c)


def of_stream(moments: StackMoments, place: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Profiles of a stream of class ``place`` by quantity: variance and token cosine, (depth + 1,), and
    cosine and branch share across blocks, (depth,)."""
    own = moments.stack.step.own[place]
    q, delta, cross = moments.q[:, own], moments.delta[:, own], moments.across[:, place]
    with np.errstate(divide="ignore", invalid="ignore"):  # a stream that is zero has no cosine
        return {"variance": np.log(q), "token_cosine": 1 - delta / q}, {
            "layer_cosine": moments.layer_cosine(place),
            "branch_share": (q[:-1] + q[1:] - 2 * cross) / q[:-1],
        }


def _spectra(arch: Architecture, q: Array, delta: Array, v: Array, kept: Mask) -> dict[str, Array]:
    """Metrics of spectra by name, of the shape of the moments, NaN where they are not ``kept``."""
    found = rank_metrics(q[kept], delta[kept], v[kept], arch.tokens, arch.width)
    result = {metric: np.full(q.shape, np.nan) for metric in SPECTRAL}
    for metric, values in result.items():
        values[kept] = found[metric]
    return result


def undecided_rows(arch: Architecture, moments: StackMoments) -> Array:
    """Expected number of attention rows, over heads and tokens, that are more than a maximum, (depth,)."""
    found = []
    for wiring in moments.wirings:
        blocks = wiring.blocks
        rows = np.full(len(blocks.layers), float(arch.heads * arch.tokens))
        for component, at in zip(blocks.components, wiring.branches, strict=True):
            if isinstance(component, Attention):
                rows = np.minimum(rows, arch.heads * arch.tokens * component.undecided(at))
        found.append(rows)
    return moments.stack.in_order(found)


def _load_imbalance(moments: BlockMoments, arch: Architecture) -> Array:
    """Mean squared coefficient of variation of the experts' loads, (layers,); zero without a router."""
    blocks = moments.blocks
    found = [
        component.load_imbalance(at, arch.tokens)
        for component, at in zip(blocks.components, moments.branches, strict=True)
        if isinstance(component, MixtureOfExperts)
    ]
    return found[0] if found else np.zeros(len(blocks.layers))


def _declined(arch: Architecture, open_share: Array, spreads: Array) -> tuple[Mask, Mask]:
    """Masks of where rank metrics are declined: all of them, (depth + 1,), and those of spectra, of the shape
    of ``spreads``.

    Spectra use V, ``spreads``, at leading order in the excess n (V - 1/d): beyond ``LARGEST_EXCESS`` the
    second order, which is left out, is no longer small. And above a block whose attention picks single keys
    (1 - P2, ``open_share``, below ``LEAST_OPEN``) tokens become copies of one key, and the distance between
    all of them fluctuates as a whole from network to network.
    """
    closed = np.append(0, np.cumsum(open_share < LEAST_OPEN)) > 0
    excess = arch.tokens * (spreads - 1 / arch.width)
    if arch.reads_ids:  # repeated tokens: V is not small, and is no Marchenko-Pastur spectrum
        excess = np.full_like(excess, np.inf)
    if arch.experts > 1:  # few pairs are routed unlike all others: the second order comes sooner
        excess = 2 * excess
    if arch.dropout or arch.attention_dropout:  # masks are no Gaussian noise: the spread is not derived
        excess = np.full_like(excess, np.inf)
    return closed, closed[:, None] | (excess > LARGEST_EXCESS)


def _decline_unlike_pairs(profiles: dict[Key, Array], spreads: Array) -> None:
    """Leave the rank residual unpredicted from the first layer on whose V, shape (layers, streams), is
    beyond ``LARGEST_ROUTED``: few tokens are then routed unlike the others, and carry all differences."""
    for stream, spread in enumerate(spreads.T):
        profile = profiles[str(stream), "rank_residual"]
        unlike = np.maximum.accumulate(spread) > LARGEST_ROUTED
        profiles[str(stream), "rank_residual"] = np.where(unlike, np.nan, profile)
