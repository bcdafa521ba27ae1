"""Profiles of the pair theory: quantities of every layer from its moments, and where they are declined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
from .omissions import Omission, leave_out, settle
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

#: why metrics of spectra, and the rank residual, are declined
MAXIMUM = (
    f"attention in front of it is nearly a maximum (1 - P2 below {LEAST_OPEN:g}) and copies single tokens"
)
MASKED = "dropout is no Gaussian noise, and what it adds to spectra is not derived"
SPREAD = (
    f"covariances vary too much over pairs: n (V - 1/d) is above {LARGEST_EXCESS:g} (half of it with experts)"
)
ROUTED_APART = "few tokens are routed unlike all others, and carry what differs"

#: why gradients of several sequences are left to sampled heads
CROSSED = "a step of several sequences has what two of them have in common"

#: V up to which second order describes experts' answer to pairs that differ; beyond, the rank residual is
#: declined
LARGEST_ROUTED = 0.5


def all_profiles(
    arch: Architecture, moments: StackMoments, pair_variance: PairVariance, gradients: Gradients
) -> tuple[dict[Key, Array], tuple[Omission, ...]]:
    """Profiles of all quantities of streams and weights, and what the theory declines of them."""
    stack, step = moments.stack, moments.stack.step
    q, delta, v = (x[:, step.own] for x in (moments.q, moments.delta, pair_variance.streams))
    open_share = undecided_rows(arch, moments) / (arch.heads * arch.tokens)
    closed, reasons = _unresolved(arch, open_share, v)
    unresolved = np.any([where for _, where in reasons], axis=0)
    spectra = _spectra(arch, q, delta, v, ~unresolved & (q > 0))
    profiles: dict[Key, Array] = {}
    found: list[Omission] = []
    for stream, place in enumerate(step.places):
        at = 2 * step.gradients.index((stream, stream))
        gamma, c = gradients.mantissas[:, at], gradients.mantissas[:, at + 1]
        name = str(stream)
        sizes, changes = of_stream(moments, place)
        profiles.update({(name, quantity): x for quantity, x in sizes.items()})
        with np.errstate(invalid="ignore"):
            profiles[name, "rank_residual"] = log_rank_residual(q[:, place], delta[:, place], arch.tokens)
        profiles.update({(name, metric): spectra[metric][:, place] for metric in SPECTRAL})
        metrics = [(name, metric) for metric in SPECTRAL]
        found += leave_out(arch, profiles, [(name, "rank_residual"), *metrics], MAXIMUM, closed)
        for reason, where in reasons:
            found += leave_out(arch, profiles, metrics, reason, where[:, place])
        with np.errstate(divide="ignore", invalid="ignore"):  # a stream that is not passed on
            profiles[name, "grad_variance"] = np.log(gamma) + gradients.exponents
            profiles[name, "grad_token_cosine"] = c / gamma
        profiles.update({(name, quantity): x for quantity, x in changes.items()})
    source = _input_gradient(step.gradients, gradients)
    if len(step.places) > 1:
        profiles[INPUT] = np.log(source[:1]) + gradients.exponents[0]
    profiles.update({(matrix, "weight_grad_norm"): value for matrix, value in gradients.weights.items()})
    if arch.experts > 1:
        profiles["ffn.router", "load_imbalance"] = stack.in_order(
            [_load_imbalance(wiring, arch) for wiring in moments.wirings]
        )
        unlike = np.maximum.accumulate(v[:, step.places]) > LARGEST_ROUTED
        apart = {(str(s), "rank_residual"): column for s, column in enumerate(unlike.T)}
        found += leave_out(arch, profiles, apart, ROUTED_APART, apart)
    for reason, names in _of_sequences(arch, gradients.weights):
        keys = [(name, "weight_grad_norm") for name in names]
        found += leave_out(arch, profiles, keys, reason, sampled=True)
    if arch.loss == "cross-entropy":
        head, embedding = of_pairs(arch, gradients.output, gradients.loss, source)
        embedding += gradients.exponents[0]
        profiles.update(logged(arch, gradients.output[0], head, embedding, profiles))
    return profiles, settle(profiles, found)


def _of_sequences(arch: Architecture, weights: Iterable[str]) -> list[tuple[str, Iterable[str]]]:
    """Matrices whose gradients are left to sampled heads, which follow sequences, by reason."""
    found: list[tuple[str, Iterable[str]]] = []
    if arch.crossed:
        found.append((CROSSED, weights))
    if arch.reads_ids and (arch.tokens - 1) * arch.token_law.collision > FEWEST_REPEATS:
        found.append(("tokens of one id have equal weights in every row, and ids repeat", REPEATED))
    if arch.reads_ids and arch.experts > 1:
        found.append(("tokens of one id are sent to the same experts", ROUTED_ALIKE))
    return found


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
    """Metrics of spectra by name, of the shape of the moments, where they are ``kept``: those left out are
    0, and those of a stream that is zero NaN."""
    found = rank_metrics(q[kept], delta[kept], v[kept], arch.tokens, arch.width)
    result = {metric: np.where(q > 0, 0.0, np.nan) for metric in SPECTRAL}
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


def _unresolved(arch: Architecture, open_share: Array, spreads: Array) -> tuple[Mask, list[tuple[str, Mask]]]:
    """Where rank metrics are declined: all of them, (depth + 1,), and by reason those of spectra, of the
    shape of ``spreads``.

    Spectra use V, ``spreads``, at leading order in the excess n (V - 1/d): beyond ``LARGEST_EXCESS`` the
    second order, which is left out, is no longer small. And above a block whose attention picks single keys
    (1 - P2, ``open_share``, below ``LEAST_OPEN``) tokens become copies of one key, and the distance between
    all of them fluctuates as a whole from network to network.
    """
    closed = np.append(0, np.cumsum(open_share < LEAST_OPEN)) > 0
    excess = arch.tokens * (spreads - 1 / arch.width)
    if arch.experts > 1:  # few pairs are routed unlike all others: the second order comes sooner
        excess = 2 * excess
    everywhere = np.ones(spreads.shape, dtype=bool)
    found = [(MAXIMUM, np.broadcast_to(closed[:, None], spreads.shape))]
    if arch.reads_ids:  # V is not small, and is no Marchenko-Pastur spectrum
        found.append(("ids repeat, which is no Marchenko-Pastur spectrum", everywhere))
    if arch.dropout or arch.attention_dropout:
        found.append((MASKED, everywhere))
    return closed, [*found, (SPREAD, excess > LARGEST_EXCESS)]
