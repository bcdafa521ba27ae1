"""Feed-forward branches of real models: theory against networks."""

from __future__ import annotations

from typing import Any

import pytest

from spannorm_theory import Architecture, verify

EIGHT: dict[str, Any] = {"experts": 8, "top_k": 3, "ffn_width": 96}
SMALL = Architecture("pre-norm", depth=4, width=256, heads=4, tokens=16)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "changes",
    [
        {"activation": "relu2"},
        {"activation": "swiglu-oss", "mask": "causal"},
        {"activation": "swiglu-oss", "experts": 4, "top_k": 2, "ffn_width": 128, "placement": "peri-ln"},
        {"experts": 4, "top_k": 2, "ffn_width": 96, "dense_layers": 2, "dense_ffn_width": 640},
        {"experts": 4, "top_k": 2, "ffn_width": 96, "dense_layers": 1, "mask": "causal"},
        {**EIGHT, "gates": "sigmoid", "routed_scale": 2.5, "shared_experts": 1, "dense_layers": 1},
        {**EIGHT, "gates": "sigmoid", "router_gain": 16.0, "placement": "post-norm"},
        {**EIGHT, "gates": "sigmoid", "routed_scale": 2.5, "mask": "causal"},
        {**EIGHT, "gates": "softmax", "shared_experts": 4, "shared_gate": True, "activation": "swiglu"},
        {**EIGHT, "shared_experts": 2, "shared_gate": True, "mask": "causal", "router_gain": 0.1},
        {**EIGHT, "shared_experts": 4, "shared_gate": True, "placement": "post-norm", "input_cosine": 0.5},
        {**EIGHT, "gates": "sigmoid", "expert_groups": 4, "top_groups": 2, "input_cosine": 0.5},
    ],
    ids=str,
)
def test_theory_is_what_networks_do(changes: dict[str, Any]) -> None:
    found = verify(SMALL.with_(**changes), networks=64, progress=False)
    assert found.passed, found
