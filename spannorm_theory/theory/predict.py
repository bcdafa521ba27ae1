"""Per-layer predictions of the pair theory, for any placement and scaling, in milliseconds.

Forward, the state (q, delta) of every pair of streams is iterated block by block; backward, the
gradient moments obey a linear map that is computed for all layers at once and then iterated with its
exponent carried apart, so that no depth under- or overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..architecture import Architecture
from ..components.attention import Attention
from ..components.attention_op import require_exchangeable
from ..components.kernels import Array
from ..components.moe import MixtureOfExperts
from ..quantities import SPECTRAL, Key, tidy
from .ends import input_moments, input_spread, loss_moments
from .fluctuation import QUADRATIC
from .pair import PairStep
from .prediction import Prediction
from .rank import rank_metrics
from .segment import (
    FiniteWidth,
    Readout,
    Segment,
    advance_finite_width,
    forward,
    segments_of,
    undecided,
)

#: attention rows whose 1 - P2 is below this are no mixtures of many tokens
LEAST_OPEN = 0.75

#: n (V - 1/d) up to which leading order describes a spectrum: at 0.5 the effective rank is off by 5 %
LARGEST_EXCESS = 0.5

#: V up to which second order describes what experts make of pairs that differ
LARGEST_SPREAD = 0.5


def predict_profiles(arch: Architecture) -> Prediction:
    """The theory that fits the architecture: the pair theory where tokens are alike, else the
    position-resolved one."""
    if arch.exchangeable:
        return predict_pair(arch)
    from .gram import predict_gram

    return predict_gram(arch)


def predict(arch: Architecture) -> pd.DataFrame:
    """Per-layer predictions as a tidy table.

    Returns:
        columns placement, scaling, depth, width, tokens, layer, stream, quantity, value, log_value
        (natural), theory ("pair", or "position-resolved" under a mask or with positions), and then se, the
        theory's own standard error (of the logarithm for squared norms). Moments per coordinate, weight
        gradients as squared Frobenius norms; the loss gradient at the model's output has second moment
        1, that of a cross-entropy its own. NaN is what the theory does not predict.

    Raises:
        AssumptionError: the architecture is outside the theory's assumptions, or left float64's range.
    """
    prediction = predict_profiles(arch)
    extra = None if prediction.errors is None else {"se": prediction.errors}
    return tidy(arch, prediction.profiles, extra).assign(theory=prediction.theory)


def predict_pair(arch: Architecture) -> Prediction:
    """Iterate the pair theory through the stack and back.

    Raises:
        AssumptionError: tokens are not exchangeable (a mask, positions), or a moment left float64's range.
    """
    require_exchangeable(arch)
    segments = segments_of(arch)
    pairs = len(segments[0].step.pairs)
    state, finite = _iterate(arch, segments)
    if arch.experts > 1:  # experts answer to how unlike pairs of tokens are, which the first pass found
        state, finite = _iterate(arch, segments, [s.spread.branches for s in segments])
    states = np.concatenate([s.known[:, : 2 * pairs] for s in segments] + [np.array([state])])
    across = np.concatenate([s.across for s in segments])
    spreads = np.concatenate([s.spread.streams for s in segments] + [np.array([finite.spread])])
    gradients, exponents, weights = _backward(arch, segments, state)
    profiles = _profiles(arch, segments[0].step, states, spreads, across, gradients, exponents, weights)
    if arch.experts > 1:
        loads = np.concatenate([_load_imbalance(s, arch) for s in segments])
        profiles["ffn.router", "load_imbalance"] = loads
    rows = np.concatenate([undecided(s, arch) for s in segments])
    own = [segments[0].step.pairs.index((s, s)) for s in range(arch.definition.streams)]
    excess = arch.tokens * (spreads[:, own] - 1 / arch.width)
    if arch.inputs == "zipf":  # repeated tokens: V is not small, and is no Marchenko-Pastur spectrum
        excess = np.full_like(excess, np.inf)
    if arch.experts > 1:  # few pairs are routed unlike all others: the second order comes sooner
        excess = 2 * excess
    if arch.dropout or arch.attention_dropout:  # masks are no Gaussian noise: the spread is not derived
        excess = np.full_like(excess, np.inf)
    _decline_spectra(profiles, rows / (arch.heads * arch.tokens), excess)
    if arch.experts > 1:
        _decline_unlike_pairs(profiles, spreads[:, own])
    return Prediction(arch, profiles, "pair", rows)


def _iterate(
    arch: Architecture, segments: list[Segment], spreads: list[Array] | None = None
) -> tuple[tuple[float, ...], FiniteWidth]:
    """The forward pass: the state behind the last block, and what a finite width makes of it."""
    pairs = len(segments[0].step.pairs)
    state: tuple[float, ...] = input_moments(arch) * pairs
    finite = FiniteWidth([input_spread(arch)] * pairs)
    for i, segment in enumerate(segments):
        state = forward(segment, state, None if spreads is None else spreads[i])
        finite = advance_finite_width(segment, finite, arch)
    return state, finite


def _decline_unlike_pairs(profiles: dict[Key, Array], spreads: Array) -> None:
    """Leave the rank residual unpredicted from the first layer on whose V, shape (layers, streams), is
    beyond ``LARGEST_SPREAD``: few tokens are then routed unlike the others, and carry all differences."""
    for stream, spread in enumerate(spreads.T):
        profile = profiles[str(stream), "rank_residual"]
        unlike = np.maximum.accumulate(spread) > LARGEST_SPREAD
        profiles[str(stream), "rank_residual"] = np.where(unlike, np.nan, profile)


def _decline_spectra(profiles: dict[Key, Array], open_share: Array, excess: Array) -> None:
    """Leave rank metrics unpredicted (NaN) where what they rest on does not hold.

    Spectra use V at leading order in ``excess`` = n (V - 1/d), shape (layers, streams): beyond
    ``LARGEST_EXCESS`` the second order, which is left out, is no longer small. And above a block whose
    attention picks single keys (1 - P2 below ``LEAST_OPEN``) tokens become copies of one key, and the
    distance between all of them fluctuates as a whole from network to network.
    """
    closed = np.append(0, np.cumsum(open_share < LEAST_OPEN)) > 0
    for (stream, quantity), profile in profiles.items():
        if quantity in SPECTRAL:
            declined = closed | (excess[:, int(stream)] > LARGEST_EXCESS)
            profiles[stream, quantity] = np.where(declined, np.nan, profile)
        elif quantity == "rank_residual":
            profiles[stream, quantity] = np.where(closed, np.nan, profile)


def _load_imbalance(segment: Segment, arch: Architecture) -> Array:
    parts = zip(segment.components, segment.gains, segment.branch_inputs(), strict=True)
    found = [
        component.load_imbalance(q, delta, gains, arch.tokens)
        for component, gains, (q, delta) in parts
        if isinstance(component, MixtureOfExperts)
    ]
    return found[0] if found else np.zeros(len(segment.layers))


def _entries(values: Any, shape: tuple[int, int], layers: int) -> Array:
    """A compiled matrix as an array (layers, rows, columns)."""
    columns = [np.broadcast_to(np.asarray(v, dtype=float), (layers,)) for v in values]
    return np.stack(columns, axis=1).reshape(layers, *shape)


def _branch_maps(segment: Segment) -> tuple[list[Array], list[tuple[Any, ...]]]:
    """The 2 x 2 backward map of each branch at each layer, and what its weight gradients need."""
    kept = np.array([1 / (1 - segment.dropout), 1.0])  # of (gamma, c), through a branch's dropout
    maps: list[Array] = []
    details: list[tuple[Any, ...]] = []
    layers = len(segment.layers)
    for component, gains, (q, delta), spread in zip(
        segment.components, segment.gains, segment.branch_inputs(), segment.spread.branches.T, strict=True
    ):
        if isinstance(component, Attention):
            found = component.backward(q, delta, spread, gains)
            maps.append(found["stream"] * kept)
            details.append((q, delta, found))
        else:
            one = component.gain(q, q, q, gains)
            two = component.gain(q, q, q - delta, gains)
            zero = np.zeros(layers)
            flat = np.stack([one + zero, zero, zero, two + zero], axis=1)
            maps.append(flat.reshape(layers, 2, 2) * kept)
            details.append((q, delta, None))
    return maps, details


def _backward(
    arch: Architecture, segments: list[Segment], last: tuple[float, ...]
) -> tuple[Array, Array, dict[str, Array]]:
    """Gradient state at every boundary (mantissas), their exponents (base e), weight-gradient norms."""
    width = 2 * len(segments[0].step.pairs)
    readout = Readout.of(arch, last)
    gamma, c = loss_moments(arch, readout.q, readout.delta)
    gradient = readout.gradient @ np.array([1.0, c / gamma])
    gradients, exponents = [gradient], [float(np.log(gamma))]
    weights: dict[str, list[Array]] = {name: [] for name in arch.weights}
    for segment in reversed(segments):
        layers, known = len(segment.layers), segment.known
        maps, details = _branch_maps(segment)
        flat = [m.reshape(layers, 4).T[k] for m in maps for k in range(4)]
        matrices = _entries(
            segment.step.backward(*known.T, *segment.multipliers, *flat), segment.step.shape, layers
        )
        at_branches = np.empty((layers, matrices.shape[1] - width))
        scales = np.empty(layers)
        for l in range(layers - 1, -1, -1):
            result = matrices[l] @ gradient
            at_branches[l], scales[l] = result[width:], exponents[-1]
            gradient = result[:width]
            size = float(np.abs(gradient).max())
            gradient = gradient / size
            gradients.append(gradient)
            exponents.append(exponents[-1] + float(np.log(size)))
        _collect_weights(segment, details, at_branches, scales, weights, arch.tokens)
    collected = {name: np.concatenate(parts[::-1]) for name, parts in weights.items() if parts}
    return np.array(gradients[::-1]), np.array(exponents[::-1]), collected


def _collect_weights(
    segment: Segment,
    details: list[tuple[Any, ...]],
    at_branches: Array,
    scales: Array,
    weights: dict[str, list[Array]],
    tokens: int,
) -> None:
    for i, (component, gains, spread, (q, delta, maps)) in enumerate(
        zip(segment.components, segment.gains, segment.spread.branches.T, details, strict=True)
    ):
        grad = at_branches[:, 2 * i : 2 * i + 2] * np.array([1 / (1 - segment.dropout), 1.0])
        if isinstance(component, Attention):
            norms = component.weight_grads(q, delta, spread, grad, gains, maps)
        else:
            norms = component.weight_grads(q, q - delta, grad[:, 0], grad[:, 1], gains, tokens)
        for name, value in norms.items():
            with np.errstate(divide="ignore"):
                log = np.log(np.maximum(value, 0)) + scales
            # quadratic in the drop, whose logarithm has the variance U over networks
            weights[name].append(log + 2 * segment.stray[:, i] if name in QUADRATIC else log)


def _profiles(
    arch: Architecture,
    step: PairStep,
    states: Array,
    spreads: Array,
    across: Array,
    gradients: Array,
    exponents: Array,
    weights: dict[str, Array],
) -> dict[Key, Array]:
    profiles: dict[Key, Array] = {}
    for stream in range(arch.definition.streams):
        at = 2 * step.pairs.index((stream, stream))
        q, delta = states[:, at], states[:, at + 1]
        gamma, c = gradients[:, at], gradients[:, at + 1]
        name = str(stream)
        profiles[name, "variance"] = np.log(q)
        profiles[name, "token_cosine"] = 1 - delta / q
        ranks = rank_metrics(q, delta, spreads[:, at // 2], arch)
        profiles.update({(name, metric): x for metric, x in ranks.items()})
        profiles[name, "grad_variance"] = np.log(gamma) + exponents
        profiles[name, "grad_token_cosine"] = c / gamma
        cross = across[:, stream]
        profiles[name, "layer_cosine"] = cross / np.sqrt(q[:-1] * q[1:])
        profiles[name, "branch_share"] = (q[:-1] + q[1:] - 2 * cross) / q[:-1]
    profiles.update({(matrix, "weight_grad_norm"): value for matrix, value in weights.items()})
    return profiles
