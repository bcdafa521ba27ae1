"""A run of blocks with one wiring: its compiled step, its numbers at each layer, and the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..architecture import Architecture
from ..components.attention import Attention
from ..components.dropout import dropped_pair
from ..components.feedforward import FeedForward
from ..components.kernels import Array
from ..components.moe import MixtureOfExperts
from ..components.norms import HeadNorm
from ..components.pointwise import Pointwise
from ..definitions.trace import Branch, Trace
from ..errors import AssumptionError
from .fluctuation import Covariance, advance_fluctuation
from .pair import PairStep, pair_step
from .schedule import branch_gains, over_layers
from .spread import Spread

Component = Attention | FeedForward | Pointwise


def feedforward_moments(arch: Architecture, inner_norm: str | None) -> FeedForward:
    """The moments of an architecture's feed-forward branch, dense or of experts."""
    if arch.experts == 1:
        return FeedForward(arch.nonlinearity, arch.width, arch.hidden, inner_norm)
    return MixtureOfExperts(
        arch.nonlinearity,
        arch.width,
        arch.hidden,
        experts=arch.experts,
        top_k=arch.top_k,
        shared=arch.shared_experts,
        renormalised=arch.gates == "renormalised",
        unit_logits=arch.base_gains["ffn.router"],
    )


def branch_moments(branch: Branch, arch: Architecture) -> Component:
    """The moments of a traced branch with the architecture's components."""
    if branch.elementwise:
        return Pointwise(branch.kind)
    inner_norm = arch.norm if branch.inner_norm else None
    if branch.kind == "ffn":
        return feedforward_moments(arch, inner_norm)
    normed = arch.normed(branch)
    gains = arch.base_gains
    factor = 1 / arch.head_width if arch.logit_scale == "linear" else 1.0
    unit = factor if "query" in normed else factor * gains["attn.query"] * gains["attn.key"]
    over_width = arch.qk_norm_over == "width"
    require_whole_norms(arch)
    head_norm = HeadNorm(arch.width if over_width else arch.head_width, arch.norm) if normed else None
    return Attention(
        arch.width,
        arch.tokens,
        arch.head_width,
        normed,
        head_norm,
        unit,
        branch.inner_norm,
        logit_factor=factor,
        over_width=over_width,
        dropout=arch.attention_dropout,
    )


def require_whole_norms(arch: Architecture) -> None:
    """Refuse norms that run over another width for keys than for queries."""
    if arch.qk_norm_over == "width" and arch.kv_heads is not None:
        raise AssumptionError(
            f"norms over the width of kv_heads={arch.kv_heads} shared heads are not derived; use "
            "qk_norm_over='head', or kv_heads=None"
        )


#: closed forms take the product of two second moments to the power 3/2, which must be in float64's range
LARGEST_VARIANCE = 1e100


def segments_of(arch: Architecture) -> list[Segment]:
    """The stack's runs of blocks of one wiring."""
    return [Segment.of(arch, trace, np.array(layers, dtype=float)) for trace, layers in arch.runs]


@dataclass
class Segment:
    """A run of blocks with one wiring: its compiled step and its numbers at each layer.

    Attributes:
        known: (layers, numbers) in front of each block and behind each of its branches, as the step takes
            them.
        spread, stray: how covariances vary over token pairs, and the drop over networks.
    """

    step: PairStep
    layers: Array
    components: list[Component]
    gains: list[dict[str, Array]]
    multipliers: list[Array]
    dropout: float
    known: Array = field(default_factory=lambda: np.empty(0))
    across: Array = field(default_factory=lambda: np.empty(0))
    spread: Spread = field(init=False)
    stray: Array = field(init=False)

    @classmethod
    def of(cls, arch: Architecture, trace: Trace, layers: Array) -> Segment:
        """The blocks of one wiring of an architecture, at ``layers``."""
        step = pair_step(trace)
        branches = step.trace.branches
        return cls(
            step,
            layers,
            [branch_moments(b, arch) for b in branches],
            [branch_gains(b, arch, layers) for b in branches],
            [over_layers(c, arch, layers) for c in step.coefficients],
            arch.dropout,
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


def undecided(segment: Segment, arch: Architecture) -> Array:
    """Rows of attention weights, over heads and tokens, that are expected to be more than a maximum."""
    rows = np.full(len(segment.layers), float(arch.heads * arch.tokens))
    for component, gains, (q, delta) in zip(
        segment.components, segment.gains, segment.branch_inputs(), strict=True
    ):
        if isinstance(component, Attention):
            rows = np.minimum(rows, arch.heads * arch.tokens * component.undecided(q, delta, gains))
    return rows


def forward(segment: Segment, state: tuple[float, ...], spreads: Array | None = None) -> tuple[float, ...]:
    """Iterate a segment; keeps the state and branch moments at each block, and what crosses it.

    ``spreads`` (layers, branches), V at each branch's input, corrects branches of experts for it.
    """
    step, width = segment.step, len(state)
    history, across, rate = [], [], segment.dropout
    gains: list[list[dict[str, float]]] = [
        [dict(zip(g, row, strict=True)) for row in zip(*(x.tolist() for x in g.values()), strict=True)]
        if g
        else [{}] * len(segment.layers)
        for g in segment.gains
    ]
    multipliers = np.array(segment.multipliers).reshape(-1, len(segment.layers)).T.tolist()
    work = list(zip(step.branch_inputs, segment.components, gains, strict=True))
    for l in range(len(segment.layers)):
        known, m = list(state), multipliers[l]
        largest = max(state)
        for i, (entering, component, gain) in enumerate(work):
            q, delta = entering(*known, *m)
            largest = max(largest, q)
            if largest > LARGEST_VARIANCE:
                break
            moments = component.forward(q, delta, gain[l])
            if spreads is not None and isinstance(component, MixtureOfExperts):
                moments = moments[0], moments[1] + component.bend(q, delta, gain[l], spreads[l, i])
            known.extend(dropped_pair(*moments, rate) if rate else moments)
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


@dataclass(frozen=True)
class Readout:
    """The readout at the stream moments behind the last block.

    Attributes:
        q, delta: of the model's output.
        gradient: (2 x stream pairs, 2), from (gamma, c) at the output to the gradient state there.
    """

    q: float
    delta: float
    gradient: Array

    @classmethod
    def of(cls, arch: Architecture, state: Sequence[float]) -> Readout:
        """Evaluate an architecture's readout, which may hold element-wise functions but no weights."""
        step = pair_step(arch.definition.trace_readout())
        known, maps = list(state), []
        multipliers = [float(c) for c in step.coefficients]
        for entering, branch in zip(step.branch_inputs, step.trace.branches, strict=True):
            component = Pointwise(branch.kind)
            q, delta = (float(x) for x in entering(*known, *multipliers))
            known.extend(component.forward(q, delta, {}))
            maps += [float(component.gain(q, q, q, {})), 0.0, 0.0, float(component.gain(q, q, q - delta, {}))]
        q, delta = step.outputs(*known, *multipliers)[:2]
        rows = np.array(step.backward(*known, *multipliers, *maps), dtype=float).reshape(step.shape)
        return cls(q, delta, rows[: len(state)])


@dataclass(frozen=True)
class FiniteWidth:
    """What a finite width makes of a stack in front of some block: V of each stream pair, and the
    covariance of :mod:`.fluctuation`."""

    spread: list[float]
    deviations: Covariance = (0.0, 0.0, 0.0)


def advance_finite_width(segment: Segment, start: FiniteWidth, arch: Architecture) -> FiniteWidth:
    """Iterate it through a segment whose moments are known; keeps V and U at each branch's input."""
    drops = segment.known.T[2 * len(segment.step.pairs) + 1 :: 2]
    answers = [
        (component.response(q, delta, drop, gains), component.scatter(q, delta, drop, gains))
        for component, gains, (q, delta), drop in zip(
            segment.components, segment.gains, segment.branch_inputs(), drops, strict=True
        )
    ]
    segment.spread = Spread(
        segment.step, segment.known, segment.multipliers, answers, start.spread, 1 / arch.width
    )
    segment.stray, deviations = advance_fluctuation(segment, start.deviations, arch.width)
    return FiniteWidth(segment.spread.last, deviations)
