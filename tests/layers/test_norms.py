"""Norms on tensors at every size of what they read, and stacks at the extremes of their fields."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import spannorm_theory as st
from spannorm_theory.base.errors import NonFiniteError
from spannorm_theory.layers.norm_op import normalise

SMALL: dict[str, Any] = {"depth": 3, "width": 16, "heads": 4, "tokens": 8}


@pytest.mark.exact
@pytest.mark.parametrize("kind", ["rms", "layer"])
@pytest.mark.parametrize("exponent", [-100, -80, -3, 3, 80, 110])
def test_a_power_of_two_costs_no_digit(kind: str, exponent: int) -> None:
    """Squares of what is beyond 2^63 or below 2^-74 are no float32."""
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scaled = (x.detach() * 2.0**exponent).requires_grad_()
    expected, found = normalise(x, kind), normalise(scaled, kind)
    assert torch.equal(expected, found)
    ones = torch.arange(16.0).expand(3, 5, 16)
    (expected_grad,) = torch.autograd.grad(expected, x, ones)
    (found_grad,) = torch.autograd.grad(found, scaled, ones * 2.0**exponent)
    torch.testing.assert_close(found_grad, expected_grad)


@pytest.mark.exact
def test_zeros_stay_zeros() -> None:
    x = torch.zeros(2, 3, 4, requires_grad=True)
    y = normalise(x, "rms")
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert not y.any()
    assert not grad.any()


@pytest.mark.statistical
@pytest.mark.parametrize("variance", [1e-60, 1e-40, 1e30])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_verified_at_the_extremes_of_an_input(variance: float, mask: str) -> None:
    arch = st.Architecture(
        "pre-norm", depth=2, width=64, heads=4, tokens=8, mask=mask, input_variance=variance
    )
    result = st.verify(arch, networks=32, progress=False)
    assert result.passed
    assert result.table["estimate"].notna().all()


@pytest.mark.exact
@pytest.mark.parametrize("placement", ["pre-norm", "post-norm", "no-norm"])
@pytest.mark.parametrize(
    "fields",
    [
        {"input_variance": 1e-60},
        {"input_variance": 1e60},
        {"init": 1e-30},
        {"init": 1e30},
        {"logit_variance": 1e-60},
        {"logit_variance": 1e60},
        {"inputs": "zipf", "vocabulary": 10, "input_variance": 1e-60, "position_variance": 1e-60},
        {"input_cosine": 1 - 1e-15},
        {"dropout": 1 - 1e-15},
        {"attention_dropout": 1e-300},
    ],
    ids=str,
)
def test_no_row_of_nothing_without_a_reason(placement: str, fields: dict[str, Any]) -> None:
    """Monte Carlo measures every row, or says which number left its range."""
    arch = st.Architecture(placement, **SMALL, **fields)
    try:
        table = st.simulate(arch, networks=2, progress=False).table
    except NonFiniteError:
        assert placement != "pre-norm" or "init" in fields or "logit_variance" in fields
    else:
        assert table["value"].notna().all()
