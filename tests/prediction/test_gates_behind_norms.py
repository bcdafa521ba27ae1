"""Softmax gates behind an output norm: what the chosen gates have in common drops out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spannorm_theory import Architecture, predict, verify

SHAPE = {"depth": 4, "width": 512, "heads": 8, "tokens": 32, "experts": 4, "top_k": 1, "gates": "softmax"}


def router(arch: Architecture) -> np.ndarray:
    table = predict(arch)
    return table[(table["stream"] == "ffn.router") & (table["quantity"] == "weight_grad_norm")][
        "value"
    ].to_numpy()


@pytest.mark.exact
@pytest.mark.parametrize("placement", ["peri-ln", "sandwich", "olmo2", "output-norm", "ngpt", "swin-v2"])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_the_router_of_one_gate_behind_a_norm_learns_nothing(placement: str, mask: str) -> None:
    """N(g E(x)) does not depend on g."""
    arch = Architecture(placement, **{**SHAPE, "depth": 2, "tokens": 8, "mask": mask})
    assert (router(arch) == 0).all()


@pytest.mark.exact
@pytest.mark.parametrize("changes", [{"shared_experts": 1}, {"placement": "pre-norm"}], ids=str)
def test_elsewhere_it_does(changes: dict[str, Any]) -> None:
    """A shared expert beside the chosen one, or no norm behind them."""
    assert (router(Architecture(**{"placement": "peri-ln", **SHAPE, **changes})) > 0).all()


@pytest.mark.exact
def test_two_softmax_gates_behind_a_norm_are_renormalised_ones() -> None:
    softmax = Architecture("peri-ln", **{**SHAPE, "top_k": 2})
    tables = [predict(arch) for arch in (softmax, softmax.with_(gates="renormalised"))]
    np.testing.assert_array_equal(*(table["value"] for table in tables))


@pytest.mark.reference
def test_the_gradient_at_the_input_behind_a_mask() -> None:
    """1.86 in networks of width 512; a theory that lets the router learn has 2.59. Of 24 such networks the
    standard error is 0.024."""
    table = predict(Architecture("sandwich", **{**SHAPE, "experts": 8, "mask": "causal"}))
    first = table[(table["quantity"] == "grad_variance") & (table["layer"] == 0)]["value"].item()
    assert abs(first - 1.86) < 3 * 0.024


@pytest.mark.reference
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_one_softmax_gate_behind_a_norm_is_a_gate_of_one(mask: str) -> None:
    """Renormalised gates of one choice are 1, so that both routers get nothing and feed nothing back."""
    softmax = Architecture("peri-ln", **{**SHAPE, "mask": mask, "tokens": 8})
    tables = [predict(arch) for arch in (softmax, softmax.with_(gates="renormalised"))]
    np.testing.assert_allclose(*(table["value"] for table in tables), rtol=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "changes",
    [{}, {"placement": "sandwich", "experts": 8}, {"top_k": 2}, {"mask": "causal", "depth": 2}],
    ids=str,
)
def test_networks_agree(changes: dict[str, Any]) -> None:
    arch = Architecture(**{"placement": "peri-ln", **SHAPE, "width": 256, "tokens": 16, **changes})
    result = verify(arch, networks=32, progress=False)
    assert result.passed, result.summary()
    # rounding is all that a router of one gate receives
    assert arch.top_k > 1 or (result.table.loc[result.table["stream"] == "ffn.router", "theory"] == 0).any()
