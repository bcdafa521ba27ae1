"""Per-layer predictions of the pair theory, for any placement and scaling, in milliseconds.

The state (q, delta) of every pair of streams is iterated block by block (:mod:`.stack`), then the gradient
moments back (:mod:`.backward`); profiles of all quantities follow.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..base.quantities import SPECTRAL, Key, tidy
from ..gaussian.closed_forms import Array
from ..gaussian.rank_metrics import log_rank_residual, rank_metrics
from ..layers.attention import Attention
from ..layers.attention_op import require_exchangeable
from ..layers.experts import MixtureOfExperts
from ..moments.two_tokens import PairStep
from ..spec.architecture import Architecture
from .backward import backward
from .blocks import Segment
from .boundary import input_moments, input_spread
from .forward import forward
from .prediction import Prediction
from .stack import Stack, network_spread
from .unlike import settled

Mask = NDArray[np.bool_]

#: attention rows whose 1 - P2 is below this are no mixtures of many tokens
LEAST_OPEN = 0.75

#: n (V - 1/d) up to which leading order describes a spectrum: at 0.5 the effective rank is off by 2 %
LARGEST_EXCESS = 0.5

#: matrices whose gradients read that tokens of one id are sent to the same experts, which mean and variance
#: over pairs do not say
ROUTED_ALIKE = ("attn.query", "attn.key", "ffn.up", "ffn.gate", "ffn.down", "ffn.router")

#: V up to which second order describes what experts make of pairs that differ
LARGEST_SPREAD = 0.5


def predict_profiles(arch: Architecture) -> Prediction:
    """The theory that fits the architecture: the pair theory where tokens are alike, else the
    position-resolved one."""
    if arch.exchangeable:
        return predict_pair(arch)
    from .sampled import predict_gram

    return predict_gram(arch)


def predict(arch: Architecture) -> pd.DataFrame:
    """Per-layer predictions as a tidy table.

    Returns:
        columns placement, scaling, depth, width, tokens, layer, stream, quantity, value, log_value
        (natural), theory ("pair", or "position-resolved" under a mask or with positions), and then se, the
        theory's own standard error (of the logarithm for squared norms). Moments per coordinate, weight
        gradients as squared Frobenius norms; the loss gradient at the model's output has second moment
        1, that of a cross-entropy its own. NaN is what the theory does not predict. Blocks far into runs of
        300 and more are solved at some layers (:mod:`.collocation`): logarithms are then right to 1e-3, and
        mostly to 1e-8.

    Raises:
        AssumptionError: the architecture is outside the theory's assumptions, or left float64's range.
    """
    prediction = predict_profiles(arch)
    extra = None if prediction.errors is None else {"se": prediction.errors}
    return tidy(arch, prediction.profiles, extra, theory=prediction.theory)


def predict_pair(arch: Architecture) -> Prediction:
    """Iterate the pair theory through the stack and back.

    Raises:
        AssumptionError: tokens are not exchangeable (a mask, positions), or a moment left float64's range.
    """
    require_exchangeable(arch)
    stack = Stack.of(arch)
    step, width = stack.step, 2 * stack.pairs
    start, spread = input_moments(arch) * stack.pairs, input_spread(arch)
    state, last = settled(stack, start, spread, arch.width)
    network_spread(stack, arch.width)
    states = np.concatenate([stack.over_layers(lambda s: s.known[:, :width]), [state]])
    across = stack.over_layers(lambda s: s.across)
    spreads = np.concatenate([stack.over_layers(lambda s: s.spread.streams), [last]])
    gradients, exponents, weights = backward(arch, stack, state)
    rows = stack.over_layers(lambda s: _undecided(s, arch))
    spreads = spreads[:, step.own]
    declined = _declined(arch, rows / (arch.heads * arch.tokens), spreads)
    profiles = _profiles(arch, step, states, spreads, across, gradients, exponents, weights, declined)
    if arch.experts > 1:
        profiles["ffn.router", "load_imbalance"] = stack.over_layers(lambda s: _load_imbalance(s, arch))
        _decline_unlike_pairs(profiles, spreads[:, step.places])
        if arch.inputs == "zipf":
            nothing = np.full(arch.depth, np.nan)
            profiles.update({(name, "weight_grad_norm"): nothing for name in ROUTED_ALIKE if name in weights})
    return Prediction(arch, profiles, "pair", rows)


def predict_forward(arch: Architecture) -> Prediction:
    """Moments and cosines of :func:`predict_pair`, without gradients and spectra where these are not needed.

    Raises:
        AssumptionError: as there.
    """
    if arch.experts > 1:  # which answer to how unlike pairs of tokens are
        return predict_pair(arch)
    require_exchangeable(arch)
    stack = Stack.of(arch)
    last = forward(stack, input_moments(arch) * stack.pairs)
    states = np.concatenate([stack.over_layers(lambda s: s.known[:, : 2 * stack.pairs]), [last]])
    across = stack.over_layers(lambda s: s.across)
    profiles: dict[Key, Array] = {}
    for stream, place in enumerate(stack.step.places):
        at = 2 * stack.step.own[place]
        profiles.update(_sizes(str(stream), states[:, at], states[:, at + 1]))
        profiles.update(_changes(str(stream), states[:, at], across[:, place]))
    return Prediction(arch, profiles, "pair", stack.over_layers(lambda s: _undecided(s, arch)))


def _decline_unlike_pairs(profiles: dict[Key, Array], spreads: Array) -> None:
    """Leave the rank residual unpredicted from the first layer on whose V, shape (layers, streams), is
    beyond ``LARGEST_SPREAD``: few tokens are then routed unlike the others, and carry all differences."""
    for stream, spread in enumerate(spreads.T):
        profile = profiles[str(stream), "rank_residual"]
        unlike = np.maximum.accumulate(spread) > LARGEST_SPREAD
        profiles[str(stream), "rank_residual"] = np.where(unlike, np.nan, profile)


def _declined(arch: Architecture, open_share: Array, spreads: Array) -> tuple[Mask, Mask]:
    """Where rank metrics are left unpredicted, as what they rest on does not hold: all of them, (layers,),
    and those of spectra, of the shape of ``spreads``.

    Spectra use V, ``spreads``, at leading order in the excess n (V - 1/d): beyond ``LARGEST_EXCESS`` the
    second order, which is left out, is no longer small. And above a block whose attention picks single keys
    (1 - P2 below ``LEAST_OPEN``) tokens become copies of one key, and the distance between all of them
    fluctuates as a whole from network to network.
    """
    closed = np.append(0, np.cumsum(open_share < LEAST_OPEN)) > 0
    excess = arch.tokens * (spreads - 1 / arch.width)
    if arch.inputs == "zipf":  # repeated tokens: V is not small, and is no Marchenko-Pastur spectrum
        excess = np.full_like(excess, np.inf)
    if arch.experts > 1:  # few pairs are routed unlike all others: the second order comes sooner
        excess = 2 * excess
    if arch.dropout or arch.attention_dropout:  # masks are no Gaussian noise: the spread is not derived
        excess = np.full_like(excess, np.inf)
    return closed, closed[:, None] | (excess > LARGEST_EXCESS)


def _load_imbalance(segment: Segment, arch: Architecture) -> Array:
    parts = zip(segment.components, segment.gains, segment.branch_inputs, segment.slopes, strict=True)
    found = [
        component.load_imbalance(q, delta, gains, arch.tokens, slopes)
        for component, gains, (q, delta), slopes in parts
        if isinstance(component, MixtureOfExperts)
    ]
    return found[0] if found else np.zeros(len(segment.layers))


def _undecided(segment: Segment, arch: Architecture) -> Array:
    """Rows of attention weights, over heads and tokens, that are expected to be more than a maximum."""
    rows = np.full(len(segment.layers), float(arch.heads * arch.tokens))
    for component, gains, (q, delta), slopes in zip(
        segment.components, segment.gains, segment.branch_inputs, segment.slopes, strict=True
    ):
        if isinstance(component, Attention):
            share = component.undecided(q, delta, gains, slopes)
            rows = np.minimum(rows, arch.heads * arch.tokens * share)
    return rows


def _profiles(
    arch: Architecture,
    step: PairStep,
    states: Array,
    spreads: Array,
    across: Array,
    gradients: Array,
    exponents: Array,
    weights: dict[str, Array],
    declined: tuple[Mask, Mask],
) -> dict[Key, Array]:
    closed, unresolved = declined
    own = 2 * np.array(step.own)
    spectra = _spectra(arch, states[:, own], states[:, own + 1], spreads, ~unresolved)
    profiles: dict[Key, Array] = {}
    for stream, place in enumerate(step.places):
        q, delta = states[:, own[place]], states[:, own[place] + 1]
        at = 2 * step.gradients.index((stream, stream))
        gamma, c = gradients[:, at], gradients[:, at + 1]
        name = str(stream)
        profiles.update(_sizes(name, q, delta))
        profiles[name, "rank_residual"] = np.where(closed, np.nan, log_rank_residual(q, delta, arch.tokens))
        profiles.update({(name, metric): spectra[metric][:, place] for metric in SPECTRAL})
        with np.errstate(divide="ignore", invalid="ignore"):  # a stream that is not passed on
            profiles[name, "grad_variance"] = np.log(gamma) + exponents
            profiles[name, "grad_token_cosine"] = c / gamma
        profiles.update(_changes(name, q, across[:, place]))
    profiles.update({(matrix, "weight_grad_norm"): value for matrix, value in weights.items()})
    return profiles


def _spectra(arch: Architecture, q: Array, delta: Array, spreads: Array, kept: Mask) -> dict[str, Array]:
    """Metrics of spectra by name, of the shape of the moments, where they are ``kept``."""
    found = rank_metrics(q[kept], delta[kept], spreads[kept], arch)
    result = {metric: np.full(q.shape, np.nan) for metric in SPECTRAL}
    for metric, values in result.items():
        values[kept] = found[metric]
    return result


def _sizes(stream: str, q: Array, delta: Array) -> dict[Key, Array]:
    return {(stream, "variance"): np.log(q), (stream, "token_cosine"): 1 - delta / q}


def _changes(stream: str, q: Array, cross: Array) -> dict[Key, Array]:
    """What blocks do to a stream, from its second moments with what it was."""
    return {
        (stream, "layer_cosine"): cross / np.sqrt(q[:-1] * q[1:]),
        (stream, "branch_share"): (q[:-1] + q[1:] - 2 * cross) / q[:-1],
    }
