"""Per-layer predictions of the pair theory, for any placement and scaling, in milliseconds.

Forward, the state (q, delta) of every pair of streams is iterated block by block; backward, the
gradient moments obey a linear map that is computed for all layers at once and then iterated with its
exponent carried apart, so that no depth under- or overflows.
"""

from __future__ import annotations

from math import inf, log
from typing import Any

import numpy as np
import pandas as pd

from ..architecture import Architecture
from ..components.attention import Attention
from ..components.attention_op import require_exchangeable
from ..components.kernels import Array
from ..components.moe import MixtureOfExperts
from ..errors import AssumptionError
from ..quantities import SPECTRAL, Key, repeated, tidy
from .ends import input_moments, input_spread, loss_moments
from .fluctuation import QUADRATIC
from .pair import PairStep
from .prediction import Prediction
from .rank import rank_metrics
from .segment import Readout, Segment
from .stack import Stack, finite_width, forward

#: the range of a gradient's mantissa
MANTISSAS = 1e-80, 1e80

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
    table = tidy(arch, prediction.profiles, extra)
    table["theory"] = repeated([prediction.theory], [len(table)])
    return table


def predict_pair(arch: Architecture) -> Prediction:
    """Iterate the pair theory through the stack and back.

    Raises:
        AssumptionError: tokens are not exchangeable (a mask, positions), or a moment left float64's range.
    """
    require_exchangeable(arch)
    stack = Stack.of(arch)
    step, width = stack.segments[0].step, 2 * stack.pairs
    state, spread = _iterate(arch, stack)
    if arch.experts > 1:  # experts answer to how unlike pairs of tokens are, which the first pass found
        state, spread = _iterate(arch, stack, [s.spread.branches for s in stack.segments])
    states = np.concatenate([stack.over_layers(lambda s: s.known[:, :width]), [state]])
    across = stack.over_layers(lambda s: s.across)
    spreads = np.concatenate([stack.over_layers(lambda s: s.spread.streams), [spread]])
    gradients, exponents, weights = _backward(arch, stack, state)
    profiles = _profiles(arch, step, states, spreads, across, gradients, exponents, weights)
    if arch.experts > 1:
        profiles["ffn.router", "load_imbalance"] = stack.over_layers(lambda s: _load_imbalance(s, arch))
    rows = stack.over_layers(lambda s: _undecided(s, arch))
    own = [step.pairs.index((s, s)) for s in range(arch.definition.streams)]
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
    arch: Architecture, stack: Stack, spreads: list[Array] | None = None
) -> tuple[tuple[float, ...], list[float]]:
    """The forward pass: the state behind the last block, and V there."""
    state = forward(stack, input_moments(arch) * stack.pairs, spreads)
    return state, finite_width(stack, input_spread(arch), arch.width)


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
    parts = zip(segment.components, segment.gains, segment.branch_inputs, strict=True)
    found = [
        component.load_imbalance(q, delta, gains, arch.tokens)
        for component, gains, (q, delta) in parts
        if isinstance(component, MixtureOfExperts)
    ]
    return found[0] if found else np.zeros(len(segment.layers))


def _undecided(segment: Segment, arch: Architecture) -> Array:
    """Rows of attention weights, over heads and tokens, that are expected to be more than a maximum."""
    rows = np.full(len(segment.layers), float(arch.heads * arch.tokens))
    for component, slopes in zip(segment.components, segment.slopes, strict=True):
        if isinstance(component, Attention):
            rows = np.minimum(rows, arch.heads * arch.tokens * component.undecided(slopes))
    return rows


def _branch_maps(segment: Segment) -> tuple[list[Array], list[dict[str, Array]]]:
    """The four entries of each branch's 2 x 2 backward map, (4, layers), and attention's maps to each of its
    projections."""
    kept = np.array([1 / (1 - segment.dropout), 1.0, 1 / (1 - segment.dropout), 1.0])[:, None]
    maps: list[Array] = []
    details: list[dict[str, Array]] = []
    for component, gains, (q, delta), spread, slopes in zip(
        segment.components,
        segment.gains,
        segment.branch_inputs,
        segment.spread.branches.T,
        segment.slopes,
        strict=True,
    ):
        if isinstance(component, Attention):
            found = component.backward(q, delta, spread, gains, slopes)
            maps.append(found["stream"].reshape(-1, 4).T * kept)
            details.append(found)
        else:
            zero = np.zeros_like(q)
            maps.append(np.stack([slopes.gains[0] + zero, zero, zero, slopes.gains[1] + zero]) * kept)
            details.append({})
    return maps, details


def _backward(
    arch: Architecture, stack: Stack, last: tuple[float, ...]
) -> tuple[Array, Array, dict[str, Array]]:
    """Gradient state at every boundary (mantissas), their exponents (base e), weight-gradient norms."""
    width, depth = 2 * stack.pairs, len(stack.order)
    readout = Readout.of(arch, last)
    gamma, c = loss_moments(arch, readout.q, readout.delta)
    gradient, exponent = readout.gradient @ np.array([1.0, c / gamma]), float(np.log(gamma))
    details, entries, blocks = [], [], []
    for segment in stack.segments:
        maps, found = _branch_maps(segment)
        entry = segment.step.backward(*segment.known.T, *segment.multipliers, *(x for m in maps for x in m))
        matrices = np.zeros((len(segment.layers), width * width))
        for at, value in enumerate(entry[: width * width]):
            if not _vanishes(value):
                matrices[:, at] = value
        blocks.append(list(matrices.reshape(-1, width, width)))
        entries.append(entry[width * width :])
        details.append(found)
    gradients = np.empty((depth + 1, width))
    rows, exponents = list(gradients), [exponent]
    rows[depth][:] = gradient
    for l in range(depth - 1, -1, -1):
        gradient = np.dot(blocks[stack.order[l]].pop(), rows[l + 1], out=rows[l])
        # a second moment is the largest entry; it is divided out before it leaves float64's range
        size = max(gradient.tolist())
        if not MANTISSAS[0] < size < MANTISSAS[1]:
            if not 0 < size < inf:
                raise AssumptionError(
                    f"the gradient variance leaves float64's range at layer {l}: under this scaling tokens "
                    "collapse while logits grow exponentially with depth; predict a shallower stack"
                )
            gradient /= size
            exponent += log(size)
        exponents.append(exponent)
    scales = np.array(exponents[::-1])
    own = [2 * at for at, (i, j) in enumerate(stack.segments[0].step.pairs) if i == j]
    lost = np.flatnonzero(~(gradients[:, own] >= 0).all(axis=1))
    if len(lost):
        raise AssumptionError(
            f"the gradient at layer {lost[-1]} is lost in rounding: tokens are equal to all digits while "
            "logits grow exponentially with depth; predict a shallower stack"
        )
    weights = {name: np.empty(depth) for name in arch.weights}
    for segment, found, entry in zip(stack.segments, details, entries, strict=True):
        layers = segment.layers.astype(int)
        behind = gradients[layers + 1].T
        at_branches = np.zeros((len(entry) // width, len(layers)))
        for at, value in enumerate(entry):
            if not _vanishes(value):
                at_branches[at // width] += value * behind[at % width]
        # blocks pass the gradient behind them on with its exponent
        norms = _weight_grads(segment, found, at_branches.T, scales[layers + 1], arch.tokens)
        for name, log_norm in norms.items():
            weights[name][layers] = log_norm
    return gradients, scales, weights


def _vanishes(entry: Any) -> bool:
    """Whether an entry of a backward matrix is zero at every layer, by its formula."""
    return isinstance(entry, int) and entry == 0


def _weight_grads(
    segment: Segment, details: list[dict[str, Array]], at_branches: Array, scales: Array, tokens: int
) -> dict[str, Array]:
    """Logarithms of the squared norms by matrix, over the segment's layers."""
    found: dict[str, Array] = {}
    for i, (component, gains, spread, (q, delta), maps, slopes) in enumerate(
        zip(
            segment.components,
            segment.gains,
            segment.spread.branches.T,
            segment.branch_inputs,
            details,
            segment.slopes,
            strict=True,
        )
    ):
        grad = at_branches[:, 2 * i : 2 * i + 2] * np.array([1 / (1 - segment.dropout), 1.0])
        if isinstance(component, Attention):
            norms = component.weight_grads(q, delta, spread, grad, gains, maps, slopes)
        else:
            norms = component.weight_grads(q, q - delta, grad[:, 0], grad[:, 1], gains, tokens, slopes)
        for name, value in norms.items():
            with np.errstate(divide="ignore"):
                log_norm = np.log(np.maximum(value, 0)) + scales
            # quadratic in the drop, whose logarithm has the variance U over networks
            found[name] = log_norm + 2 * segment.stray[:, i] if name in QUADRATIC else log_norm
    return found


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
