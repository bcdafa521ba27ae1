"""Feed-forward branches of real models: theory against networks."""

from __future__ import annotations

from typing import Any

import pytest

from spannorm_theory import Architecture, verify

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
    ],
    ids=str,
)
def test_theory_is_what_networks_do(changes: dict[str, Any]) -> None:
    found = verify(SMALL.with_(**changes), networks=64, progress=False)
    assert found.passed, found
