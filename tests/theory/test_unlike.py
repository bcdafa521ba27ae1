"""V of stacks whose experts answer to it, against iterating moments and V until both stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spannorm_theory import Architecture
from spannorm_theory.components.kernels import Array
from spannorm_theory.theory import unlike
from spannorm_theory.theory.ends import input_moments, input_spread
from spannorm_theory.theory.stack import Stack, forward, pair_spread
from spannorm_theory.theory.unlike import settled

LATE = {"activation": "swiglu", "width": 2048, "tokens": 16, "experts": 64, "top_k": 1, "qkv_norm": True}


def _log_drop(stack: Stack) -> Array:
    return stack.over_layers(lambda segment: np.log(segment.known[:, 1]))


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "scaling", "options", "passes"),
    [
        ("pre-norm", "unit", {}, 2),
        ("dyt", "unit", {"inputs": "zipf", "width": 1024}, 2),
        ("span-norm", "depth-scaled-init", {"inputs": "zipf"}, 2),
        ("residual", "small-init", {}, 2),
        # pairs are routed apart only behind the layers that are iterated first
        ("parallel-post", "ds-init-code", LATE, 3),
    ],
)
def test_moments_and_v_settle_together(
    monkeypatch: pytest.MonkeyPatch, placement: str, scaling: str, options: dict[str, Any], passes: int
) -> None:
    """To order 1/d, in ``passes`` passes, the first of which is over the first layers."""
    arch = Architecture(placement, scaling, depth=240, **{"experts": 8, "top_k": 2, **options})
    stack, spread = Stack.of(arch), input_spread(arch)
    start = input_moments(arch) * stack.pairs
    lengths: list[int] = []

    def counted(stack: Stack, *rest: Any) -> tuple[float, ...]:
        lengths.append(len(stack.order))
        return forward(stack, *rest)

    monkeypatch.setattr(unlike, "forward", counted)
    settled(stack, start, spread, arch.width)
    assert (lengths[0], lengths.count(240)) == (64, passes - 1)
    found = _log_drop(stack)
    for _ in range(5):
        forward(stack, start, [segment.spread.branches for segment in stack.segments])
        pair_spread(stack, spread, arch.width)
    ends = _log_drop(stack)
    assert np.abs(found - ends).max() < 4 / arch.width
    forward(stack, start)
    if passes == 3:
        assert np.abs(_log_drop(stack) - ends).max() > 100 / arch.width  # what V does


@pytest.mark.exact
def test_a_stack_without_experts_is_passed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    arch, calls = Architecture("pre-norm", depth=100), []
    stack = Stack.of(arch)
    monkeypatch.setattr(unlike, "forward", lambda *args: calls.append(args) or forward(*args))
    settled(stack, input_moments(arch) * stack.pairs, input_spread(arch), arch.width)
    assert len(calls) == 1
