"""Rules that state the standard deviation of matrices: against plain simulations, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from spannorm_theory import Architecture, derive, predict
from spannorm_theory.base.errors import InputError
from spannorm_theory.montecarlo.program import Program

SHAPE = {"depth": 12, "width": 256, "heads": 8, "tokens": 32}


@pytest.mark.reference
@pytest.mark.parametrize(
    ("scaling", "fields", "plain", "error"),
    [
        ("small-init", {"activation": "swiglu", "ffn_ratio": 2.75}, 1.788, 0.010),
        ("small-init", {"depth": 4, "ffn_ratio": 2.0}, 1.512, 0.011),
        ("wang", {"depth": 4, "ffn_ratio": 2.0}, 1.317, 0.009),
        ("small-init", {"init": 0.02}, 4.107, 0.026),
        ("wang", {}, 1.205, 0.005),  # small-init for all matrices but the last
    ],
)
def test_a_stated_deviation_holds_for_any_hidden_layer(
    scaling: str, fields: dict[str, Any], plain: float, error: float
) -> None:
    """Variance behind the last block of pre-norm, of plain torch modules: a standard deviation that a rule
    states stands in place of ``init``, whatever the number of inputs."""
    arch = Architecture("pre-norm", scaling, **{**SHAPE, **fields})
    table = predict(arch)
    last = table[(table.quantity == "variance") & (table.layer == arch.depth)]["value"].item()
    assert abs(last - plain) < 3 * error


@pytest.mark.exact
def test_a_rule_that_states_deviations_and_one_that_multiplies_are_both_heard() -> None:
    arch = Architecture("pre-norm", "small-init+gpt2", **SHAPE)
    matrices = Program(arch).matrices(3)
    assert matrices["ffn.up"].std == pytest.approx(math.sqrt(2 / (5 * 256)), rel=1e-12)
    assert matrices["ffn.down"].std == pytest.approx(math.sqrt(2 / (5 * 256) / 24), rel=1e-12)


@pytest.mark.exact
def test_what_would_not_be_heard_is_refused() -> None:
    with pytest.raises(InputError, match=r"both rules state the standard deviation of attn\.gate, .*ffn\.up"):
        Architecture("pre-norm", "small-init+wang")
    with pytest.raises(InputError, match="logit_variance has no effect under the scaling rule 'wang'"):
        Architecture("pre-norm", "wang", logit_variance=2.0)


@pytest.mark.exact
def test_formulas_say_which_hidden_layer_they_take() -> None:
    said = "taken with a hidden layer of 4d"
    assert said in derive("post-norm", "wang").text()
    assert said not in derive("post-norm", "gpt2").text()
