"""The readout of a stack: its moments, and the gradient that it hands back to the last block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.pointwise import Pointwise
from ..moments.two_tokens import pair_step
from ..spec.architecture import Architecture
from .forward import State


@dataclass(frozen=True)
class Readout:
    """The readout at the stream moments behind the last block.

    Attributes:
        q, delta: second moment of the model's output, and its drop.
        gradient: map from (gamma, c) at the output to the gradient state in front, (2 x stream pairs, 2).
    """

    q: float
    delta: float
    gradient: Array

    @classmethod
    def of(cls, arch: Architecture, places: tuple[int, ...], state: State) -> Readout:
        """Evaluate an architecture's readout, which may hold element-wise functions but no weights.

        Args:
            places: the streams' classes of copies.
            state: moments behind the last block.
        """
        step = pair_step(arch.readout, places)
        sources_q, sources_delta, maps = [*state.q], [*state.delta], list[float]()
        multipliers = [float(c) for c in step.coefficients]
        for entering, branch in zip(step.branch_inputs, step.trace.branches, strict=True):
            component = Pointwise(branch.kind)
            q, delta = (float(x) for x in entering(sources_q, sources_delta, multipliers))
            out_q, out_delta = component.forward(q, delta, {})
            sources_q.append(out_q)
            sources_delta.append(out_delta)
            maps += [float(component.gain(q, q, q, {})), 0.0, 0.0, float(component.gain(q, q, q - delta, {}))]
        q, delta, *_ = step.outputs(sources_q, sources_delta, multipliers)
        rows = np.array(step.backward(sources_q, sources_delta, multipliers, maps), dtype=float)
        return cls(q, delta, rows.reshape(step.shape)[: 2 * len(step.gradients)])
