"""Matrices and multipliers that start at zero, in theory and Monte Carlo."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.special import expit
from sympy import Expr, Integer, Rational

import spannorm_theory as st
from spannorm_theory import Architecture, Multipliers, predict, verify
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.prediction.predict import predict_profiles

SMALL = {"depth": 2, "width": 64, "heads": 4, "tokens": 6}
MATRICES = ("attn.query", "attn.key", "attn.value", "attn.output", "ffn.up", "ffn.gate", "ffn.down")


def rule(matrix: str, factor: float | Expr) -> str:
    """The name of a rule that multiplies one matrix."""
    name = re.sub(r"\W", "-", f"{matrix}-times-{factor}")
    st.scaling(name, title=name, source="test", replace=True)(
        lambda sublayer, l, L, d: Multipliers(gains={matrix: factor})
    )
    return name


@pytest.mark.exact
@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_zero_is_the_limit_of_small_factors(matrix: str, mask: str) -> None:
    """In every moment and gradient; what is zero falls as the factor's square, and with it what the theory
    declines is the same."""
    shape = {**SMALL, "activation": "swiglu", "mask": mask}
    small = Rational(1, 10**5)  # moments differ from the limit by its square
    zero, near = (
        predict_profiles(Architecture("pre-norm", rule(matrix, factor), **shape)).profiles
        for factor in (Integer(0), small)
    )
    for key, found in zero.items():
        vanishes = np.isneginf(found)
        expected = pytest.approx(near[key][~vanishes], rel=1e-6, abs=1e-6, nan_ok=True)
        assert found[~vanishes] == expected, key
        assert (near[key][vanishes] < np.log(1e-5)).all(), key  # 1e-10 of a size of at most 1e5


@pytest.mark.statistical
@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("matrix", "activation"),
    [("attn.query", "gelu"), ("attn.value", "gelu"), ("ffn.gate", "swiglu"), ("ffn.up", "relu")],
)
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_real_networks_with_a_zero_matrix(matrix: str, activation: str, mask: str) -> None:
    arch = Architecture("pre-norm", rule(matrix, Integer(0)), **SMALL, activation=activation, mask=mask)
    assert verify(arch, networks=40, progress=False).passed


@pytest.mark.statistical
@pytest.mark.usefixtures("registries")
def test_a_hidden_layer_of_zeros_is_the_activation_at_zero() -> None:
    """sigmoid(0)^2 = 1/4 for all tokens alike; ReLU has no slope at zero, as in torch."""
    st.activation("sigmoid", expit, lambda x: x.sigmoid())
    arch = Architecture("pre-norm", rule("ffn.up", Integer(0)), **SMALL, activation="sigmoid")
    assert verify(arch, networks=40, progress=False).passed
    kinked = predict(arch.with_(activation="relu"))
    up = kinked[(kinked["stream"] == "ffn.up") & (kinked["quantity"] == "weight_grad_norm")]
    assert (up["value"] == 0).all()


@pytest.mark.reference
@pytest.mark.usefixtures("registries")
def test_against_plain_torch() -> None:
    """Simulations of other authors, with their standard errors."""
    arch = Architecture("pre-norm", rule("attn.query", Integer(0)), width=256, heads=8, tokens=32)
    table = predict(arch).set_index(["stream", "quantity", "layer"])["value"]
    assert abs(table["attn.query", "weight_grad_norm", 0] - 37256) < 3 * 1600
    gated = arch.with_(scaling=rule("ffn.gate", Integer(0)), depth=4, mask="causal", activation="swiglu")
    table = predict(gated).set_index(["stream", "quantity", "layer"])["value"]
    assert abs(table["0", "variance", 4] - 2.28) < 3 * 0.06


@pytest.mark.exact
@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_branches_that_read_zeros_leave_the_identity(mask: str) -> None:
    st.scaling("no-input", title="no input", source="test")(lambda sublayer, l, L, d: Multipliers(norm=0))
    table = predict(Architecture("pre-norm", "no-input", **SMALL, mask=mask))
    of_stream = table[table["stream"] == "0"].set_index("quantity")["value"]
    assert of_stream["variance"].to_numpy() == pytest.approx(1, rel=1e-9)
    assert of_stream["grad_variance"].to_numpy() == pytest.approx(1, rel=1e-9)
    assert (table.loc[table["quantity"] == "weight_grad_norm", "value"] == 0).all()


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("field", ["qk_norm", "qkv_norm"])
def test_norms_of_zero_projections_are_refused(field: str, mask: str) -> None:
    matrix = "attn.query" if field == "qk_norm" else "attn.value"
    arch = Architecture("pre-norm", rule(matrix, Integer(0)), **SMALL, **{field: True}, mask=mask)
    with pytest.raises(AssumptionError, match="reads what is always zero"):
        predict(arch)


@pytest.mark.statistical
@pytest.mark.parametrize("changes", [{}, {"mask": "causal"}])
def test_a_logit_variance_of_zero_is_even_attention(changes: dict[str, str]) -> None:
    arch = Architecture("post-norm", logit_variance=0, **SMALL, **changes)
    assert verify(arch, networks=40, progress=False).passed


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="a temperature of zero under norms"):
        Architecture("hybrid-norm", logit_variance=0, **SMALL)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_a_readout_that_norms_zeros_is_refused(mask: str) -> None:
    def last_is_zero(sublayer: str, l: Expr, L: Expr, d: Expr) -> Multipliers:
        left = L - 1 - l
        return Multipliers(skip=left if sublayer == "ffn" else 1, gains={"ffn.down": left})

    st.scaling("last-is-zero", title="zero", source="test")(last_is_zero)
    with pytest.raises(AssumptionError, match="a norm at layer 2 reads what is always zero"):
        predict(Architecture("pre-norm", "last-is-zero", **SMALL, mask=mask))


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_a_router_of_zeros_is_refused(mask: str) -> None:
    st.scaling("no-input", title="none", source="test")(lambda sublayer, l, L, d: Multipliers(norm=0))
    arch = Architecture("pre-norm", "no-input", **SMALL, mask=mask, experts=4, top_k=2)
    with pytest.raises(AssumptionError, match="the router of the experts reads zeros"):
        predict(arch)
