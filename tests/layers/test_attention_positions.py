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
