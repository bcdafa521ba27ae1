"""Per-layer predictions of the pair theory, for any placement and scaling, in milliseconds.

Forward, the state (q, delta) of every pair of streams is iterated block by block; backward, the
gradient moments obey a linear map that is computed for all layers at once and then iterated with its
exponent carried apart, so that no depth under- or overflows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..architecture import Architecture
from ..components.attention import Attention, require_exchangeable
from ..components.feedforward import FeedForward
from ..components.kernels import Array
from ..components.norms import HeadNorm
from ..definitions.trace import Branch
from ..errors import AssumptionError
from ..quantities import Key, tidy
from .ends import input_moments, input_spread, loss_moments
from .pair import PairStep, pair_readout, pair_step
from .prediction import Prediction
from .rank import rank_metrics
from .schedule import branch_gains, over_layers
from .spread import Spread


def branch_moments(branch: Branch, arch: Architecture) -> Attention | FeedForward:
    """The moments of a traced branch with the architecture's components."""
    if branch.kind == "ffn":
        return FeedForward(arch.nonlinearity, arch.width, arch.hidden)
    normed = arch.normed(branch.qkv_norm)
    gains = arch.base_gains
    unit = 1.0 if "query" in normed else gains["attn.query"] * gains["attn.key"]
    head_norm = HeadNorm(arch.head_width, arch.norm) if normed else None
    return Attention(arch.width, arch.tokens, arch.head_width, normed, head_norm, unit)


#: kernels multiply two second moments, whose product must be in float64's range
LARGEST_VARIANCE = 1e150


@dataclass
class _Segment:
    """A run of blocks with one wiring: its compiled step and its numbers at each layer."""

    step: PairStep
    layers: Array
    components: list[Attention | FeedForward]
    gains: list[dict[str, Array]]
    multipliers: list[Array]
    known: Array = field(default_factory=lambda: np.empty(0))
    across: Array = field(default_factory=lambda: np.empty(0))
    spread: Spread = field(init=False)

    @classmethod
    def of(cls, arch: Architecture, first: bool, layers: Array) -> _Segment:
        step = pair_step(arch.name, arch.scaling, tuple(sorted(arch.options.items())), first)
        branches = step.trace.branches
        return cls(
            step,
            layers,
            [branch_moments(b, arch) for b in branches],
            [branch_gains(b, arch, layers) for b in branches],
            [over_layers(c, arch, layers) for c in step.coefficients],
        )

    def branch_inputs(self) -> list[tuple[Array, Array]]:
        """(q, delta) at each branch's input, arrays over the segment's layers."""
        width = 2 * len(self.step.pairs)
        found = []
        for i, entering in enumerate(self.step.branch_inputs):
            values = entering(*self.known.T[: width + 2 * i], *self.multipliers)
            q, delta = (np.broadcast_to(np.asarray(x, dtype=float), self.layers.shape) for x in values)
            found.append((q, delta))
        return found


def predict_profiles(arch: Architecture) -> Prediction:
    """The theory that fits the architecture: the pair theory where tokens are alike, else the
    position-resolved one."""
    if arch.mask == "none":
        return predict_pair(arch)
    from .gram import predict_gram

    return predict_gram(arch)


def predict(arch: Architecture) -> pd.DataFrame:
    """Per-layer predictions as a tidy table.

    Returns:
        columns placement, scaling, depth, width, tokens, layer, stream, quantity, value, log_value
        (natural), theory ("pair", or "position-resolved" under a mask), and then se, the theory's own
        standard error (of the logarithm for squared norms). Moments per coordinate, weight gradients as
        squared Frobenius norms; the loss gradient at the model's output has second moment 1, that of a
        cross-entropy its own.

    Raises:
        AssumptionError: the architecture is outside the theory's assumptions, or left float64's range.
    """
    prediction = predict_profiles(arch)
    extra = None if prediction.errors is None else {"se": prediction.errors}
    return tidy(arch, prediction.profiles, extra).assign(theory=prediction.theory)


def predict_pair(arch: Architecture) -> Prediction:
    """Iterate the pair theory through the stack and back.

    Raises:
        AssumptionError: tokens are not exchangeable (a mask), or a moment left float64's range.
    """
    require_exchangeable(arch.mask)
    segments = [
        _Segment.of(arch, True, np.zeros(1)),
        _Segment.of(arch, False, np.arange(1.0, arch.depth)),
    ]
    segments = [s for s in segments if len(s.layers)]
    pairs = len(segments[0].step.pairs)
    state: tuple[float, ...] = input_moments(arch) * pairs
    spread: list[float] = [input_spread(arch)] * pairs
    for segment in segments:
        state = _forward(segment, state)
        spread = _spread(segment, spread, arch)
    states = np.concatenate([s.known[:, : 2 * pairs] for s in segments] + [np.array([state])])
    across = np.concatenate([s.across for s in segments])
    spreads = np.concatenate([s.spread.streams for s in segments] + [np.array([spread])])
    gradients, exponents, weights = _backward(arch, segments, state)
    profiles = _profiles(arch, segments[0].step, states, spreads, across, gradients, exponents, weights)
    undecided = np.concatenate([_undecided(s, arch) for s in segments])
    return Prediction(arch, profiles, "pair", undecided)


def _undecided(segment: _Segment, arch: Architecture) -> Array:
    rows = np.full(len(segment.layers), float(arch.heads * arch.tokens))
    for component, gains, (q, delta) in zip(
        segment.components, segment.gains, segment.branch_inputs(), strict=True
    ):
        if isinstance(component, Attention):
            rows = np.minimum(rows, arch.heads * arch.tokens * component.undecided(q, delta, gains))
    return rows


def _forward(segment: _Segment, state: tuple[float, ...]) -> tuple[float, ...]:
    """Iterate a segment; keeps the state and branch moments at each block, and what crosses it."""
    step, width = segment.step, len(state)
    history, across = [], []
    gains = [
        [dict(zip(g, row, strict=True)) for row in np.stack(list(g.values()), axis=1).tolist()]
        for g in segment.gains
    ]
    multipliers = np.array(segment.multipliers).reshape(-1, len(segment.layers)).T.tolist()
    work = list(zip(step.branch_inputs, segment.components, gains, strict=True))
    for l in range(len(segment.layers)):
        known, m = list(state), multipliers[l]
        largest = max(state)
        for entering, component, gain in work:
            q, delta = entering(*known, *m)
            largest = max(largest, q)
            if largest > LARGEST_VARIANCE:
                break
            known.extend(component.forward(q, delta, gain[l]))
        if not largest <= LARGEST_VARIANCE:
            raise AssumptionError(
                f"the forward variance leaves float64's range at layer {int(segment.layers[l])}: this "
                "placement grows exponentially with depth under this scaling; predict a shallower stack, "
                "or use derive(...).iterate for constant branch gains"
            )
        result = step.outputs(*known, *m)
        history.append(known)
        across.append(result[width:])
        state = tuple(result[:width])
    segment.known, segment.across = np.array(history), np.array(across)
    return state


def _spread(segment: _Segment, start: list[float], arch: Architecture) -> list[float]:
    """Iterate V, the variance over pairs of tokens, through a segment."""
    slopes = [
        None if isinstance(component, Attention) else component.gain(q, q, q - delta, gains)
        for component, gains, (q, delta) in zip(
            segment.components, segment.gains, segment.branch_inputs(), strict=True
        )
    ]
    segment.spread = Spread(segment.step, segment.known, segment.multipliers, slopes, start, 1 / arch.width)
    return segment.spread.last


def _entries(values: Any, shape: tuple[int, int], layers: int) -> Array:
    """A compiled matrix as an array (layers, rows, columns)."""
    columns = [np.broadcast_to(np.asarray(v, dtype=float), (layers,)) for v in values]
    return np.stack(columns, axis=1).reshape(layers, *shape)


def _branch_maps(segment: _Segment) -> tuple[list[Array], list[tuple[Any, ...]]]:
    """The 2 x 2 backward map of each branch at each layer, and what its weight gradients need."""
    maps: list[Array] = []
    details: list[tuple[Any, ...]] = []
    layers = len(segment.layers)
    for component, gains, (q, delta), spread in zip(
        segment.components, segment.gains, segment.branch_inputs(), segment.spread.branches.T, strict=True
    ):
        if isinstance(component, Attention):
            found = component.backward(q, delta, spread, gains)
            maps.append(found["stream"])
            details.append((q, delta, found))
        else:
            one = component.gain(q, q, q, gains)
            two = component.gain(q, q, q - delta, gains)
            zero = np.zeros(layers)
            flat = np.stack([one + zero, zero, zero, two + zero], axis=1)
            maps.append(flat.reshape(layers, 2, 2))
            details.append((q, delta, None))
    return maps, details


def _backward(
    arch: Architecture, segments: list[_Segment], last: tuple[float, ...]
) -> tuple[Array, Array, dict[str, Array]]:
    """Gradient state at every boundary (mantissas), their exponents (base e), weight-gradient norms."""
    width = 2 * len(segments[0].step.pairs)
    readout = pair_readout(arch.name)
    start = _entries(readout.backward(*last), readout.shape, 1)[0]
    gamma, c = loss_moments(arch, *readout.outputs(*last)[:2])
    gradient = start @ np.array([1.0, c / gamma])
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
    segment: _Segment,
    details: list[tuple[Any, ...]],
    at_branches: Array,
    scales: Array,
    weights: dict[str, list[Array]],
    tokens: int,
) -> None:
    for i, (component, gains, spread, (q, delta, maps)) in enumerate(
        zip(segment.components, segment.gains, segment.spread.branches.T, details, strict=True)
    ):
        grad = at_branches[:, 2 * i : 2 * i + 2]
        if isinstance(component, Attention):
            norms = component.weight_grads(q, delta, spread, grad, gains, maps)
        else:
            norms = component.weight_grads(q, q - delta, grad[:, 0], grad[:, 1], gains, tokens)
        for name, value in norms.items():
            with np.errstate(divide="ignore"):
                weights[name].append(np.log(np.maximum(value, 0)) + scales)


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
