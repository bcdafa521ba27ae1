"""Gradients at keys with positions as a coordinate against sums over all tokens, for even weights."""

import numpy as np
import pytest

from spannorm_theory.layers.attention_positions import PositionAttention
from spannorm_theory.layers.position_grid import PositionGrid
from spannorm_theory.layers.position_rows import RowLaw

TOKENS = 9

#: errors of the splines that stand for statistics of rows
NEAR = 6e-4


def gram(random: np.random.Generator) -> np.ndarray:
    """Covariances of all tokens, and a second moment of each beyond the smooth one, (n, n + 1)."""
    read = random.standard_normal((TOKENS, 3))
    smooth = read @ read.T
    return np.column_stack([smooth, smooth.diagonal() + random.uniform(0.1, 3, TOKENS)])


def full(gram: np.ndarray) -> np.ndarray:
    """The token Gram."""
    return gram[:, :-1] + np.diag(gram[:, -1] - gram[:, :-1].diagonal())


@pytest.mark.exact
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [TOKENS, 4, 2])
def test_gradients_at_keys_are_exact_for_even_weights(window: int, causal: bool) -> None:
    """Unlike tokens, where a row's gradients at its keys add up to nothing key by key."""
    random = np.random.default_rng(window)
    read, grad = gram(random), gram(random)
    grid = PositionGrid(TOKENS, window, np.arange(TOKENS), causal)
    attention = PositionAttention(RowLaw(grid, head_width=16, width=10**12), width=10**12)
    gains = {f"attn.{name}": 1e-9 for name in ("query", "key", "value", "output")}
    found = attention.at(read, gains).at_keys(grad) / gains["attn.query"]

    distance = np.subtract.outer(np.arange(TOKENS), np.arange(TOKENS))
    seen = (distance >= 0) & (distance < window) if causal else abs(distance) < window
    rows = seen / seen.sum(axis=1, keepdims=True)
    jacobians = [np.diag(a) - np.outer(a, a) for a in rows]
    weights = full(grad) * full(read)
    expected = np.einsum("ik,ijm,mh,khl->jl", weights, jacobians, full(read), jacobians)
    assert full(found) == pytest.approx(expected, abs=NEAR * np.abs(expected).max())
    assert np.abs(full(found).sum(axis=1)).max() < NEAR * np.abs(expected).max()


@pytest.mark.exact
def test_a_key_that_is_as_its_neighbours_has_no_gradient_of_its_own() -> None:
    """Without a part of its own a key's logit is that of the keys next to it, however large: E[A_j^2] is then
    E[A_j A_l] for l towards j. Keys that have one, and no smooth part, are exchangeable."""
    at = np.log1p(np.arange(TOKENS))
    smooth = 0.5 + 0.4 * np.exp(-(np.subtract.outer(at, at) ** 2))
    grad = np.column_stack([np.eye(TOKENS), np.ones(TOKENS)])
    grid = PositionGrid(TOKENS, TOKENS, np.arange(TOKENS))
    attention = PositionAttention(RowLaw(grid, head_width=16, width=10**12), width=10**12)
    gains = {"attn.query": 1.0, "attn.key": 16.0, "attn.value": 1.0, "attn.output": 1.0}
    for own, alone in ((smooth.diagonal(), 0.0), (smooth.diagonal() + 0.3, None)):
        read = np.column_stack([smooth, own])
        heads = attention.at(read, gains)
        found = heads.at_keys(grad)
        jump = found[:, -1] - found[:, :-1].diagonal()
        if alone is not None:
            assert heads.rows.alone[1:] == pytest.approx(alone)  # a row of one key has no gradient
            assert jump == pytest.approx(0, abs=1e-12)
        else:
            assert (jump > 1e-3).all()
    even = np.column_stack([np.full((TOKENS, TOKENS), 0.7), np.ones(TOKENS)])
    assert attention.at(even, gains).rows.alone == pytest.approx(1)
