"""The law of token differences whose covariances are unlike: moments, limits, and products of samples."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory import Architecture, verify
from spannorm_theory.gaussian.marchenko_pastur import difference_law
from spannorm_theory.gaussian.rank_metrics import effective_rank

NODES = 64


@pytest.mark.exact
@pytest.mark.parametrize("first", [0.05, 0.25, 0.6, 1.6])
@pytest.mark.parametrize("second", [0.0, 0.01, 0.3, 0.7])
def test_moments(first: float, second: float) -> None:
    eigenvalues, weight = difference_law(np.array(first), np.array(second), NODES)
    assert (np.diff(eigenvalues) < 0).all()
    assert (weight > 0).all()
    assert weight.sum() == pytest.approx(min(1, 1 / first), rel=1e-9)  # the rest is zero
    assert weight @ eigenvalues == pytest.approx(1, rel=1e-10)
    # free cumulants of independent factors of mean one: kappa_2 and kappa_3 of the product
    assert weight @ eigenvalues**2 == pytest.approx(1 + first + second, rel=1e-10)
    third = 1 + 3 * (first + second) + first**2 + second**2 + 3 * first * second
    assert weight @ eigenvalues**3 == pytest.approx(third, rel=1e-10)


@pytest.mark.exact
def test_without_a_spread_it_is_the_marchenko_pastur_law() -> None:
    phi = (np.arange(NODES) + 0.5) * np.pi / NODES
    eigenvalues, weight = difference_law(np.array(0.3), np.array(0.0), NODES)
    expected = 1.3 + 2 * np.sqrt(0.3) * np.cos(phi)
    np.testing.assert_allclose(eigenvalues, expected, rtol=1e-12)
    np.testing.assert_allclose(weight, 2 * np.sin(phi) ** 2 / expected / NODES, rtol=1e-12)


@pytest.mark.exact
def test_arrays_are_evaluated_element_by_element() -> None:
    first, second = np.array([0.2, 0.5]), np.array([0.1, 0.4])
    together = difference_law(first, second, 16)
    for i in range(2):
        for whole, one in zip(together, difference_law(first[i], second[i], 16), strict=True):
            np.testing.assert_allclose(whole[:, i], one, rtol=1e-14)


@pytest.mark.reference
@pytest.mark.parametrize(("n", "d", "m"), [(64, 256, 200), (96, 96, 240), (48, 200, 120)])
def test_effective_rank_of_samples_of_samples(n: int, d: int, m: int) -> None:
    """Rows are Gaussian with a covariance that is itself a sample of m: V = 1/d + 1/m."""
    random, found = np.random.default_rng(0), []
    for _ in range(60):
        x = random.standard_normal((n, m)) @ random.standard_normal((m, d))
        s = np.linalg.svd(x, compute_uv=False)
        p = s / s.sum()
        found.append(np.exp(-np.sum(p * np.log(p))))
    mean, error = np.mean(found), np.std(found) / np.sqrt(len(found))
    one = np.ones(2)
    spread = np.array([1 / d, 1 / d + 1 / m])
    sampled, unlike = effective_rank(one, one, n, d, spread)
    assert abs(unlike - mean) < 4 * error + 4e-3 * mean
    assert sampled > mean + 4 * error + 0.04 * mean


@pytest.mark.statistical
def test_as_many_tokens_as_coordinates_pass() -> None:
    result = verify(
        Architecture("siamese-norm", depth=4, width=64, heads=4, tokens=64), networks=32, progress=False
    )
    assert result.passed, result.summary()
    tested = result.table.query("quantity == 'effective_rank' and verdict == 'ok'")
    assert (tested["layer"] > 1).any()
