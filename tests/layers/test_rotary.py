"""Masks and rotary embedding: what a token sees, and the covariance of rotated logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import rounded

from spannorm_theory.layers.rotary import Rotary, coherence, frequencies, hidden, rotated
from spannorm_theory.layers.rotary_op import rotate


@pytest.mark.exact
def test_a_window_hides_what_is_ahead_and_what_is_far_behind() -> None:
    assert hidden(5, causal=False) is None
    assert (hidden(5, causal=False, window=2) == (np.abs(np.subtract.outer(range(5), range(5))) >= 2)).all()
    for window in (None, 3):
        unseen = hidden(5, True, window)
        assert unseen is not None
        for i in range(5):
            for j in range(5):
                seen = j <= i and (window is None or j > i - window)
                assert unseen[i, j] == (not seen)


@pytest.mark.exact
def test_rotations_keep_norms_and_depend_on_distance_alone() -> None:
    q, k = np.random.default_rng(0).standard_normal((2, 8))
    queries, keys = rotated(np.tile(q, (20, 1))), rotated(np.tile(k, (20, 1)))
    assert np.linalg.norm(queries, axis=1) == rounded(np.full(20, np.linalg.norm(q)))
    logits = queries @ keys.T
    for distance in (0, 3, -7):
        band = np.diagonal(logits, distance)
        assert band == rounded(np.full(len(band), band[0]))
    assert np.ptp(logits[5]) > 0.1
    assert rotated(queries, back=True) == rounded(np.tile(q, (20, 1)))
    np.testing.assert_allclose(rotate(torch.from_numpy(np.tile(q, (20, 1)))).numpy(), queries, rtol=1e-14)


@pytest.mark.reference
def test_frequencies_are_the_published_ones() -> None:
    assert frequencies(64)[[0, 1, 31]] == pytest.approx([1.0, 10_000 ** (-1 / 32), 10_000 ** (-31 / 32)])
    apart = [coherence(np.array(i - j), 64) for i in range(64) for j in range(64) if i != j]
    assert np.mean(apart) == pytest.approx(0.627, abs=5e-4)


@pytest.mark.exact
def test_a_share_of_the_coordinates_rotates() -> None:
    """40 % of heads of 80, at base 500: 16 pairs of their own frequencies, and 24 that stay."""
    rotary = Rotary(500.0, 0.4)
    assert frequencies(80, rotary) == rounded([*(500 ** (-2 * a / 32) for a in range(16)), *[0.0] * 24])
    x = np.random.default_rng(0).standard_normal((6, 80))
    turned, stays = rotated(x, rotary), np.r_[16:40, 56:80]
    assert turned[:, stays] == rounded(x[:, stays])
    one = np.exp(5j * 500 ** (-2 * 3 / 32)) * (x[5, 3] + 1j * x[5, 43])
    assert (turned[5, 3], turned[5, 43]) == rounded((one.real, one.imag))


@pytest.mark.statistical
def test_covariance_of_rotated_logits() -> None:
    """Cov(a_ij, a_kl) = v X_ik X_jl m((j - i) - (l - k)) at any head width."""
    n, size, draws, v = 4, 6, 40_000, 2.5
    x = np.random.default_rng(1).standard_normal((n, 7))
    gram = x @ x.T / 7
    root = np.linalg.cholesky(gram)
    queries, keys = rotated(root @ np.random.default_rng(2).standard_normal((2, draws, n, size)))
    logits = np.sqrt(v / size) * queries @ keys.swapaxes(-1, -2)
    found = np.einsum("tij,tkl->ijkl", logits, logits) / draws
    distance = np.arange(n) - np.arange(n)[:, None]  # j - i
    between = distance[:, :, None, None] - distance[None, None]
    expected = v * gram[:, None, :, None] * gram[None, :, None, :] * coherence(between, size)
    size_of = np.sqrt(np.einsum("ijij->ij", expected))
    error = (found - expected) / (size_of[:, :, None, None] * size_of)
    # a product of two logits, of normal products themselves, has a relative variance below 4
    assert np.abs(error).max() < 5 * np.sqrt(4 / draws)


@pytest.mark.exact
def test_aligned_tokens_keep_spread_logits() -> None:
    """The variance of a row around its mean, q^2 v (1 - rho mbar), is what the covariance gives."""
    n, size, rho = 16, 8, 0.9
    gram = (1 - rho) * np.eye(n) + rho
    distance = np.arange(n)[:, None] - np.arange(n)
    row = gram * coherence(distance, size)  # of one row's logits at q = v = 1
    pairs = ~np.eye(n, dtype=bool)
    mbar = coherence(distance, size)[pairs].mean()
    centred = np.trace(row) / n - row.mean()
    assert centred == rounded((1 - 1 / n) * (1 - rho * mbar))
    assert centred > 2 * (1 - 1 / n) * (1 - rho)
