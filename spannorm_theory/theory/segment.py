"""A run of blocks with one wiring: its compiled step, its numbers at each layer, and the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..architecture import Architecture
from ..components.attention import Attention
from ..components.feedforward import FeedForward
from ..components.kernels import Array
from ..components.norms import HeadNorm
from ..components.pointwise import Pointwise
from ..definitions.trace import Branch, Trace
from ..errors import AssumptionError
from .pair import PairStep, pair_step
from .schedule import branch_gains, over_layers
from .spread import Spread

Component = Attention | FeedForward | Pointwise


def branch_moments(branch: Branch, arch: Architecture) -> Component:
    """The moments of a traced branch with the architecture's components."""
    if branch.elementwise:
        return Pointwise(branch.kind)
    inner_norm = arch.norm if branch.inner_norm else None
    if branch.kind == "ffn":
        return FeedForward(arch.nonlinearity, arch.width, arch.hidden, inner_norm)
    normed = arch.normed(branch)
    gains = arch.base_gains
    unit = 1.0 if "query" in normed else gains["attn.query"] * gains["attn.key"]
    head_norm = HeadNorm(arch.head_width, arch.norm) if normed else None
    return Attention(arch.width, arch.tokens, arch.head_width, normed, head_norm, unit, branch.inner_norm)


#: closed forms take the product of two second moments to the power 3/2, which must be in float64's range
LARGEST_VARIANCE = 1e100


@dataclass
class Segment:
    """A run of blocks with one wiring: its compiled step and its numbers at each layer."""

    step: PairStep
    layers: Array
    components: list[Component]
    gains: list[dict[str, Array]]
    multipliers: list[Array]
    known: Array = field(default_factory=lambda: np.empty(0))
    across: Array = field(default_factory=lambda: np.empty(0))
    spread: Spread = field(init=False)

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


def forward(segment: Segment, state: tuple[float, ...]) -> tuple[float, ...]:
    """Iterate a segment; keeps the state and branch moments at each block, and what crosses it."""
    step, width = segment.step, len(state)
    history, across = [], []
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
        for entering, branch in zip(step.branch_inputs, step.trace.branches, strict=True):
            component = Pointwise(branch.kind)
            q, delta = (float(x) for x in entering(*known))
            known.extend(component.forward(q, delta, {}))
            maps += [float(component.gain(q, q, q, {})), 0.0, 0.0, float(component.gain(q, q, q - delta, {}))]
        q, delta = step.outputs(*known)[:2]
        rows = np.array(step.backward(*known, *maps), dtype=float).reshape(step.shape)
        return cls(q, delta, rows[: len(state)])


def advance_spread(segment: Segment, start: list[float], arch: Architecture) -> list[float]:
    """Iterate V, the variance over pairs of tokens, through a segment."""
    slopes = [
        None if isinstance(component, Attention) else component.gain(q, q, q - delta, gains)
        for component, gains, (q, delta) in zip(
            segment.components, segment.gains, segment.branch_inputs(), strict=True
        )
    ]
    segment.spread = Spread(segment.step, segment.known, segment.multipliers, slopes, start, 1 / arch.width)
    return segment.spread.last
