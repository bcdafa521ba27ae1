"""Products of softmax residuals under a soft cap, against samples."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import rounded

from spannorm_theory.softmax.residuals import residuals
from spannorm_theory.softmax.rows import capped_moment, log_partition

SAMPLES, ROWS = 20, 200


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("s2", "rho", "types", "cap"), [(4.0, 0.5, 300, 2.0), (25.0, -0.4, 100, 1.0), (9.0, 0.9, 100, 8.0)]
)
def test_means_of_samples(s2: float, rho: float, types: int, cap: float) -> None:
    random, found = np.random.default_rng(0), []
    for _ in range(SAMPLES):
        common, one, two = random.standard_normal((3, ROWS, types))
        shared, own = np.sqrt(s2 * abs(rho)), np.sqrt(s2 * (1 - abs(rho)))
        z = shared * common + own * one, np.sign(rho) * shared * common + own * two
        c, other = (cap * np.tanh(x / cap) for x in z)
        t, t_other = (1 - np.square(x / cap) for x in (c, other))
        p, p_other = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (c, other))
        rows = (
            (p * t) ** 2,
            p * t**2,
            t**2 / types,
            p * p_other * t * t_other,
            p * t * t_other,
            t * t_other / types,
        )
        logs = np.log(np.exp(c).sum(axis=1)), np.square(c).mean(axis=1)
        found.append([*(x.sum(axis=1).mean() for x in rows), *(x.mean() for x in logs)])
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / SAMPLES**0.5
    own_, two_ = residuals(s2, rho, types, cap)
    theory = [*own_, *two_, log_partition(s2**0.5, types, cap), capped_moment(s2**0.5, cap)]
    assert (np.abs(theory - mean) < 4.5 * error).all()
    assert (error < 0.02 * mean).all()


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("s2", "rho", "types", "cap", "mean"),
    [
        (9.0, 0.6, 50, None, 3.0),
        (4.0, -0.6, 30, None, 3.0),
        (6.0, 0.7, 40, 3.0, 2.5),
        (1.0, 0.3, 3, None, 1.0),
    ],
)
def test_a_mean_of_the_own_type_against_samples(
    s2: float, rho: float, types: int, cap: float | None, mean: float
) -> None:
    """One id in ``types`` is that of the other token, and so with labels, whose means are taken exactly."""
    random, found, alike = np.random.default_rng(0), [], 1 / types
    for _ in range(SAMPLES):
        common, one, two = random.standard_normal((3, 4 * ROWS, types))
        shared, own = np.sqrt(s2 * abs(rho)), np.sqrt(s2 * (1 - abs(rho)))
        z, other = shared * common + own * one, np.sign(rho) * shared * common + own * two
        z[:, 0] += mean
        rows = np.zeros(5)
        for place, share in ((0, alike), (1, 1 - alike)):  # of the other's type
            w = other.copy()
            w[:, place] += mean
            c, d = ((x if cap is None else cap * np.tanh(x / cap)) for x in (z, w))
            t, u = ((np.ones_like(x) if cap is None else 1 - np.square(x / cap)) for x in (c, d))
            p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (c, d))
            products = ((p * t) ** 2, p * t**2, t**2 / types, p * q * t * u, p * t * u)
            rows += share * np.array([x.sum(axis=1).mean() for x in products])
        found.append(rows)
    average, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / SAMPLES**0.5
    own_, two_ = residuals(s2, rho, types, cap, mean, alike)
    assert (np.abs(np.array([*own_, two_.both, two_.one]) - average) < 4.5 * error + 1e-9).all()
    own_, two_ = residuals(s2, rho, types, cap)  # without a mean
    assert (np.abs(np.array([*own_, two_.both, two_.one]) - average) > 6 * error).any()


@pytest.mark.exact
@pytest.mark.parametrize("rho", [0.0, 0.7, -0.3])
def test_a_far_cap_changes_nothing(rho: float) -> None:
    for one, other in zip(residuals(3.0, rho, 500, 1e6), residuals(3.0, rho, 500), strict=True):
        assert one == pytest.approx(tuple(other), rel=1e-8)  # wider steps of plain logits
    assert log_partition(1.7, 500, 1e6) == rounded(log_partition(1.7, 500))


@pytest.mark.exact
def test_large_logits_are_resolved_under_a_cap() -> None:
    """All but the likeliest types are at one of the two ends, where nothing passes."""
    own, two = residuals(300.0, 0.5, 256_000, 30.0)
    assert 0 < two.both < own.both < own.one < own.none < 1
    assert log_partition(300.0**0.5, 256_000, 30.0) < np.log(256_000) + 30
