"""Attention variants in theory: the two theories against each other, and what they decline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import rounded

import spannorm_theory as st
from spannorm_theory import Architecture, verify
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.base.quantities import SPECTRAL
from spannorm_theory.bounds.intervals import bounds
from spannorm_theory.gaussian.head_norm import HeadNorm
from spannorm_theory.layers.attention import Attention
from spannorm_theory.layers.attention_gate import GatedAttention
from spannorm_theory.layers.attention_gram import SampledAttention
from spannorm_theory.prediction.exchangeable import predict_pair
from spannorm_theory.prediction.fixed_points import alignment_map, fixed_points
from spannorm_theory.prediction.positions import predict_positions
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.prediction.sampled import predict_gram, resolve

SMALL = Architecture("pre-norm", depth=4, width=128, heads=4, tokens=16)
GAINS = {"attn.query": 1.5, "attn.key": 1.2, "attn.value": 1.3, "attn.output": 0.7}


@pytest.mark.reference
@pytest.mark.parametrize(
    "changes",
    [
        {"attention_dropout": 0.4, "logit_variance": 4.0},
        {"dropout": 0.3, "placement": "post-norm"},
        {"logit_scale": "linear"},
        {"logit_scale": 0.1},
        {"attention_gate": True},
        {"attention_gate": True, "placement": "sub-ln", "input_cosine": 0.5},
        {"qk_norm": True, "qk_norm_over": "width"},
    ],
    ids=str,
)
def test_pair_theory_is_the_position_resolved_one(changes: dict[str, Any]) -> None:
    """Heads of 256 coordinates, where the pair theory's infinite head width is good to v/d_h."""
    arch = Architecture("pre-norm", depth=4, width=8192, heads=32, tokens=24, activation="relu").with_(
        **changes
    )
    theory, pair = resolve(arch), predict_pair(arch)
    variance = arch.logit_variance or 1.0
    for key, profile in pair.profiles.items():
        allowed = 4 * theory.errors[key] + variance / arch.head_size + 2 / arch.tokens / arch.head_size
        predicted = np.isfinite(profile)
        assert predicted.all() or key[1] in (*SPECTRAL, "rank_residual")
        assert (np.abs(theory.profiles[key] - profile) < allowed)[predicted].all(), key


@pytest.mark.reference
def test_norms_over_the_width_leave_the_fluctuation_of_a_head() -> None:
    """One row's overlap in narrow heads: chi-square lengths over the width, a sphere over a head."""
    n, size = 24, 4
    rho, found = 0.0, {}
    for over_width in (True, False):
        norm = HeadNorm(10**6 if over_width else size, "rms")
        pair = Attention(10**9, n, size, ("query", "key"), norm, 1.0, over_width=over_width)
        sampled = SampledAttention(10**9, False, ("query", "key"), "rms", norm, over_width=over_width)
        noise = np.random.default_rng(0).standard_normal((2, 1500, n, size))
        _, open_rows = sampled.forward((1 - rho) * np.eye(n) + rho, GAINS, noise)
        at = pair.at(np.ones(1), np.array([1 - rho]), {k: np.ones(1) for k in GAINS})
        expected = pair.undecided(at)[0]
        assert open_rows / n == pytest.approx(expected, rel=2e-3)  # the mean of 3000 sampled heads
        found[over_width] = expected
    assert found[True] < found[False] * 0.99


@pytest.mark.exact
def test_dropout_of_equal_tokens() -> None:
    """Uniform attention: q gains (p / (1 - p)) / n, the gradient alike; covariances nothing."""
    n, p = 10, 0.25
    front = GAINS["attn.value"] * GAINS["attn.output"]
    uniform = {**GAINS, "attn.query": 1e-9, "attn.key": 1e-9}
    branch = SampledAttention(10**9, False, (), "rms", None, dropout=p)
    noise = np.random.default_rng(1).standard_normal((2, 2, n, 8))
    output, _ = branch.forward(np.ones((n, n)), uniform, noise)
    expected = front * (np.ones((n, n)) + np.eye(n) / 3 / n)
    assert output == rounded(expected)
    stream, _ = branch.backward(np.ones((n, n)), output, np.eye(n), uniform, noise, 1e-9)
    assert stream == rounded(front * (np.full((n, n), 1 / n) + np.eye(n) / 3 / n))
    pair = Attention(10**9, n, 10**6, (), None, 1e-18, dropout=p)
    q, drop = pair.forward(1.0, 0.0, uniform)
    assert (q, drop) == rounded((expected[0, 0], expected[0, 0] - expected[0, 1]))


@pytest.mark.exact
def test_a_window_of_uniform_attention() -> None:
    """Uniform up to logits of size 1e-9."""
    n, w, rho = 12, 4, 0.3
    uniform = {**GAINS, "attn.query": 1e-9, "attn.key": 1e-9}
    branch = SampledAttention(10**9, True, (), "rms", None, window=w)
    noise = np.random.default_rng(1).standard_normal((2, 2, n, 8))
    output, _ = branch.forward((1 - rho) * np.eye(n) + rho, uniform, noise)
    seen = np.minimum(np.arange(n) + 1, w)
    front = GAINS["attn.value"] * GAINS["attn.output"]
    assert output.diagonal() == pytest.approx(front * (rho + (1 - rho) / seen), rel=1e-8)
    assert output[-1, -1 - w] == pytest.approx(front * rho, rel=1e-8)  # no common key


@pytest.mark.statistical
@pytest.mark.parametrize(
    "fields",
    [
        {"placement": "post-norm", "input_cosine": 0.3, "loss": "mean"},
        {"placement": "sub-ln", "mask": "causal", "attention_dropout": 0.0, "head_width": 16},
        {"mask": "causal", "attention_dropout": 0.2, "kv_heads": 1},
    ],
    ids=str,
)
def test_networks_with_gates_agree(fields: dict[str, Any]) -> None:
    arch = Architecture("pre-norm", depth=3, width=96, heads=4, tokens=16, attention_gate=True)
    result = verify(arch.with_(**fields), networks=32, progress=False)
    assert result.passed, result.summary()
    assert not bounds(arch.with_(mask="causal"))


@pytest.mark.statistical
@pytest.mark.parametrize(
    "fields",
    [
        {"input_cosine": 0.5, "logit_variance": 4.0},
        {"positions": "rope", "mask": "causal", "head_width": 32},
        {"mask": "causal", "attention_dropout": 0.2, "attention_gate": True},
    ],
    ids=str,
)
def test_networks_with_sinks_agree(fields: dict[str, Any]) -> None:
    arch = Architecture("pre-norm", depth=3, width=96, heads=4, tokens=8, sinks=True)
    result = verify(arch.with_(**fields), networks=32, progress=False)
    assert result.theory == "sampled"
    assert result.passed, result.summary()


@pytest.mark.exact
def test_a_sink_is_one_more_key_whose_value_is_nothing() -> None:
    """Uniform attention up to logits of size 1e-9: rows add up to n/(n + 1)."""
    n, rho, front = 12, 0.3, GAINS["attn.value"] * GAINS["attn.output"]
    uniform = {**GAINS, "attn.query": 1e-9, "attn.key": 1e-9}
    branch = SampledAttention(10**9, False, (), "rms", None, sinks=True)
    noise = np.random.default_rng(1).standard_normal((2, 2, n, 8))
    output, open_rows = branch.forward((1 - rho) * np.eye(n) + rho, uniform, noise)
    assert output == pytest.approx(front * (rho + (1 - rho) / n) * (n / (n + 1)) ** 2, rel=1e-7)
    assert open_rows / n == pytest.approx(1 - 1 / (n + 1), rel=1e-7)
    arch = SMALL.with_(sinks=True)
    with pytest.raises(AssumptionError, match="with mask='none', sinks=True they are not alike"):
        predict_pair(arch)
    with pytest.raises(AssumptionError, match="sinks=True is derived with sampled heads alone"):
        predict_positions(arch.with_(mask="causal"))
    assert not bounds(arch)


@pytest.mark.exact
def test_a_gate_of_gain_zero_halves_what_attention_puts_out() -> None:
    branch, gated = (cls(128, 16, 32, (), None) for cls in (Attention, GatedAttention))
    q, drop = branch.forward(1.5, 0.4, GAINS)
    assert gated.forward(1.5, 0.4, {**GAINS, "attn.gate": 0.0}) == rounded((q / 4, drop / 4))
    assert gated.forward(0.0, 0.0, {**GAINS, "attn.gate": 1.0}) == (0.0, 0.0)


@pytest.mark.exact
def test_shared_keys_and_values_change_no_mean() -> None:
    for arch in (SMALL, SMALL.with_(mask="causal")):
        own, shared = (predict_profiles(a).profiles for a in (arch, arch.with_(kv_heads=1)))
        for key, profile in own.items():
            np.testing.assert_array_equal(profile, shared[key])
    assert SMALL.with_(kv_heads=1).weights["attn.key"] == (128, 32)
    xavier = [SMALL.with_(init="xavier", kv_heads=k).base_gains["attn.value"] for k in (None, 1)]
    assert xavier == rounded([1.0, 1.6])


@pytest.mark.exact
@pytest.mark.parametrize("changes", [{"dropout": 0.1}, {"attention_dropout": 0.1}])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_spectra_under_dropout_are_not_predicted(changes: dict[str, float], mask: str) -> None:
    profiles = predict_profiles(SMALL.with_(mask=mask, **changes)).profiles
    for name in SPECTRAL:
        assert np.isnan(profiles["0", name]).all()
    assert np.isfinite(profiles["0", "rank_residual"]).all()


@pytest.mark.exact
def test_positions_need_the_position_resolved_theory() -> None:
    arch = SMALL.with_(positions="rope")
    assert predict_profiles(arch).theory == "sampled"
    with pytest.raises(AssumptionError, match="positions='rope'"):
        predict_pair(arch)
    with pytest.raises(AssumptionError, match="exchangeable"):
        alignment_map(arch, np.array([0.5]), 1)
    assert ("0", "variance") in bounds(arch)
    assert ("0", "grad_variance") in bounds(arch)
    assert not bounds(arch.with_(attention_dropout=0.1))


@pytest.mark.exact
def test_norms_over_the_width_of_one_shared_head_are_declined() -> None:
    arch = SMALL.with_(qk_norm=True, qk_norm_over="width", kv_heads=1)
    for theory in (predict_pair, predict_gram):
        with pytest.raises(AssumptionError, match="kv_heads=1"):
            theory(arch)


@pytest.mark.exact
def test_norms_of_shared_heads_run_over_their_own_coordinates() -> None:
    norm = HeadNorm(128, "rms", 16)
    assert [norm.of(name).slope(1.0) for name in ("query", "key", "value")] == rounded(
        [127 / 126, 15 / 14, 15 / 14]
    )


@pytest.mark.statistical
@pytest.mark.parametrize("fields", [{}, {"mask": "causal", "qkv_norm": True, "qk_norm": False}], ids=str)
def test_networks_with_norms_over_the_width_of_shared_heads_agree(fields: dict[str, Any]) -> None:
    arch = SMALL.with_(qk_norm=True, qk_norm_over="width", kv_heads=2)
    result = verify(arch.with_(**fields), networks=32, progress=False)
    assert result.passed, result.summary()


@pytest.mark.exact
def test_equal_tokens_are_no_fixed_point_of_dropout() -> None:
    assert fixed_points(SMALL)[-1].rho == 1.0
    assert all(point.rho < 1 for point in fixed_points(SMALL.with_(dropout=0.1)))


@pytest.mark.exact
@pytest.mark.parametrize("changes", [{"dropout": 0.3}, {"attention_dropout": 0.5}, {"kv_heads": 1}])
def test_predictions_lie_within_the_bounds(changes: dict[str, Any]) -> None:
    for placement in ("pre-norm", "post-norm"):
        arch = SMALL.with_(placement=placement, **changes)
        profiles = predict_profiles(arch).profiles
        limits = bounds(arch)
        assert set(limits) == {("0", "variance"), ("0", "grad_variance")}
        for key, (low, high) in limits.items():
            assert (profiles[key] >= low - 1e-9).all(), key
            assert (profiles[key] <= high + 1e-9).all(), key
    assert not bounds(SMALL.with_(mask="causal", attention_dropout=0.1))


@pytest.mark.reference
def test_under_qk_norm_logits_have_a_temperature() -> None:
    """Logits of 10 cos(q, k), against plain torch modules with their standard errors."""
    shape = {"depth": 12, "width": 256, "heads": 8, "tokens": 32}
    arch = Architecture("pre-norm", qk_norm=True, logit_variance=100 / 32, **shape)
    table = st.predict(arch)

    def at(quantity: str, layer: int) -> float:
        return float(table[(table["quantity"] == quantity) & (table["layer"] == layer)]["value"].item())

    assert abs(at("grad_variance", 0) - 2.30) < 3 * 0.12
    assert abs(at("token_cosine", 12) - 0.592) < 3 * 0.010
    assert at("token_cosine", 12) < 0.63  # 0.658 without


@pytest.mark.exact
def test_a_temperature_is_no_gain_of_matrices() -> None:
    """Under QK norm a variance of logits is a factor on them, as ``logit_scale`` is; matrices keep theirs,
    which their gradients show."""
    arch = Architecture("pre-norm", qk_norm=True, depth=3, width=64, heads=4, tokens=8)
    one, other = arch.with_(logit_variance=4.0), arch.with_(logit_scale=2 / 16**0.5)
    assert one.base_gains == arch.base_gains
    pd.testing.assert_frame_equal(st.predict(one), st.predict(other))
    assert Architecture("pre-norm", logit_variance=4.0).base_gains["attn.query"] == rounded(2.0)


@pytest.mark.statistical
@pytest.mark.parametrize("fields", [{}, {"mask": "causal", "depth": 3}, {"norm": "layer"}], ids=str)
def test_networks_with_a_temperature_agree(fields: dict[str, Any]) -> None:
    arch = Architecture("pre-norm", depth=6, width=256, heads=8, tokens=24, qk_norm=True, logit_variance=4.0)
    result = verify(arch.with_(**fields), networks=32, progress=False)
    assert result.passed, result.summary()


@pytest.mark.statistical
@pytest.mark.parametrize(
    "fields", [{}, {"head_width": 12, "mask": "causal", "placement": "sub-ln"}, {"logit_scale": 0.3}], ids=str
)
def test_networks_whose_heads_are_not_as_wide_as_the_stream_agree(fields: dict[str, Any]) -> None:
    arch = Architecture("pre-norm", depth=3, width=70, heads=4, tokens=12, head_width=40, norm="layer")
    result = verify(arch.with_(**fields), networks=32, progress=False)
    assert result.passed, result.summary()


@pytest.mark.exact
def test_the_width_of_heads_reaches_the_output_projection_alone() -> None:
    """But for the sampling over it, by which V and U move gradients, above all of queries and keys."""
    own, wide = (predict_profiles(a).profiles for a in (SMALL, SMALL.with_(heads=12, head_width=32)))
    for key, profile in own.items():
        more = np.log(3) if key == ("attn.output", "weight_grad_norm") else 0.0
        near = 0.02 if key[0] in ("attn.query", "attn.key") else 1e-3 if "grad" in key[1] else 1e-9
        if key[1] not in SPECTRAL:
            np.testing.assert_allclose(wide[key], profile + more, rtol=1e-9, atol=near)
    init = SMALL.with_(init=0.02, heads=12, head_width=32).base_gains
    assert init["attn.output"] == rounded(3 * init["attn.query"])


@pytest.mark.statistical
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("placement", ["dyt", "derf"])
def test_dropout_leaves_functions_in_a_norm_s_place_alone(placement: str, mask: str) -> None:
    arch = Architecture(
        placement, depth=2, width=64, heads=4, tokens=8, dropout=0.5, activation="relu", mask=mask
    )
    assert verify(arch, networks=40, progress=False).passed
