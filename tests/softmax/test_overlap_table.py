"""Tables of attention overlaps against the quadrature they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory.softmax.overlap_table import head_table
from spannorm_theory.softmax.overlaps import head_overlaps
from spannorm_theory.softmax.query_bias import bias_table

KEYS, HEAD_WIDTH = 16, 8


@pytest.mark.reference
def test_table_is_the_quadrature() -> None:
    """At random (s^2, rho): absolute errors; relative ones of what logits multiply, 1 - P2, J and J11; and
    of what even weights take off, P2 - 1/n."""
    rng = np.random.default_rng(0)
    s2 = np.exp(rng.uniform(-6, 12, 24))
    rho = 1 - (1 + 1 / (KEYS - 1)) * rng.uniform(0, 1, 24) ** 2
    points = zip(s2.tolist(), rho.tolist(), strict=True)
    direct = np.array([head_overlaps(a, b, KEYS, HEAD_WIDTH) for a, b in points]).T
    p2, _, query, j11, _, _, key, _ = direct
    table = head_table(KEYS, HEAD_WIDTH).all(s2, rho)
    assert np.abs(table - direct).max() < 5e-6
    assert 1 - table[0] == pytest.approx(1 - p2, rel=1e-6)
    assert table[0] - 1 / KEYS == pytest.approx(p2 - 1 / KEYS, rel=1e-6)
    assert table[2] == pytest.approx(query, rel=1e-6)
    assert table[6] == pytest.approx(key, rel=1e-6)
    assert table[3] == pytest.approx(j11, rel=3e-4)


@pytest.mark.exact
def test_one_point_is_that_of_many() -> None:
    table = head_table(KEYS, HEAD_WIDTH)
    s2 = np.array([0.0, 1e-8, 0.3, 5.0, 70.0, 300.0, 1e20, 1e90])
    rho = np.array([0.2, 1.0, -0.05, 0.999, 0.5, 0.3, 1 - 1e-12, -1 / 15])
    found = [table.forward(float(a), float(b)) for a, b in zip(s2, rho, strict=True)]
    assert found[0] == pytest.approx((1 / KEYS, 1 / KEYS, 0), abs=1e-15)
    p2, p11, bias = np.array(found).T
    assert np.array([p2, p11]) == pytest.approx(table.all(s2, rho)[:2], abs=1e-13)
    assert bias == pytest.approx(bias_table(KEYS, HEAD_WIDTH).all(s2, rho)[0], rel=1e-11, abs=1e-30)


@pytest.mark.law
def test_logits_at_any_size_leave_their_product_with_one_minus_p2_finite() -> None:
    """s (1 - P2) tends to a constant, which the lean of rows towards their keys is made of."""
    s = np.array([1e3, 1e5, 1e7])
    gap = s * (1 - head_table(KEYS, HEAD_WIDTH).all(s**2, np.full(3, 0.5))[0])
    assert gap == pytest.approx(gap[0], rel=1e-4)
