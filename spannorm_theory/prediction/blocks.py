"""The blocks of one wiring: their compiled step, its numbers at each layer, and the readout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..gaussian.head_norm import HeadNorm
from ..layers.attention import Attention
from ..layers.experts import MixtureOfExperts
from ..layers.feedforward import FeedForward
from ..layers.pointwise import Pointwise
from ..moments.differential import Gradient
from ..moments.schedule import branch_gains, over_layers
from ..moments.two_tokens import PairStep, pair_step
from ..spec.architecture import Architecture
from ..spec.graph import Branch, Trace
from .pair_variance import Spread

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
    over_width = arch.qk_norm_over == "width"
    require_whole_norms(arch)
    head_norm = HeadNorm(arch.width if over_width else arch.head_width, arch.norm) if normed else None
    if "query" in normed and head_norm is not None and not over_width:
        factor *= arch.head_width / head_norm.size  # LayerNorm: fewer coordinates are free, and larger
    unit = factor if "query" in normed else factor * gains["attn.query"] * gains["attn.key"]
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


@dataclass
class Segment:
    """All blocks of one wiring: their compiled step and its numbers at each layer.

    Attributes:
        layers: their indices, rising.
        known: (layers, numbers) in front of each block and behind each of its branches, as the step takes
            them.
        across: (layers, classes) second moments between a stream before and after the block.
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
    def of(cls, arch: Architecture, trace: Trace, places: tuple[int, ...], layers: Array) -> Segment:
        """The blocks of one wiring of an architecture, at ``layers``; ``places`` are the streams' classes of
        copies."""
        step = pair_step(trace, places)
        branches = step.trace.branches
        return cls(
            step,
            layers,
            [branch_moments(b, arch) for b in branches],
            [branch_gains(b, arch, layers) for b in branches],
            [over_layers(c, arch, layers) for c in step.coefficients],
            arch.dropout,
        )

    def first(self, layers: int) -> Segment:
        """The first ``layers`` of its blocks, whose moments are not known yet."""
        return Segment(
            self.step,
            self.layers[:layers],
            self.components,
            [{name: gain[:layers] for name, gain in gains.items()} for gains in self.gains],
            [c[:layers] for c in self.multipliers],
            self.dropout,
        )

    def keep(self, found: Array, done: int = 0) -> None:
        """Take what a forward pass found, of its layers but the first ``done``."""
        classes = len(self.step.firsts)
        known, across = found[:, :-classes], found[:, -classes:]
        if done:
            known = np.concatenate([self.known[:done], known])
            across = np.concatenate([self.across[:done], across])
        self.known, self.across = known, across
        for name in ("branch_inputs", "slopes", "derivatives"):
            self.__dict__.pop(name, None)

    @cached_property
    def branch_inputs(self) -> list[tuple[Array, Array]]:
        """(q, delta) at each branch's input, arrays over the segment's layers."""
        width = 2 * len(self.step.pairs)
        found = []
        for i, entering in enumerate(self.step.branch_inputs):
            values = entering(*self.known.T[: width + 2 * i], *self.multipliers)
            q, delta = (np.broadcast_to(np.asarray(x, dtype=float), self.layers.shape) for x in values)
            found.append((q, delta))
        return found

    @cached_property
    def slopes(self) -> list[Any]:
        """What each branch's maps need of its input: :class:`Slopes`, or :class:`AttentionInput`."""
        return [
            component.slopes(q, delta, gains)
            for component, gains, (q, delta) in zip(
                self.components, self.gains, self.branch_inputs, strict=True
            )
        ]

    @cached_property
    def derivatives(self) -> tuple[list[tuple[Gradient, Gradient]], list[Gradient]]:
        """What the step's ``differential`` gives here."""
        return self.step.differential(self.known.T, self.multipliers)


@dataclass(frozen=True)
class Readout:
    """The readout at the stream moments behind the last block.

    Attributes:
        q, delta: of the model's output.
        gradient: (2 x pairs of streams, 2), from (gamma, c) at the output to the gradient state there.
    """

    q: float
    delta: float
    gradient: Array

    @classmethod
    def of(cls, arch: Architecture, places: tuple[int, ...], state: Sequence[float]) -> Readout:
        """Evaluate an architecture's readout, which may hold element-wise functions but no weights;
        ``places`` are the streams' classes of copies."""
        step = pair_step(arch.definition.trace_readout(), places)
        known, maps = list(state), []
        multipliers = [float(c) for c in step.coefficients]
        for entering, branch in zip(step.branch_inputs, step.trace.branches, strict=True):
            component = Pointwise(branch.kind)
            q, delta = (float(x) for x in entering(*known, *multipliers))
            known.extend(component.forward(q, delta, {}))
            maps += [float(component.gain(q, q, q, {})), 0.0, 0.0, float(component.gain(q, q, q - delta, {}))]
        q, delta = step.outputs(*known, *multipliers)[:2]
        rows = np.array(step.backward(*known, *multipliers, *maps), dtype=float).reshape(step.shape)
        return cls(q, delta, rows[: 2 * len(step.gradients)])
