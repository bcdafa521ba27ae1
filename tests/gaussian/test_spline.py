"""Splines and polynomials: between and at their knots, at numbers and at arrays."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory.gaussian.spline import Spline1D, Spline2D, through_nodes

X, Y = np.geomspace(0.5, 4.5, 9), np.linspace(-1, 2, 7)


def two(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Functions that are cubic in each variable, which splines reproduce, and their sum with a constant."""
    cubic = (x**3 - 2 * x) * (y**3 + y**2 - 1)
    return np.stack([cubic, cubic + 3.0, 0 * cubic + 3.0], axis=-1)


@pytest.mark.exact
def test_cubics_are_reproduced_between_and_beyond_the_knots() -> None:
    one = Spline1D(X, np.stack([X**3 - X, 2 - X**2], axis=-1))
    x = np.array([0.5, 0.77, 2.0, 4.5, 6.0, 0.1])
    np.testing.assert_allclose(one(x), [x**3 - x, 2 - x**2], rtol=1e-11, atol=1e-12)
    table = Spline2D(X, Y, two(X[:, None], Y[None, :]))
    y = np.array([-1.0, 0.3, 1.99, 2.0, 2.5, -1.4])
    np.testing.assert_allclose(table(x, y), two(x, y).T, rtol=1e-11, atol=1e-11)


@pytest.mark.exact
def test_one_point_is_that_of_many() -> None:
    random = np.random.default_rng(0)
    one = Spline1D(X, random.standard_normal((9, 2)))
    table = Spline2D(X, Y, random.standard_normal((9, 7, 3)))
    x, y = random.uniform(0, 5, 50), random.uniform(-1.5, 2.5, 50)
    x[:4], y[:4] = (X[0], X[-1], X[3], X[3]), (Y[0], Y[-1], Y[2], 0.1)
    looped = np.array([one.at(u) for u in x.tolist()]).T
    np.testing.assert_allclose(looped, one(x), rtol=1e-12, atol=1e-13)
    looped = np.array([table.at(u, v) for u, v in zip(x.tolist(), y.tolist(), strict=True)]).T
    np.testing.assert_allclose(looped, table(x, y), rtol=1e-11, atol=1e-12)
    assert table(x.reshape(5, 10), y.reshape(5, 10)).shape == (3, 5, 10)


@pytest.mark.exact
def test_the_cubic_through_a_point_has_its_slope() -> None:
    table = Spline2D(X, Y, two(X[:, None], Y[None, :]))
    z, cubics = table.cubics(1.3, 0.4)
    a, b, c, _ = cubics[0]
    assert (3 * a * z + 2 * b) * z + c == pytest.approx((1.3**3 - 2.6) * (3 * 0.4**2 + 0.8), rel=1e-12)
    many, arrays = table.along_y(np.array([1.3]), np.array([0.4]))
    np.testing.assert_allclose(many, [z], rtol=1e-12)
    np.testing.assert_allclose(arrays[..., 0].T, cubics, rtol=1e-12, atol=1e-12)


@pytest.mark.exact
def test_ends_may_be_flat() -> None:
    """An even function keeps its digits at the origin when its slope there is given."""
    x = np.linspace(0, 2, 21)
    flat, free = (Spline1D(x, np.cos(x)[:, None], (end, "not-a-knot")) for end in ("clamped", "not-a-knot"))
    at = 0.02
    errors = [abs(spline.at(at)[0] - np.cos(at)) for spline in (flat, free)]
    assert errors[0] < errors[1] / 5


@pytest.mark.exact
def test_polynomials_go_through_their_nodes_and_are_those_of_smooth_functions() -> None:
    nodes, x = np.cos(np.pi * np.arange(20) / 19.5), np.linspace(-1, 1, 41)
    np.testing.assert_allclose(through_nodes(nodes, nodes), np.eye(20), rtol=0, atol=1e-13)
    np.testing.assert_allclose(through_nodes(nodes, x) @ np.exp(nodes), np.exp(x), rtol=1e-13)
    np.testing.assert_allclose(
        through_nodes(np.arange(4) / 1.5 - 1, x) @ np.arange(4) ** 3.0, (1.5 * (x + 1)) ** 3, rtol=1e-12
    )
