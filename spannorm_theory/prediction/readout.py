"""The readout of a stack: its moments, and the gradient that it hands back to the last block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.pointwise import Pointwise
from ..moments.two_tokens import pair_step
from ..spec.architecture import Architecture


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
