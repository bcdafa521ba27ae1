"""V through a stack, and experts, which read it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory import Architecture, predict
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.gaussian.closed_forms import Array
from spannorm_theory.prediction import exchangeable
from spannorm_theory.prediction.boundary import input_pair_variance
from spannorm_theory.prediction.exchangeable import input_state, predict_forward
from spannorm_theory.prediction.forward import forward
from spannorm_theory.prediction.pair_variance import pair_variance
from spannorm_theory.prediction.profiles import of_stream
from spannorm_theory.prediction.stack import Stack

ALIKE = {"tokens": 16, "input_cosine": 0.99}


def passed(arch: Architecture) -> tuple[Stack, Array]:
    """A stack, and V at every boundary where experts do not read it."""
    stack = Stack.of(arch)
    moments = forward(stack, input_state(arch, stack))
    return stack, pair_variance(stack, moments.wirings, input_pair_variance(arch), arch.width).streams


@pytest.mark.exact
@pytest.mark.usefixtures("registries")
def test_branches_that_forget_keep_v_and_linear_ones_add_to_it() -> None:
    """V' = (w + (1 - w) eta)^2 V + (1 - w^2)/d + (1 - w)^2/m with m hidden units; here eta = 1."""

    @st.placement("linear-ffn", title="one sublayer", source="test")
    def linear_ffn(x: Any, net: Any) -> Any:
        """x + ffn(N(x))."""
        return net.add(x, net.ffn(net.norm(x)))

    arch = Architecture("linear-ffn", depth=1, width=512, heads=8, tokens=16, activation="linear")
    _, v = passed(arch)
    w = 0.5  # one of two equal second moments
    expected = 1 / 512 + (1 - w**2) / 512 + (1 - w) ** 2 / 2048
    assert v[-1, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "scaling", "options"),
    [
        ("pre-norm", "unit", {}),
        ("dyt", "unit", {"inputs": "zipf", "width": 1024}),
        # V begins above one and falls as a power
        ("output-norm", "wang", {"norm": "layer", "experts": 64, "top_k": 1, **ALIKE}),
        # V rises a hundredfold in layers 30 to 70
        ("hybrid-norm", "small-init", {"inputs": "zipf", "width": 1024}),
    ],
)
def test_moments_are_those_of_the_v_that_they_lead_to(
    placement: str, scaling: str, options: dict[str, Any]
) -> None:
    arch = Architecture(placement, scaling, depth=120, **{"experts": 8, "top_k": 2, **options})
    stack, start = Stack.of(arch), input_state(arch, Stack.of(arch))
    without = moments = forward(stack, start)
    for _ in range(15):
        v = pair_variance(stack, moments.wirings, input_pair_variance(arch), arch.width)
        moments = forward(stack, start, v.branches)
    found = 1 - predict_forward(arch).profiles["0", "token_cosine"]
    drops = [1 - of_stream(m, 0)[0]["token_cosine"] for m in (moments, without)]
    # experts make an eighth of V of a gap, and V was let move by SETTLED at the last pass
    np.testing.assert_allclose(found, drops[0], rtol=10 * exchangeable.SETTLED)
    assert np.abs(np.log(drops[1] / found)).max() > 1e-4  # and it matters


@pytest.mark.exact
def test_v_that_does_not_settle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchangeable, "PASSES", 1)
    with pytest.raises(AssumptionError, match="still moves after 1 passes"):
        predict(Architecture("post-norm", depth=40, experts=8, top_k=2))


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
