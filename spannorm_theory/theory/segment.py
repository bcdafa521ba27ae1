"""A run of blocks with one wiring: its compiled step, its numbers at each layer, and the forward pass."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..architecture import Architecture
from ..components.attention import Attention
from ..components.feedforward import FeedForward
from ..components.kernels import Array
from ..components.norms import HeadNorm
from ..definitions.trace import Branch
from ..errors import AssumptionError
from .fluctuation import Covariance, advance_fluctuation
from .pair import PairStep, pair_step
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


def segments_of(arch: Architecture) -> list[Segment]:
    """The stack's runs of blocks: the first block, and all others where there are any."""
    first, other = np.zeros(1), np.arange(1.0, arch.depth)
    return [Segment.of(arch, layers is first, layers) for layers in (first, other) if len(layers)]


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
    components: list[Attention | FeedForward]
    gains: list[dict[str, Array]]
    multipliers: list[Array]
    known: Array = field(default_factory=lambda: np.empty(0))
    across: Array = field(default_factory=lambda: np.empty(0))
    spread: Spread = field(init=False)
    stray: Array = field(init=False)

    @classmethod
    def of(cls, arch: Architecture, first: bool, layers: Array) -> Segment:
        """The (first or any other) block of an architecture at ``layers``."""
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


@dataclass(frozen=True)
class FiniteWidth:
    """What a finite width makes of a stack in front of some block: V of each stream pair, and the
    covariance of :mod:`.fluctuation`."""

    spread: list[float]
    deviations: Covariance = (0.0, 0.0, 0.0)


def advance_finite_width(segment: Segment, start: FiniteWidth, arch: Architecture) -> FiniteWidth:
    """Iterate it through a segment whose moments are known; keeps V and U at each branch's input."""
    slopes = [
        None if isinstance(component, Attention) else component.gain(q, q, q - delta, gains)
        for component, gains, (q, delta) in zip(
            segment.components, segment.gains, segment.branch_inputs(), strict=True
        )
    ]
    segment.spread = Spread(
        segment.step, segment.known, segment.multipliers, slopes, start.spread, 1 / arch.width
    )
    segment.stray, deviations = advance_fluctuation(segment, start.deviations, arch.width)
    return FiniteWidth(segment.spread.last, deviations)
