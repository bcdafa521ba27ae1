"""Biases of rows of attention towards the directions that queries pick, against sampled rows and tokens."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import rounded

from spannorm_theory.softmax.overlaps import head_overlaps, overlaps
from spannorm_theory.softmax.query_bias import Biases, bias_table, query_biases
from spannorm_theory.softmax.rows import row_powers

KEYS, SAMPLES = 24, 20000

#: coordinates of a head whose queries all have one norm
WIDE = 10**9


def _one_row(s2: float, keys: int = KEYS) -> tuple[Biases, Biases]:
    """Biases of a row of logit variance s^2, from pairs j != k and from j = k."""
    apart, both = (query_biases(s2, rho, keys, WIDE) for rho in (0.0, 1.0))
    return apart, Biases(*(x - y for x, y in zip(both, apart, strict=True)))


def _close(sampled: np.ndarray, expected: float) -> None:
    error = sampled.std(ddof=1) / np.sqrt(len(sampled))
    assert abs(sampled.mean() - expected) < 4 * error
    assert error < 0.05 * abs(expected) + 1e-3


@pytest.mark.statistical
@pytest.mark.parametrize("s", [0.7, 2.0, 4.0])
def test_steins_sums_are_those_of_sampled_rows(s: float) -> None:
    z = np.random.default_rng(3).standard_normal((SAMPLES, KEYS))
    a = np.exp(s * z)
    a /= a.sum(axis=1, keepdims=True)
    p2 = np.square(a).sum(axis=1)

    def apart(f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """sum over j != k of f_j g_k."""
        return f.sum(axis=1) * g.sum(axis=1) - (f * g).sum(axis=1)

    (value, jacobian, chance), (own_value, own_jacobian, own_chance) = _one_row(s**2)
    _close(apart(a * z, a * z), value)
    _close(p2 * apart(a * z, a * z) - 2 * apart(a**2 * z, a * z), jacobian)
    m = a - a**2
    _close(apart(a**2, a**2) + apart(m, m), chance)
    _close((a**2 * (z**2 - 1)).sum(axis=1), own_value)
    squares = (1 + p2)[:, None] * a**2 - 2 * a**3
    _close((squares * (z**2 - 1)).sum(axis=1), own_jacobian)
    _close(2 * np.square(m).sum(axis=1), own_chance)


@pytest.mark.statistical
def test_a_row_of_normed_tokens_reads_more_and_passes_less_back() -> None:
    """E |sum_j A_j x_j|^2 / d = P2 + b/d, and E tr(M X M X) = J + (chance + 2 b)/d, b the biases of values
    and of the Jacobian."""
    n, d, v, random = 32, 64, 9.0, np.random.default_rng(5)
    read = []
    for _ in range(3000):
        x = random.standard_normal((n, d))
        x *= np.sqrt(d / np.square(x).sum(axis=1, keepdims=True))
        a = np.exp(np.sqrt(v) * x[:, 0])
        a /= a.sum()
        m = np.diag(a) - np.outer(a, a)
        mx = m @ (x @ x.T / d)
        read.append([np.square(a @ x).sum() / d - np.square(a).sum(), np.sum(mx * mx.T) - np.sum(m * m)])
    found = np.array(read) * d
    (value, jacobian, chance), _ = _one_row(v, n)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (error < 0.04).all()
    # logits of points on a sphere have lighter tails: what is left is of the next order in 1/d
    assert found[:, 0].mean() == pytest.approx(value, rel=0.05)
    assert found[:, 1].mean() == pytest.approx(chance + 2 * jacobian, abs=0.1)
    assert (1 - row_powers(3.0, n).p2) ** 2 - found[:, 1].mean() > 0.5  # what even rows would give


@pytest.mark.exact
def test_even_rows_and_single_keys() -> None:
    n, s2 = KEYS, 1e-12
    (value, jacobian, chance), (own_value, own_jacobian, own_chance) = _one_row(s2)
    assert value / s2 == rounded((1 - 1 / n) * (1 - 4 / n + 6 / n**2))
    assert chance + own_chance == rounded(1 - 1 / n)  # a Wishart matrix of n - 1 rows: (n - 1) n / n^2
    assert jacobian < 0 < own_jacobian
    assert own_value > 0
    far = bias_table(n, 64).all(np.array([1e6]), np.array([0.0]))[:, 0]
    assert (np.abs(far) < 0.05).all()


@pytest.mark.reference
@pytest.mark.parametrize("head_width", [8, WIDE])
def test_splines_are_the_rows_between_nodes(head_width: int) -> None:
    table = bias_table(KEYS, head_width)
    for s in (0.13, 0.77, 1.9, 3.3, 6.1, 12.0):
        found = table.all(np.array([s**2]), np.array([1.0]))[:, 0]
        assert found == pytest.approx(np.array(query_biases(s**2, 1.0, KEYS, head_width)), rel=2e-4, abs=2e-5)


@pytest.mark.exact
def test_rows_of_two_keys_have_no_three_of_them() -> None:
    """Weights a and 1 - a: p2 = 1 - 2x, p2^2 = 1 - 4x + 4x^2 and p4 = 1 - 4x + 2x^2 with x = a (1 - a)."""
    p = row_powers(12.0, 2)
    assert p.p22 - p.p4 == pytest.approx(p.p4 - 1 + 2 * (1 - p.p2), rel=1e-7)  # of a quadrature
    assert 0 < p.p222 < p.p22


@pytest.mark.exact
def test_powers_give_the_overlaps_of_one_row() -> None:
    powers, found = row_powers(1.5, KEYS), overlaps(2.25, 0.3, KEYS)
    assert powers.p2 == found.p2
    assert powers.p2 - 2 * powers.p3 + powers.p22 == pytest.approx(found.j, rel=1e-14)
    assert head_overlaps(2.25, 0.3, KEYS, WIDE).p2 == rounded(found.p2)
