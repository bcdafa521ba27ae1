"""Stacks of an architecture by the pair theory: the values beside a law, and what holds it where gains move.

A law is of constant gains, at aligned tokens. A stack's own tokens start apart, so that its first blocks
have others; and gains are constant only where a branch's input keeps its second moment. Where that shrinks or
grows with depth (norms divided by the root of the layer's index, streams without a norm, element-wise
functions in its place), an activation's gains move with it: GELU's towards phi'(0)^2 = 1/4 for small inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..base.errors import SpannormError
from ..base.quantities import INPUT, Key
from ..derivation.recurrence import Recurrence
from ..gaussian.closed_forms import Array
from ..prediction.exchangeable import input_state
from ..prediction.forward import forward
from ..prediction.predict import predict_profiles
from ..prediction.stack import Stack
from ..spec.architecture import Architecture
from ..spec.fields import Fields

#: fields of what tells tokens apart, and of a head, which stacks beside a law have at their defaults
LEFT_OUT = (
    *("mask", "window", "attention_pattern", "positions", "rotary_base", "rotary_share", "sinks"),
    *("loss", "head_gain", "logit_multiplier", "logit_cap", "tied_head", "embedding_multiplier", "batch"),
)

#: 1 - rho of aligned tokens: small enough that their differences stay linear, and large beside rounding
APART = 1e-9


def keeps_sizes(recurrence: Recurrence) -> bool:
    """Whether every feed-forward branch of a deep stack reads an input of second moment one."""
    return all(
        size == 1
        for step in recurrence.turns
        for branch, size in zip(step.trace.branches, step.branch_sizes, strict=True)
        if branch.kind == "ffn"
    )


class Stacks:
    """Stacks of any depth without a mask, for a unit gradient at the model's output and an input of second
    moment one."""

    def __init__(self, arch: Architecture, *, aligned: bool) -> None:
        """``aligned``: tokens and their gradients start as good as equal, else as the architecture has it."""
        equal = {"inputs": "gaussian", "position_variance": 0.0, "input_cosine": 1 - APART, "loss": "mean"}
        own = LEFT_OUT if arch.reads_ids and not aligned else (*LEFT_OUT, "vocabulary")
        plain = {name: getattr(Fields, name) for name in own}
        self._arch = arch.with_(**{**plain, **(equal if aligned else {})})
        self._found: dict[int, Mapping[tuple[str, int], float]] = {}

    def _of_depth(self, depth: int) -> Architecture:
        """The stack of one depth, whatever the scaling rule does to the embedding."""
        arch = self._arch.with_(depth=depth)
        size = arch.input_second_moment
        return arch.with_(
            input_variance=arch.input_variance / size, position_variance=arch.position_variance / size
        )

    def sizes(self, depth: int) -> dict[str, float]:
        """Second moment at the input of the last block's branches, by their kind; empty where the stack
        leaves float64's range."""
        arch = self._of_depth(depth)
        stack = Stack.of(arch)
        try:
            moments = forward(stack, input_state(arch, stack))
        except SpannormError:
            return {}
        last = moments.wirings[stack.order[-1]]
        branches = zip(last.blocks.step.trace.branches, last.branch_inputs, strict=True)
        return {branch.kind: float(q[-1]) for branch, (q, _) in branches}

    def logs(self, name: str, stream: int, depths: Sequence[int]) -> list[float]:
        """ln of a quantity at ``depths``; empty where the theory declines one of the stacks."""
        found = [self._at(depth) for depth in depths]
        return [one[name, stream] for one in found] if all(found) else []

    def _at(self, depth: int) -> Mapping[tuple[str, int], float]:
        """The quantities of one stack, by name and stream; none where the theory declines it."""
        if depth not in self._found:
            try:
                with np.errstate(over="ignore", invalid="ignore"):  # what leaves float64's range is no value
                    self._found[depth] = self._ends(predict_profiles(self._of_depth(depth)).profiles)
            except SpannormError:
                self._found[depth] = {}
        return self._found[depth]

    def _ends(self, profiles: Mapping[Key, Array]) -> dict[tuple[str, int], float]:
        found: dict[tuple[str, int], float] = {}
        count = self._arch.definition.streams
        gradient = profiles[INPUT if count > 1 else ("0", "grad_variance")]
        for stream in range(count):
            residual = profiles[str(stream), "rank_residual"]
            found["forward", stream] = float(profiles[str(stream), "variance"][-1])
            found["collapse", stream] = float(2 * (residual[-1] - residual[0]))
            found["gradient", stream] = float(gradient[0])
            found["ratio", stream] = float(gradient[0] - gradient[-1])
        return found
