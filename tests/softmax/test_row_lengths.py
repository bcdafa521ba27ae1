"""Statistics of attention rows of any length against quadratures at one length."""

import numpy as np
import pytest

from spannorm_theory.base.errors import PositionsError
from spannorm_theory.softmax.overlaps import head_overlaps
from spannorm_theory.softmax.query_bias import query_biases
from spannorm_theory.softmax.row_lengths import row_length_table
from spannorm_theory.softmax.rows import one_row

HEAD = 64


def rows(keys: float, logits: float):
    return row_length_table(1024, HEAD, False)(np.array([float(keys)]), np.array([logits]))


@pytest.mark.reference
@pytest.mark.parametrize("logits", [1e-4, 0.3, 1.0, 4.0, 16.0, 40.0])
@pytest.mark.parametrize("keys", [2, 3, 5, 23, 190, 700])
def test_one_row_is_that_of_the_quadrature(keys: int, logits: float) -> None:
    """To 2e-3, that of splines in lengths and logits."""
    found, exact = rows(keys, logits), head_overlaps(logits, 0.3, keys, HEAD)
    biases = query_biases(logits, 0.0, keys, HEAD)
    assert found.p2[0] == pytest.approx(exact.p2, rel=2e-3)
    assert found.query[0] == pytest.approx(exact.query, rel=2e-3)
    assert found.key[0] == pytest.approx(exact.key, rel=2e-3)
    assert found.chance[0] == pytest.approx(biases.chance, rel=2e-3, abs=1e-4)
    assert found.value_bias[0] == pytest.approx(biases.value, rel=1e-2, abs=1e-4)


@pytest.mark.reference
@pytest.mark.parametrize(("logits", "error"), [(0.3, 0.01), (1.0, 0.025), (4.0, 0.06), (16.0, 0.12)])
@pytest.mark.parametrize("keys", [5, 64, 1000])
def test_two_rows_follow_from_the_ends_of_one(keys: int, logits: float, error: float) -> None:
    """The cubic in the rows' correlation, whose slope is J11: closest where logits are small."""
    found = rows(keys, logits)
    for rho in (-0.1, 0.0, 0.3, 0.7, 0.95):
        exact = head_overlaps(logits, rho, keys, HEAD)
        peak, slope, tilt = (x[0] for x in found.together(np.array([rho]), HEAD))
        assert peak == pytest.approx(keys * exact.p11, rel=error / 2)
        assert slope == pytest.approx(keys * exact.j11, rel=error)
        assert tilt == pytest.approx(keys * exact.tilt, rel=error, abs=0.02 * keys * exact.j11)


@pytest.mark.exact
def test_a_single_key_has_all_weight() -> None:
    found = rows(1, 3.0)
    assert found.p2[0] == 1
    assert found.query[0] == found.key[0] == found.chance[0] == 0
    peak, slope, tilt = found.together(np.array([0.4]), HEAD)
    assert (peak[0], slope[0], tilt[0]) == (1, 0, 0)


@pytest.mark.exact
def test_equal_rows_are_one() -> None:
    found = row_length_table(1024, HEAD, True)(np.array([37.0]), np.array([2.0]))
    peak, slope, _ = found.together(np.ones(1), HEAD)
    assert peak[0] == pytest.approx(37 * found.p2[0], rel=1e-12)
    assert slope[0] == pytest.approx(37 * found.query[0], rel=1e-12)


@pytest.mark.reference
@pytest.mark.parametrize("keys", [3, 16, 128])
def test_rows_behind_norms_are_those_of_points_on_a_sphere(keys: int) -> None:
    """Logits of bounded size, and what a norm takes of the gradient along its token."""
    found = row_length_table(128, 16, True)(np.array([float(keys)]), np.array([4.0]))
    exact = one_row(2.0, keys, 16)
    assert found.p2[0] == pytest.approx(exact.p2, rel=2e-3)
    assert found.query[0] == pytest.approx(exact.j, rel=2e-3)
    assert 1 + 15 * found.along[0] == pytest.approx(exact.along_key / exact.j, rel=5e-3)


@pytest.mark.statistical
def test_a_key_of_larger_logits_gains_mean_weight() -> None:
    """E A of softmax rows whose logits have a covariance near that of independent ones, by sampling: even
    weights and, to first order, the variance of a logit around its row's mean."""
    keys, variance, random = 12, 2.0, np.random.default_rng(0)
    more = 0.15 * random.standard_normal((keys, keys))
    covariance = variance * np.eye(keys) + more + more.T
    logits = random.standard_normal((400_000, keys)) @ np.linalg.cholesky(covariance).T
    logits = np.concatenate([logits, -logits])
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    mean, se = weights.mean(axis=0), weights.std(axis=0) / np.sqrt(len(weights))
    around = covariance.diagonal() - 2 * covariance.mean(axis=1)
    open_ = covariance.diagonal().mean() - covariance.mean()
    row = row_length_table(1024, 2**20, False)(np.array([float(keys)]), np.array([open_ * keys / (keys - 1)]))
    tilt = row.tilting[0] * (around - around.mean()) / 2
    assert np.abs(tilt).max() > 0.08
    assert (np.abs(keys * mean - 1 - tilt) < 4 * keys * se + 0.1 * np.abs(tilt)).all()


def test_logits_beyond_the_table_are_refused() -> None:
    with pytest.raises(PositionsError, match="variance of 90, beyond those of the table"):
        rows(64, 90.0)
