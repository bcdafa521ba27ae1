"""Fixed points of the cosine map, against the zero of the drift that large depth leaves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from sympy import Float, sqrt

import spannorm_theory as st
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.gaussian.activations import ACTIVATIONS
from spannorm_theory.prediction.fixed_points import alignment_map, depth_of_cosine, fixed_points
from spannorm_theory.softmax.gates import Gates
from spannorm_theory.softmax.top_k_table import gate_table
from spannorm_theory.spec.scalings import Multipliers

RATIOS = {"swiglu": 0.9, "reglu": 0.9, "gelu": 0.05}


@pytest.fixture
def _ratios(registries: None) -> None:
    """Scaling rules that set sigma_a^2 / sigma_f^2 for each activation."""
    for name, ratio in RATIOS.items():
        gain = sqrt(Float(ratio * float(ACTIVATIONS[name].kernel.value(1.0, 1.0, 1.0))))

        def rule(sublayer, l, L, d, gain=gain):  # type: ignore[no-untyped-def]
            """Sets the attention branch's gain."""
            return Multipliers(gains={"attn.output": gain})

        st.scaling(f"ratio-{name}", title="test", source="test")(rule)


@pytest.mark.reference
@pytest.mark.usefixtures("_ratios")
@pytest.mark.parametrize(("name", "published"), [("swiglu", 0.112), ("reglu", 0.890), ("gelu", 0.917)])
def test_pre_norm_settles_where_the_drift_vanishes(name: str, published: float) -> None:
    """sigma_a^2 rho (1 - rho) + sigma_f^2 (k(rho) - rho) = 0, k the normalised correlation map."""
    entry = ACTIVATIONS[name]

    def drift(rho: float) -> float:
        value = entry.kernel.value(1.0, 1.0, rho) / entry.kernel.value(1.0, 1.0, 1.0)
        return RATIOS[name] * rho * (1 - rho) + float(value) * (rho if entry.gated else 1.0) - rho

    expected = brentq(drift, 0.01, 0.999)
    assert expected == pytest.approx(published, abs=6e-4)
    arch = st.Architecture(
        "pre-norm",
        f"ratio-{name}",
        depth=2000,
        width=10**9 // 512 * 512,
        heads=1,
        tokens=2**20,
        activation=name,
        logit_variance=1e-9,
    )
    settled, aligned = fixed_points(arch)
    assert settled.rho == pytest.approx(expected, abs=2e-3)
    assert settled.attracts
    assert not aligned.attracts


@pytest.mark.law
def test_aligned_tokens_attract_in_post_norm_at_the_collapse_factor() -> None:
    (aligned,) = fixed_points(st.Architecture("post-norm", depth=12, width=2**20))
    sigma2, omega2 = 0.4252214825702987, 0.4558508656492871
    assert aligned.rho == 1
    assert aligned.slope == pytest.approx((1 + omega2) / (2 * (1 + sigma2)), abs=1e-5)


@pytest.fixture
def _strong_attention(registries: None) -> None:
    """Scaling rules that multiply sigma_a^2."""
    for ratio, root in ((4, 2), (16, 4)):

        def rule(sublayer, l, L, d, gain=Float(root)):  # type: ignore[no-untyped-def] # noqa: B008
            """Sets the attention branch's gain."""
            return Multipliers(gains={"attn.output": gain})

        st.scaling(f"attention-{ratio}", title="test", source="test")(rule)


@pytest.mark.law
@pytest.mark.usefixtures("_strong_attention")
@pytest.mark.parametrize(("top_k", "gates"), [(2, "renormalised"), (1, "softmax")])
def test_experts_settle_at_the_square_of_the_branch_ratio(top_k: int, gates: str) -> None:
    """1 - rho* -> (c sigma_f^2 / sigma_a^2)^2 in PreNorm, c the coefficient of sqrt(1 - rho)."""
    at = gate_table(Gates(8, top_k, gates), 1.0).at(1.0, 1e-9)
    sigma2 = float(at.own) * 0.4252214825702987
    c = float(at.gap) / 1e-9 / sqrt(2) / float(at.own)
    found = []
    for ratio in (4, 16):
        arch = st.Architecture(
            "pre-norm",
            f"attention-{ratio}",
            depth=200,
            width=2**20,
            heads=1,
            tokens=2**16,
            experts=8,
            top_k=top_k,
            gates=gates,
            logit_variance=1e-9,
        )
        settled, aligned = fixed_points(arch)
        assert settled.attracts
        assert aligned.slope > 1
        found.append((1 - settled.rho) / float(c * sigma2 / ratio) ** 2)
    assert abs(found[1] - 1) < 0.05
    assert abs(found[1] - 1) < abs(found[0] - 1)


@pytest.mark.reference
def test_experts_stop_the_collapse_of_post_norm() -> None:
    arch = st.Architecture("post-norm", depth=60, width=2**16, tokens=256)
    (dense,) = fixed_points(arch)
    assert dense.attracts
    for changes, settled in (({"top_k": 2}, 0.0188), ({"gates": "softmax"}, 0.0019)):
        below, aligned = fixed_points(arch.with_(experts=8, **changes))
        assert not aligned.attracts
        assert below.attracts
        assert 1 - below.rho == pytest.approx(settled, rel=0.1)


@pytest.mark.reference
def test_depth_of_a_cosine() -> None:
    arch = st.Architecture("post-norm", depth=48, width=256)
    assert depth_of_cosine(arch) == 4
    assert depth_of_cosine(arch.with_(scaling="depth-scaled-init")) is None


def test_several_streams_have_no_map_of_one_cosine() -> None:
    with pytest.raises(AssumptionError, match="several"):
        alignment_map(st.Architecture("siamese-norm"), np.array([0.5]), 3)


def test_fixed_points_take_a_text_form_and_a_layer() -> None:
    arch = st.Architecture("post-norm", depth=3, width=2**16)
    assert st.fixed_points(str(arch)) == st.fixed_points(arch, layer=2)
    for layer in (3, -1, 0.5):
        with pytest.raises(InputError, match="layer must be an integer from 0 to 2"):
            st.fixed_points(arch, layer=layer)  # type: ignore[arg-type]
