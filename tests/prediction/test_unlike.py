"""V of stacks whose experts answer to it, against iterating moments and V until both stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spannorm_theory import Architecture, predict
from spannorm_theory.gaussian.closed_forms import Array
from spannorm_theory.prediction import unlike
from spannorm_theory.prediction.boundary import input_moments, input_spread
from spannorm_theory.prediction.forward import forward
from spannorm_theory.prediction.stack import Stack, pair_spread
from spannorm_theory.prediction.unlike import settled
from spannorm_theory.softmax.top_k import routing

LATE = {"activation": "swiglu", "width": 2048, "tokens": 16, "experts": 64, "top_k": 1, "qkv_norm": True}

ALIKE = {"tokens": 16, "input_cosine": 0.99, "logit_variance": 1.0}


def _log_drop(stack: Stack) -> Array:
    return stack.over_layers(lambda segment: np.log(segment.known[:, 1]))


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "scaling", "options", "passes"),
    [
        ("pre-norm", "unit", {}, [64, 176]),
        ("dyt", "unit", {"inputs": "zipf", "width": 1024}, [64, 176]),
        ("residual", "small-init", {"inputs": "zipf", "width": 512}, [64, 176]),
        # V begins above one and falls as a power
        ("output-norm", "wang", {"norm": "layer", "experts": 64, "top_k": 1, **ALIKE}, [64, 64, 64, 176]),
        # V rises a hundredfold in layers 30 to 70
        ("hybrid-norm", "small-init", {"inputs": "zipf", "width": 1024}, [64, 160, 160, 80]),
        # pairs are routed apart by the stack itself
        ("parallel-post", "ds-init-code", LATE, [64, 160, 240, 0]),
    ],
)
def test_moments_and_v_settle_together(
    monkeypatch: pytest.MonkeyPatch, placement: str, scaling: str, options: dict[str, Any], passes: list[int]
) -> None:
    """To order 1/d, in passes over so many layers."""
    arch = Architecture(placement, scaling, depth=240, **{"experts": 8, "top_k": 2, **options})
    stack, spread = Stack.of(arch), input_spread(arch)
    start = input_moments(arch) * stack.pairs
    lengths: list[int] = []

    def counted(stack: Stack, *rest: Any) -> tuple[float, ...]:
        lengths.append(len(stack.order) - (rest[2] if len(rest) > 2 else 0))
        return forward(stack, *rest)

    monkeypatch.setattr(unlike, "forward", counted)
    settled(stack, start, spread, arch.width)
    assert lengths == passes
    found = _log_drop(stack)
    for _ in range(5):
        forward(stack, start, [segment.spread.branches for segment in stack.segments])
        pair_spread(stack, spread, arch.width)
    ends = _log_drop(stack)
    forward(stack, start)
    effect = np.abs(_log_drop(stack) - ends).max()
    # one correction leaves the next order in V
    assert np.abs(found - ends).max() < 4 / arch.width + effect / 5
    assert effect > 0.05 or passes == [64, 176]


@pytest.mark.exact
def test_what_is_not_noticed_is_below_the_error_of_the_tables() -> None:
    """Experts make of V an eighth of it."""
    assert (
        min(routing(*kind, 1.0).errors["gap"] for kind in ((8, 2, True), (4, 2, False))) > unlike.TABLES / 8
    )


@pytest.mark.exact
def test_a_stack_without_experts_is_passed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    arch, calls = Architecture("pre-norm", depth=100), []
    stack = Stack.of(arch)
    monkeypatch.setattr(unlike, "forward", lambda *args: calls.append(args) or forward(*args))
    settled(stack, input_moments(arch) * stack.pairs, input_spread(arch), arch.width)
    assert len(calls) == 1


@pytest.mark.exact
@pytest.mark.parametrize(
    "changes", [{"experts": 1, "top_k": 1}, {"inputs": "gaussian"}, {"mask": "causal"}, {}], ids=str
)
def test_weight_gradients_that_repeated_tokens_move_are_left_out(changes: dict[str, Any]) -> None:
    """Position by position experts' are known, and so are those of dense stacks and of unlike tokens."""
    options = {"width": 128, "tokens": 16, "experts": 8, "top_k": 2, "inputs": "zipf", **changes}
    table = predict(Architecture("pre-norm", depth=2, **options))
    norms = table[table.quantity == "weight_grad_norm"]
    left_out = {"attn.query", "attn.key", "ffn.up", "ffn.down", "ffn.router"}
    assert set(norms[norms.value.isna()].stream) == (set() if changes else left_out)
    assert not norms[norms.stream == "attn.value"].value.isna().any()
