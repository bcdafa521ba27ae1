"""Exact identities inside the pair theory's recursion, and the range it covers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers import rounded

import spannorm_theory as st
from spannorm_theory import Architecture
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.base.quantities import SPECTRAL
from spannorm_theory.bounds.intervals import bounds
from spannorm_theory.moments.scaled_product import scaled_product
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.prediction.exchangeable import predict_forward, predict_pair
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.prediction.sampled import predict_gram
from spannorm_theory.spec.placements import STANDARD
from spannorm_theory.verification.estimators import log_mean

WIDE = 10**12 // 512 * 512  # finite-width terms vanish


@pytest.fixture
def _attention_only(registries: None) -> None:
    @st.placement("attention-only", title="attention-only PostNorm", source="test")
    def attention_only(x, net):  # type: ignore[no-untyped-def]
        """N(x + attention(x))."""
        return net.norm(net.add(x, net.attention(x)))


@pytest.mark.exact
@pytest.mark.usefixtures("_attention_only")
def test_mode_identities_of_attention_only_post_norm() -> None:
    """Uniform attention, r = 0 at the output: gamma_l/gamma_L follows from the token-mean share alone."""
    n = 16
    arch = Architecture(
        "attention-only", depth=10, width=WIDE, heads=1, tokens=n, logit_variance=1e-14, input_cosine=0.1
    )
    p = predict_profiles(arch).profiles
    rho = p["0", "token_cosine"]
    share = rho + (1 - rho) / n
    expected = (1 - 1 / n) * (1 - share[-1]) / (1 - share) + share[-1] / (n * share)
    np.testing.assert_allclose(np.exp(p["0", "grad_variance"]), expected, rtol=1e-9)


@pytest.mark.exact
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_gradient_telescopes_for_balanced_branches(activation: str) -> None:
    """Degree-one ffn and fully aligned tokens and gradients: q gamma is conserved by every block."""

    arch = Architecture(
        "pre-norm", depth=20, width=WIDE, tokens=8, activation=activation, input_cosine=1 - 1e-9
    )
    p = predict_profiles(arch).profiles
    both = p["0", "variance"] + p["0", "grad_variance"]
    # attention passes only the token mean of a gradient: r = 0 at the top loses it, r -> 1 below
    assert both[-1] == pytest.approx(0, abs=1e-12)
    r, gamma = p["0", "grad_token_cosine"], p["0", "grad_variance"]
    mean_mode = np.log(1 + 7 * r) + gamma + p["0", "variance"]
    # at the kink of ReLU, what tokens differ by leaves its root, (1 - rho)^(1/2) = 3e-5, over eight tokens
    np.testing.assert_allclose(mean_mode, mean_mode[-1], rtol=0, atol=1e-5)


@pytest.mark.law
def test_post_norm_collapses_geometrically_at_the_derived_rate() -> None:
    """1 - rho shrinks by (1 + s sigma_f^2) / ((1 + sigma_a^2)(1 + sigma_f^2)) per block."""
    arch = Architecture("post-norm", depth=30, width=WIDE, tokens=64, activation="gelu")
    rho = predict_profiles(arch).profiles["0", "token_cosine"]
    sigma2, omega2 = 0.4252214825702987, 0.4558508656492871
    rate = (1 + omega2) / (2 * (1 + sigma2))
    drop = np.log(1 - rho)
    assert drop[24] - drop[23] == pytest.approx(np.log(rate), abs=2e-3)


@pytest.mark.law
def test_pre_norm_collapses_by_a_power_of_depth() -> None:
    """1 - rho ~ l^-a with a = (sigma_a^2 - (s - 1) sigma_f^2) / (sigma_a^2 + sigma_f^2): .5 for ReLU."""
    arch = Architecture(
        "pre-norm", depth=20_000, width=WIDE, tokens=64, activation="relu", init="unit-branch"
    )
    rho = predict_profiles(arch).profiles["0", "token_cosine"]
    slope = np.log((1 - rho[20_000]) / (1 - rho[10_000])) / np.log(2)
    assert slope == pytest.approx(-0.5, abs=0.02)


@pytest.mark.exact
@pytest.mark.parametrize("name", STANDARD)
def test_deep_stacks_stay_finite(name: str) -> None:
    depth = 12 if name == "no-norm" else 1000
    p = predict_profiles(Architecture(name, depth=depth, width=512)).profiles
    for (_, quantity), profile in p.items():
        if quantity in SPECTRAL or (name, quantity) == ("no-norm", "rank_residual"):
            continue  # declined where depth or saturated attention spreads pair cosines
        zero = np.isneginf(profile) & (quantity in ("weight_grad_norm", "rank_residual"))  # of equal tokens
        assert (np.isfinite(profile) | zero).all(), quantity


@pytest.mark.law
def test_saturated_functions_leave_a_stack_that_grows_linearly() -> None:
    """tanh of a large stream is its sign, whatever the size: all branches add alike."""
    q = np.exp(predict_profiles(Architecture("dyt", depth=4000)).profiles["0", "variance"])
    assert (q[4000] - q[3900]) / (q[2100] - q[2000]) == pytest.approx(1, abs=0.02)
    assert q[4000] > 2000


@pytest.mark.exact
def test_spectra_are_declined_where_attention_picks_single_keys() -> None:
    arch = Architecture("no-norm", depth=8, width=512)
    p = predict_profiles(arch).profiles
    assert np.isnan(p["0", "effective_rank"]).tolist() == [False] * 4 + [True] * 5
    assert np.isfinite(
        predict_profiles(arch.with_(placement="pre-norm")).profiles["0", "effective_rank"]
    ).all()


def test_no_norm_overflow_is_an_error_that_names_the_layer() -> None:
    with pytest.raises(AssumptionError, match="leaves float64's range at layer"):
        predict_profiles(Architecture("no-norm", depth=2000, width=64, tokens=4, qk_norm=True))


@pytest.mark.exact
@pytest.mark.parametrize("scaling", ["unit", "gpt2"])
@pytest.mark.parametrize("name", STANDARD)
def test_bounds_contain_the_theory(name: str, scaling: str) -> None:
    for cosine in (0.0, 0.4, 0.99):
        arch = Architecture(name, scaling, depth=10, width=2048, tokens=32, input_cosine=cosine)
        p = predict_profiles(arch).profiles
        limits = bounds(arch)
        streams = map(str, range(arch.definition.streams))
        assert set(limits) == set(product(streams, ("variance", "grad_variance")))
        for key, (low, high) in limits.items():
            assert (low - 1e-9 <= p[key]).all()
            assert (p[key] <= high + 1e-9).all()


@pytest.mark.exact
def test_keys_gradients_keep_their_digits_where_tokens_collapse() -> None:
    """Row sums of attention are fixed, so keys see differences of tokens only, as queries do."""
    profiles = predict_profiles(Architecture("post-norm", depth=120, width=256, heads=4, tokens=16)).profiles
    query, key = (profiles[f"attn.{name}", "weight_grad_norm"][-40:] for name in ("query", "key"))
    assert key == pytest.approx(query, abs=1e-9)


@pytest.mark.exact
def test_normed_queries_and_keys_keep_their_digits_too() -> None:
    """Their gradients fall as the token differences squared, far beyond a cosine that rounds to one."""
    profiles = predict_profiles(Architecture("hybrid-norm", depth=300)).profiles
    vanishing = 4 * profiles["0", "rank_residual"] + profiles["0", "grad_variance"]
    assert profiles["0", "rank_residual"][280] < np.log(1e-30)
    query, key = (profiles[f"attn.{name}", "weight_grad_norm"] - vanishing[:-1] for name in ("query", "key"))
    # what is left drifts slowly; where digits are lost it jumps by 0.07 and more from block to block
    assert np.abs(np.diff(query[20:280])).max() < 0.06
    assert np.abs(np.diff((key - query)[40:280])).max() < 2e-4


@pytest.mark.exact
@pytest.mark.parametrize("decades", [0.1, 2.0, 7.0, 90.0, -7.0, -90.0])
@pytest.mark.parametrize("pairs", [1, 3])
def test_gradients_keep_their_exponent_however_steep_a_stack_is(decades: float, pairs: int) -> None:
    """Whatever a block makes of a gradient, up to the range of floats."""
    block = np.array([[10.0**decades, 0.0], [0.5 * 10.0**decades, 0.5 * 10.0**decades]])
    blocks = np.array([np.kron(np.eye(pairs), block)] * 37)
    rows, exponents = scaled_product(blocks, np.ones(2 * pairs), 0.25)
    assert np.log(rows[:, 0]) + exponents == pytest.approx(
        0.25 + decades * np.log(10) * np.arange(38), rel=1e-12, abs=1e-12
    )
    assert rows[:, 1] / rows[:, 0] == rounded(np.ones(38))
    assert rows.max(axis=1) == rounded(np.ones(38))


@pytest.mark.exact
def test_wirings_that_take_turns_are_iterated_in_the_order_of_layers() -> None:
    """All streams of hyper-connections are PreNorm's, whichever of them a block reads."""
    found, plain = (
        predict_profiles(Architecture(name, depth=9, width=256, heads=4, tokens=16)).profiles
        for name in ("hyper-connections", "pre-norm")
    )
    for quantity in ("variance", "token_cosine", "participation_ratio"):
        for stream in "0123":
            assert found[stream, quantity] == pytest.approx(plain["0", quantity], rel=1e-12)
    assert found["ffn.up", "weight_grad_norm"] == pytest.approx(plain["ffn.up", "weight_grad_norm"], rel=1e-9)


@pytest.mark.reference
def test_a_norm_takes_from_keys_what_rows_of_like_gradients_read_along_them() -> None:
    """Against sampled heads; without it keys are up to 17 % high, with it the next order in 1/n is left."""
    arch = Architecture(
        "hybrid-norm", "depth-scaled-init", depth=4, width=256, heads=4, tokens=32, loss="mean"
    )
    pair, sampled = predict_pair(arch).profiles, predict_gram(arch).profiles
    for name in ("attn.query", "attn.key"):
        key = name, "weight_grad_norm"
        assert np.abs(pair[key] - sampled[key]).max() < 0.06


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("placement", "loss", "names"),
    [("hybrid-norm", "mean", ("query", "key")), ("post-norm", "probe", ("value", "output"))],
)
def test_narrow_streams_are_read_beyond_the_mean_of_their_tokens(
    placement: str, loss: str, names: tuple[str, str]
) -> None:
    """Tokens whose covariance is not the mean turn queries and keys, and rows are biased towards keys like
    their own: an eighth of these gradients at width 64. 2/d is the width's own."""
    arch = Architecture(placement, depth=1, width=64, heads=4, tokens=32, loss=loss)
    samples, profiles = simulate(arch, networks=800, progress=False).samples, predict_pair(arch).profiles
    for name in (f"attn.{name}" for name in names):
        estimate, error = log_mean(samples[name, "weight_grad_norm"][:, 0])
        assert abs(profiles[name, "weight_grad_norm"][0] - estimate) < 3 * error + 2 / arch.width


@pytest.mark.exact
@pytest.mark.parametrize("changes", [{}, {"placement": "siamese-norm"}, {"experts": 4, "top_k": 2}], ids=str)
def test_forward_moments_alone_are_those_of_the_whole(changes: dict[str, Any]) -> None:
    arch = Architecture("dyt", depth=5, width=64, heads=4, tokens=8).with_(**changes)
    whole, part = predict_pair(arch), predict_forward(arch)
    for stream in map(str, range(arch.definition.streams)):
        for quantity in ("variance", "token_cosine", "layer_cosine", "branch_share"):
            key = stream, quantity
            np.testing.assert_array_equal(part.profiles[key], whole.profiles[key])
    np.testing.assert_array_equal(part.undecided, whole.undecided)


@pytest.mark.exact
def test_a_stream_that_is_not_passed_on_has_no_gradient() -> None:
    """One block of DeepScaleLM's skips all four streams with factor 0; one of them is read."""
    profiles = predict_pair(Architecture("hyper-connections", "deepscalelm", depth=1)).profiles
    sizes = [float(profiles[str(s), "grad_variance"][0]) for s in range(4)]
    assert np.isfinite(sizes[0])
    assert sizes[2:] == [-np.inf, -np.inf]
