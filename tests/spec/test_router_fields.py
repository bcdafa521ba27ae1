"""Fields of routers: what has no effect, or no meaning, is refused."""

from __future__ import annotations

from typing import Any

import pytest

from spannorm_theory import Architecture
from spannorm_theory.base.errors import InputError

EIGHT: dict[str, Any] = {"experts": 8, "top_k": 2}


@pytest.mark.exact
def test_a_router_has_a_gain_of_its_own() -> None:
    arch = Architecture("pre-norm", **EIGHT, init=0.02, router_gain=3, shared_experts=1, shared_gate=True)
    assert arch.base_gains["ffn.router"] == 3.0
    assert arch.base_gains["ffn.shared_gate"] == pytest.approx(256 * 0.02**2)
    assert arch.weights["ffn.shared_gate"] == (256, 1)
    assert Architecture.parse(str(arch)) == arch
    assert "router_gain=3.0 shared_gate=True" in str(arch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts": 1, "top_k": 1, "routed_scale": 2.5}, "routed_scale=2.5 needs experts of at least 2"),
        ({"shared_gate": True}, "shared_gate has no effect without shared experts"),
        ({"top_k": 1, "gates": "sigmoid"}, "gates='sigmoid' is 1 for one chosen expert"),
        ({"top_k": 1, "router_gain": 2.0}, "router_gain has no effect on the one renormalised gate"),
        ({"router_gain": 0}, "router_gain must be"),
        ({"routed_scale": -1}, "routed_scale must be"),
        ({"expert_groups": 3, "top_groups": 2}, "must part experts=8 into equal groups"),
        ({"expert_groups": 8, "top_groups": 2}, "into equal groups of two or more"),
        ({"expert_groups": 2, "top_groups": 2}, "top_groups must be fewer than expert_groups=2"),
        ({"top_groups": 2}, "must be fewer than expert_groups=1"),
        ({"expert_groups": 4, "top_k": 3}, "top_k=3 experts are more than the 2 in top_groups=1 of 2"),
    ],
)
def test_what_no_router_is(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Architecture("pre-norm", **{**EIGHT, **changes})
