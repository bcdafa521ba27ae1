"""Rank metrics: definitions against numpy, the theory's spectra against samples, and exact limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import rounded

from spannorm_theory import Architecture
from spannorm_theory.gaussian import rank_metrics as rank
from spannorm_theory.moments.sampled_tokens import SampledTokens
from spannorm_theory.montecarlo.metrics import gram, log_rank_residual, rank_metrics, token_modes
from spannorm_theory.prediction.exchangeable import predict_pair
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.prediction.sampled import predict_gram

METRICS = ("stable_rank", "effective_rank", "participation_ratio")


def by_definition(x: np.ndarray) -> tuple[float, float, float, float]:
    """ln residual, stable rank, effective rank, participation ratio of one (tokens, width) array."""
    s = np.linalg.svd(x, compute_uv=False)
    p = s[s > 0] / s.sum()
    residual = np.linalg.norm(x - x.mean(axis=0)) / np.linalg.norm(x)
    return (
        float(np.log(residual)),
        np.sum(s**2) / s[0] ** 2,
        float(np.exp(-np.sum(p * np.log(p)))),
        np.sum(s**2) ** 2 / np.sum(s**4),
    )


def tokens_of(rho: float, n: int, d: int, samples: int) -> np.ndarray:
    z = np.random.default_rng(0).standard_normal((samples, n, d))
    mean = z.mean(axis=1, keepdims=True)
    return np.sqrt(1 - rho) * (z - mean) + np.sqrt(1 + (n - 1) * rho) * mean


def theory_of(rho: float, n: int, d: int) -> dict[str, float]:
    one = np.ones(1)
    return {k: float(v[0]) for k, v in rank.rank_metrics(one, (1 - rho) * one, one / d, n, d).items()}


@pytest.mark.reference
@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (2, 3)])
@pytest.mark.parametrize("rho", [0.0, 0.9, 1 - 1e-12])
def test_measured_metrics_are_the_definitions(shape: tuple[int, int], rho: float) -> None:
    x = tokens_of(rho, *shape, samples=3)
    modes = gram(token_modes(torch.from_numpy(x)))
    measured = [log_rank_residual(modes), *rank_metrics(modes)]
    expected = np.transpose([by_definition(one) for one in x])
    # eigenvalues are right to 1e-16 of the largest, so that a vanishing singular value is right to 1e-8
    cancelled = rho > 0.99 or shape[0] > shape[1]
    np.testing.assert_allclose([m.numpy() for m in measured], expected, rtol=1e-6 if cancelled else 1e-9)


@pytest.mark.exact
def test_measured_limits() -> None:
    same = torch.ones(1, 5, 8, dtype=torch.float64)
    stable, effective, participation = rank_metrics(gram(token_modes(same)))
    assert [m.item() for m in (stable, effective, participation)] == rounded([1, 1, 1])
    assert log_rank_residual(gram(token_modes(same))).item() == -np.inf
    apart = rank_metrics(gram(token_modes(torch.eye(5, 8, dtype=torch.float64))))
    assert [m.item() for m in apart] == rounded([5, 5, 5])
    undefined = rank_metrics(gram(torch.full((1, 5, 8), torch.inf)))
    assert all(m.isnan().all() for m in undefined)


@pytest.mark.exact
def test_theory_limits() -> None:
    wide = theory_of(0.0, 16, 10**12)
    # singular values spread by sqrt(16 / d) = 4e-6
    assert [wide[m] for m in METRICS] == pytest.approx([16, 16, 16], rel=1e-5)
    collapsed = theory_of(1 - 1e-15, 16, 64)
    # fifteen further singular values of 1e-8, of which the entropy takes -p ln p each
    assert [collapsed[m] for m in METRICS] == pytest.approx([1, 1, 1], abs=3e-6)
    assert collapsed["rank_residual"] == rounded(0.5 * np.log(15 / 16 * (1 - (1 - 1e-15))))
    halfway = theory_of(0.5, 16, 10**12)
    assert halfway["stable_rank"] == pytest.approx(16 / 8.5, rel=1e-9)
    assert halfway["participation_ratio"] == pytest.approx(16 / (1 + 15 / 4), rel=1e-9)
    s = np.sqrt(np.array([8.5] + [0.5] * 15))
    p = s / s.sum()
    assert halfway["effective_rank"] == pytest.approx(np.exp(-np.sum(p * np.log(p))), rel=1e-9)


@pytest.mark.exact
def test_the_residual_is_resolved_far_below_rounding() -> None:
    profiles = predict_profiles(Architecture("post-norm", depth=200, width=512)).profiles
    rate = np.diff(profiles["0", "rank_residual"])[50:]
    assert (rate < -0.3).all()
    np.testing.assert_allclose(rate, rate[-1], rtol=1e-9)
    assert (profiles["0", "token_cosine"][100:] == 1).all()


@pytest.mark.reference
@pytest.mark.parametrize(("n", "d"), [(64, 256), (48, 32), (24, 24)])
@pytest.mark.parametrize("rho", [0.0, 0.02, 0.3, 0.95])
def test_theory_against_gaussian_samples(n: int, d: int, rho: float) -> None:
    """Effective rank at n = 64, d = 256 to 1e-3; the others carry 2/d and, near the spike, Tracy-Widom."""
    samples = np.array([by_definition(x) for x in tokens_of(rho, n, d, 60)])
    mean, error = samples.mean(axis=0), samples.std(axis=0) / np.sqrt(len(samples))
    theory = theory_of(rho, n, d)
    for i, (name, relative) in enumerate(zip(METRICS, (1.5 / d + 0.01, 0.2 / d, 2 / d), strict=True), 1):
        assert abs(theory[name] - mean[i]) < 4 * error[i] + relative * mean[i], name
    if (n, d, rho) == (64, 256, 0.0):
        assert theory["effective_rank"] == pytest.approx(mean[2], rel=1e-3)


@pytest.mark.exact
def test_spike_measure_is_continuous_through_its_transition() -> None:
    n, d = 64, 256
    theta = np.sqrt((n - 1) / d) * (1 + np.array([-1e-3, 1e-3]))
    values = [theory_of(t / (n + t), n, d)["effective_rank"] for t in theta]
    assert values[0] == pytest.approx(values[1], rel=1e-5)  # the points are 2e-3 apart, the spike is small


@pytest.mark.statistical
def test_bartlett_factor_has_the_law_of_a_wishart() -> None:
    for width in (4, 64):
        arch = Architecture("post-norm", width=width, heads=1, tokens=8)
        variance = np.array([1 / width])
        drawn = np.concatenate([SampledTokens((0, b), 1, arch).products(variance)[:, 0] for b in range(100)])
        found = drawn @ drawn.swapaxes(1, 2)
        np.testing.assert_allclose(found.mean(axis=0), np.eye(8), atol=5 * np.sqrt(2 / width / 400))
        assert found[:, 0, 5].var() == pytest.approx(1 / width, rel=0.4)


@pytest.mark.statistical
def test_both_theories_agree_without_a_mask() -> None:
    arch = Architecture("pre-norm", depth=6, width=512, tokens=32)
    pair, resolved = predict_pair(arch), predict_gram(arch)
    assert resolved.errors is not None
    for name in METRICS:
        key = ("0", name)
        gap = np.abs(pair.profiles[key] - resolved.profiles[key])
        assert (gap < 5 * resolved.errors[key] + 0.04 * pair.profiles[key]).all(), name


@pytest.mark.statistical
def test_spread_of_pairs_grows_as_simulated() -> None:
    """V = (E cos^2 - rho^2)/(1 - rho)^2 at small rho: without it the participation ratio is 4% too high."""
    from spannorm_theory.montecarlo.ensemble import simulate

    arch = Architecture("span-norm", "depth-scaled-init", depth=24, width=256, heads=4, tokens=32)
    estimate = simulate(arch, networks=12, progress=False).samples["0", "participation_ratio"][:, -1]
    profiles = predict_pair(arch).profiles
    error = estimate.std(ddof=1) / np.sqrt(len(estimate))
    flat = theory_of(float(profiles["0", "token_cosine"][-1]), 32, 256)["participation_ratio"]
    predicted = profiles["0", "participation_ratio"][-1]
    assert abs(predicted - estimate.mean()) < 4 * error + 0.02 * predicted
    assert flat - estimate.mean() > 4 * error


@pytest.mark.exact
def test_equal_tokens_have_no_residual_whatever_rounding_leaves_of_their_drop() -> None:
    one, drop = np.ones(2), np.array([0.0, -1e-17])
    assert (rank.log_rank_residual(one, drop, 4) == -np.inf).all()
    # three tokens of ten types: in some draws all are one
    few = {"depth": 1, "width": 32, "heads": 2, "tokens": 3, "inputs": "zipf", "vocabulary": 10}
    table = predict_gram(Architecture("parallel-pre", positions="rope", **few)).profiles
    residual, drops = table["0", "rank_residual"], 1 - table["0", "token_cosine"]
    # the mean over draws of a root, below the root of the mean
    assert (residual <= 0.5 * np.log(2 / 3 * drops) + 1e-9).all()
    assert (residual > np.log(0.2)).all()
