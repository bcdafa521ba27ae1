"""Laws held against stacks of real branches, and the values beside them."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.atlases.branch_gains import ends, require_degree
from spannorm_theory.atlases.cell import compute
from spannorm_theory.atlases.check import LADDER, holds_from
from spannorm_theory.atlases.records import Cell
from spannorm_theory.atlases.stacks import Stacks, keeps_sizes
from spannorm_theory.atlases.trend import Trend
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.derivation.recurrence import Recurrence


def cell(placement: str, scaling: str) -> Cell:
    return compute(st.Architecture(placement, scaling), (16,), 60.0)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "scaling", "keeps"),
    [
        ("pre-norm", "unit", True),
        ("post-norm", "gpt2", True),
        ("pre-norm", "lns", False),
        ("ln-scaling", "unit", False),
        ("no-norm", "unit", False),
        ("output-norm", "unit", False),
        ("dyt", "unit", False),
    ],
)
def test_which_branches_read_an_input_that_keeps_its_size(placement: str, scaling: str, keeps: bool) -> None:
    assert keeps_sizes(Recurrence.of(placement, scaling)) is keeps


@pytest.mark.reference
@pytest.mark.parametrize(("placement", "scaling"), [("ln-scaling", "unit"), ("pre-norm", "lns")])
def test_gains_of_inputs_that_shrink(placement: str, scaling: str) -> None:
    """Inputs fall as 1/(l+1), so that GELU's gains are phi'(0)^2 = 1/4: the iterated kernel gives 1.250 ln L,
    gamma_0/gamma_L as (ln L)^1.000, 1 - rho as (ln L)^-0.800; gains at size one give 1.43, 1.02 and -0.68."""
    found = cell(placement, scaling).found
    numbers = {name: one.trend for name, one in found.items() if one.law is not None}
    forward, ratio, collapse = (numbers[name] for name in ("forward", "ratio", "collapse"))
    assert (forward.power, forward.log_power) == (0, pytest.approx(1, abs=1e-3))
    assert forward.constant == pytest.approx(1.25, rel=1e-3)
    assert ratio.log_power == pytest.approx(1, abs=1e-3)
    assert collapse.log_power == pytest.approx(-0.8, abs=1e-3)
    assert {one.status for one in found.values()} == {"ok"}


@pytest.mark.reference
@pytest.mark.parametrize(
    ("placement", "stream", "at_16", "at_1024"),
    [("pre-norm", "0", 0.65, 0.29), ("siamese-norm", "0", 1.12, 0.45), ("siamese-norm", "1", 0.65, 0.29)],
)
def test_gradients_of_all_placements_are_for_a_unit_gradient_at_the_output(
    placement: str, stream: str, at_16: float, at_1024: float
) -> None:
    """The two first blocks of 16 and of 1024; two digits are stated, at 64 tokens."""
    arch = st.Architecture(placement, tokens=64)
    for depth, expected in ((16, at_16), (1024, at_1024)):
        table = st.predict(arch.with_(depth=depth)).set_index(["stream", "quantity", "layer"])["value"]
        assert abs(table[stream, "grad_variance", 0] - expected) <= 0.005
    if placement == "pre-norm":  # the other normalisation is a quantity of its own
        ratio = cell(placement, "unit").found["ratio"].trend
        assert (ratio.power, ratio.constant) == (
            pytest.approx(1.02, abs=0.005),
            pytest.approx(1.42, abs=0.005),
        )


@pytest.mark.reference
def test_post_norm_explodes_beyond_a_hundred_blocks() -> None:
    """e^(0.0213 L), and below one at 48 blocks."""
    gradient = cell("post-norm", "unit").found["gradient"]
    assert gradient.trend.rate == pytest.approx(0.0213, abs=0.00005)
    assert gradient.at[48] < 0 < gradient.at[100]


@pytest.mark.law
def test_a_law_that_real_branches_do_not_have_is_fitted_to_them() -> None:
    """Behind a norm GELU's gains tend to their limit as 1/l, which adds a power of ln L to a product."""
    gradient = cell("peri-ln", "lns").found["gradient"]
    assert gradient.law is None
    assert "the branches' own are not" in gradient.reason
    assert gradient.trend is not None
    assert gradient.trend.fitted


@pytest.mark.exact
def test_values_are_those_of_predict() -> None:
    arch = st.Architecture("pre-norm", "unit")
    found = cell("pre-norm", "unit").found
    table = st.predict(arch.with_(depth=48)).set_index(["stream", "quantity", "layer"])["log_value"]
    assert found["forward"].at[48] == pytest.approx(table["0", "variance", 48], rel=1e-9)
    assert found["gradient"].at[48] == pytest.approx(table["0", "grad_variance", 0], rel=1e-9)
    ratio = table["0", "grad_variance", 0] - table["0", "grad_variance", 48]
    assert found["ratio"].at[48] == pytest.approx(ratio, rel=1e-9)


@pytest.mark.exact
def test_a_law_holds_from_where_its_shape_does() -> None:
    """The constant is the first blocks' own; what is still off at the last but one depth holds nowhere."""
    law = Trend(power=1.0, constant=2.0)
    at = {depth: log(7.0 * depth * (1 + 20 / depth)) for depth in LADDER}
    assert holds_from(law, at) == 200  # 20 / 200 is 10 %, and the deepest's own correction 0.8 %
    assert holds_from(law, {depth: value + depth for depth, value in at.items()}) is None
    assert holds_from(law, {}) is None


@pytest.mark.exact
def test_gains_at_another_size_of_inputs() -> None:
    """GELU's at a small input is a quarter, at a large one a half; attention's is one at aligned tokens."""
    arch = st.Architecture("pre-norm", "lns")
    for size, expected in ((1e-8, 0.25), (1e8, 0.5)):
        (sa, sf, wa, wf), _ = ends(arch, {"attention": size, "ffn": size})
        assert (sa, wa) == pytest.approx((1, 1))
        assert (sf, wf) == pytest.approx((expected, expected), rel=1e-3)


@pytest.mark.exact
def test_stacks_out_of_range_have_no_values() -> None:
    stacks = Stacks(st.Architecture("no-norm", "unit"), aligned=True)
    assert stacks.logs("forward", 0, (12, 10240)) == []
    assert stacks.sizes(10240) == {}
    assert np.isfinite(stacks.logs("forward", 0, (12,))).all()


@pytest.mark.usefixtures("registries")
def test_cells_of_branches_that_are_zero() -> None:
    """Behind inputs of zero a stack is the identity; where a norm reads zeros the cell says so."""
    st.scaling("no-input", title="none", source="test")(lambda s, l, L, d: st.Multipliers(norm=0))
    st.scaling("no-up", title="none", source="test")(lambda s, l, L, d: st.Multipliers(gains={"ffn.up": 0}))
    identity = cell("pre-norm", "no-input")
    assert {str(one.trend) for one in identity.found.values()} == {"1"}
    assert cell("sub-ln", "no-up").problem == "not computed: a norm reads what is always zero"


@pytest.mark.exact
@pytest.mark.parametrize("depth", [6, 100])
def test_values_are_of_each_depth_s_own_embedding(depth: int) -> None:
    """T-Fixup divides the embedding by a power of the depth; an input of second moment one is one at any."""
    own, other = (Stacks(st.Architecture("no-norm", "t-fixup", depth=d), aligned=False) for d in (depth, 12))
    assert own.logs("forward", 0, (12,)) == pytest.approx(other.logs("forward", 0, (12,)), rel=1e-12)


@pytest.mark.exact
def test_laws_of_attention_that_does_not_grow_with_its_input_are_not_those_of_the_atlas() -> None:
    more: list[dict[str, Any]] = [{"latent_keys": 16}, {"qkv_norm": True}]
    for fields in more:
        with pytest.raises(AssumptionError, match="grows with its input"):
            require_degree(st.Architecture("no-norm", width=64, heads=4, **fields))
    require_degree(st.Architecture("no-norm"))
