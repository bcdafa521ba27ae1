"""The blocks of one wiring: their step, its numbers at each layer, and the moments that a stack has there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.attention import Attention
from ..layers.feedforward import FeedForward
from ..layers.gate import Gate
from ..layers.pointwise import Pointwise
from ..moments.branches import branch_moments
from ..moments.differential import Gradient
from ..moments.schedule import branch_gains, output_factors
from ..moments.two_tokens import PairStep, pair_step
from ..spec.architecture import Architecture
from ..spec.expressions import over_layers
from ..spec.graph import SUBLAYERS, Trace

Component = Attention | FeedForward | Gate | Pointwise


@dataclass(frozen=True)
class WiredBlocks:
    """All blocks of one wiring.

    Attributes:
        arch: the architecture whose fields are theirs.
        step: one block, compiled.
        layers: their indices in the stack, rising; (layers,).
        components: the component of each branch, which has its moments.
        gains: sigma_W^2 of each branch's matrices by name, each (layers,).
        outputs: squares of the rule's factors on what matrices put out, likewise, where there are any.
        multipliers: values of the step's coefficients, each (layers,).
        dropout: p_o of each branch, the rate of dropout on its output; none where it has no weights.
    """

    arch: Architecture
    step: PairStep
    layers: Array
    components: list[Component]
    gains: list[dict[str, Array]]
    outputs: list[dict[str, Array]]
    multipliers: list[Array]
    dropout: list[float]

    @classmethod
    def of(cls, arch: Architecture, trace: Trace, places: tuple[int, ...], layers: Array) -> WiredBlocks:
        """The blocks of an architecture that are wired as ``trace``, at ``layers``; ``places`` are the
        streams' classes of copies."""
        step = pair_step(trace, places)
        branches = step.trace.branches
        return cls(
            arch,
            step,
            layers,
            [branch_moments(b, arch, step.trace.only_normed(b)) for b in branches],
            [branch_gains(b, arch, layers) for b in branches],
            [output_factors(b, arch, layers) for b in branches],
            [over_layers(c, arch, layers) for c in step.coefficients],
            [arch.dropout if b.kind in SUBLAYERS else 0.0 for b in branches],
        )


@dataclass(frozen=True)
class BlockMoments:
    """Second moments of two tokens in the blocks of one wiring, per coordinate.

    Attributes:
        blocks: the wiring.
        q, delta: second moment and drop (q minus the covariance of two tokens) of each source of a block: the
            pairs of stream classes in front of it, then the outputs of its branches; (sources, layers).
    """

    blocks: WiredBlocks
    q: Array
    delta: Array

    @property
    def pairs(self) -> int:
        """Number of the sources that are stream pairs."""
        return len(self.blocks.step.pairs)

    @cached_property
    def branch_inputs(self) -> list[tuple[Array, Array]]:
        """(q, delta) at each branch's input, each (layers,)."""
        blocks, found = self.blocks, []
        for known, entering in enumerate(blocks.step.branch_inputs, self.pairs):
            values = entering(self.q[:known], self.delta[:known], blocks.multipliers)
            q, delta = (np.broadcast_to(np.asarray(x, dtype=float), blocks.layers.shape) for x in values)
            found.append((q, delta))
        return found

    @cached_property
    def branches(self) -> list[Any]:
        """A :class:`BranchInput` or :class:`AttentionInput` of each branch, its moments at its input."""
        parts = zip(self.blocks.components, self.blocks.gains, self.branch_inputs, strict=True)
        return [component.at(q, delta, gains) for component, gains, (q, delta) in parts]

    @cached_property
    def derivatives(self) -> tuple[list[tuple[Gradient, Gradient]], list[Gradient]]:
        """Derivatives of the step's moments here: :meth:`Differential.__call__`."""
        return self.blocks.step.differential(self.q, self.delta, self.blocks.multipliers)
