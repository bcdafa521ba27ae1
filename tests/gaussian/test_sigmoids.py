"""The kernel of tanh at all sizes and angles, against integration in two dimensions and identities."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss

from spannorm_theory.gaussian.activations import ACTIVATIONS
from spannorm_theory.gaussian.elementwise import one_token
from spannorm_theory.gaussian.sigmoids import LOGISTIC, SigmoidKernel, tanh_kernel

TANH = tanh_kernel()


def tanh_slope(u: np.ndarray) -> np.ndarray:
    return np.asarray(np.cosh(np.minimum(np.abs(u), 300.0)) ** -2.0)


@lru_cache
def panels() -> tuple[np.ndarray, np.ndarray]:
    """A composite Gauss rule on (-12, 12), finer towards zero."""
    ends = np.concatenate([[0.0], np.geomspace(1e-3, 0.3, 12), np.linspace(0.3, 12.0, 36)[1:]])
    x, w = leggauss(12)
    half = np.diff(ends) / 2
    z, w = ((ends[:-1] + half)[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()
    return np.concatenate([-z[::-1], z]), np.concatenate([w[::-1], w])


def directly(q: float, rho: float, slope: bool) -> float:
    """E f(u) f(v) over the joint density."""
    z, w = panels()
    density = np.exp(-((z[:, None] - rho * z) ** 2) / (2 * (1 - rho**2)) - z**2 / 2)
    f = w * (tanh_slope if slope else np.tanh)(np.sqrt(q) * z)
    return float(f @ density @ f) / (2 * np.pi * np.sqrt(1 - rho**2))


@pytest.mark.exact
@pytest.mark.parametrize("q", [1e-4, 0.3, 3.0, 40.0, 1e3])
@pytest.mark.parametrize("rho", [-0.9, -0.2, 0.5, 0.99])
def test_against_integration_in_two_dimensions(q: float, rho: float) -> None:
    assert TANH.value(q, q, q * rho) == pytest.approx(directly(q, rho, False), rel=1e-9)
    assert TANH.slope(q, q, q * rho) == pytest.approx(directly(q, rho, True), rel=1e-9)


@pytest.mark.exact
@pytest.mark.parametrize("q", [1e-12, 1e-3, 1.0, 30.0, 1e5, 1e9])
def test_one_token_against_its_integral(q: float) -> None:
    known = one_token("tanh")
    assert TANH.value(q, q, q) == pytest.approx(known.value(q), rel=1e-9, abs=0)
    assert TANH.slope(q, q, q) == pytest.approx(known.slope(q), rel=1e-9, abs=0)
    assert TANH.drop(q, 0.5 * q)[0] == pytest.approx(known.value(q), rel=1e-9, abs=0)


@pytest.mark.exact
@pytest.mark.parametrize("q", [0.01, 1.0, 9.0])
def test_the_gate_is_a_sigmoid(q: float) -> None:
    """One token and two at once, against a Gauss rule; slopes by Price's theorem."""
    z, w = panels()
    density = w * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    gate = 1 / (1 + np.exp(-np.sqrt(q) * z))
    other = 1 / (1 + np.exp(-np.sqrt(q) * (0.6 * z[:, None] + 0.8 * z)))
    one, two = density @ gate**2, (density * gate) @ other @ density
    slopes = (
        density @ (gate * (1 - gate)) ** 2,
        (density * gate * (1 - gate)) @ (other * (1 - other)) @ density,
    )
    found = LOGISTIC.pair(np.array([q]), np.array([0.4 * q]))
    assert [float(x[0]) for x in found] == pytest.approx([one, slopes[0], two, slopes[1]], rel=1e-9)
    assert LOGISTIC.drop(q, 0.4 * q) == pytest.approx((one, one - two), rel=1e-9)
    at = q, q, 0.6 * q
    assert (LOGISTIC.value(*at), LOGISTIC.slope(*at)) == pytest.approx((two, slopes[1]), rel=1e-9)
    assert LOGISTIC.drop(0.0, 0.0) == (0.25, 0.0)


@pytest.mark.exact
def test_tokens_of_different_size() -> None:
    """By Stein's lemma the kernel's slope at c = 0 is the product of two mean slopes."""
    z, w = panels()
    w = w * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    q1, q2 = 0.4, 250.0
    slopes = [float(w @ tanh_slope(np.sqrt(q) * z)) for q in (q1, q2)]
    assert TANH.slope(q1, q2, 0.0) == pytest.approx(slopes[0] * slopes[1], rel=1e-9)
    # v given u at correlation 1: a function of one variable
    same = float(w @ (np.tanh(np.sqrt(q1) * z) * np.tanh(np.sqrt(q2) * z)))
    assert TANH.value(q1, q2, np.sqrt(q1 * q2)) == pytest.approx(same, rel=1e-9)
    assert TANH.value(q1, np.full((2, 3), q2), 0.0).shape == (2, 3)


@pytest.mark.exact
def test_tokens_of_one_size_have_the_kernel_of_any_two() -> None:
    random = np.random.default_rng(0)
    q = 10 ** random.uniform(-9, 12, 200)
    delta = q * random.uniform(0, 2, 200)
    value, slope = TANH.value(q, q, q - delta), TANH.slope(q, q, q - delta)
    one, steepest, two, between = TANH.pair(q, delta)
    np.testing.assert_allclose(one, TANH.value(q, q, q), rtol=1e-12)
    np.testing.assert_allclose(steepest, TANH.slope(q, q, q), rtol=1e-12)
    np.testing.assert_allclose(two, value, rtol=1e-11)
    np.testing.assert_allclose(between, slope, rtol=1e-11)
    looped = np.array([TANH.drop(float(x), float(y)) for x, y in zip(q, delta, strict=True)])
    np.testing.assert_allclose(looped[:, 0], one, rtol=1e-12)
    np.testing.assert_allclose(looped[:, 1], one - value, rtol=1e-10)


@pytest.mark.exact
@pytest.mark.parametrize("q", [0.2, 50.0, 1e8])
def test_covariances_are_odd_and_drops_keep_their_digits(q: float) -> None:
    for c in (1e-9 * q, 0.3 * q, 0.999 * q):
        for sign in (1, -1):
            top, drop = TANH.drop(q, q - sign * c)
            two = TANH.pair(np.array([q]), np.array([q - sign * c]))[2][0]
            assert two == pytest.approx(TANH.value(q, q, sign * c), rel=1e-7)  # of c = 1e-9 q, from q - delta
            assert top - drop == pytest.approx(two, rel=1e-9, abs=1e-15)
    # the next order of a drop is delta^2, over 4 q at the most
    for delta in (1e-5, 1e-9, 1e-15, 1e-200):
        slope = TANH.slope(q, q, q)
        assert TANH.drop(q, delta)[1] == pytest.approx(slope * delta, rel=1e-12 + 2 * delta, abs=0)


@pytest.mark.exact
def test_a_single_error_function_has_its_closed_form() -> None:
    erf = SigmoidKernel(np.array([0.5**0.5]), np.ones(1))
    closed = ACTIVATIONS["erf"].kernel
    for q1, q2, c in ((1.0, 1.0, 1.0), (0.3, 20.0, -2.0), (1e4, 1e4, 9e3)):
        assert erf.value(q1, q2, c) == pytest.approx(closed.value(q1, q2, c), rel=1e-14)
        assert erf.slope(q1, q2, c) == pytest.approx(closed.slope(q1, q2, c), rel=1e-14)
    assert erf.drop(7.0, 1e-4) == pytest.approx(closed.drop(7.0, 1e-4), rel=1e-12)


@pytest.mark.law
def test_tanh_tends_to_the_sign() -> None:
    for q in (1e8, 1e12, 1e30):
        for rho in (-0.5, 0.1, 0.9):
            assert TANH.value(q, q, rho * q) == pytest.approx(2 / np.pi * np.arcsin(rho), rel=1 / np.sqrt(q))
    # the integral of 1 - tanh^2 is 2
    assert 1 - TANH.value(1e8, 1e8, 1e8) == pytest.approx(np.sqrt(2 / (np.pi * 1e8)), rel=1e-6)
