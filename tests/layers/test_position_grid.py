"""Sums over tokens on a grid of positions against explicit sums over all of them."""

import re

import numpy as np
import pytest

from spannorm_theory.base.errors import PositionsError
from spannorm_theory.layers.position_grid import IN_WINDOW, PositionGrid, position_grid
from spannorm_theory.layers.rotary import coherence
from spannorm_theory.layers.rotary_sums import rotary_sums

N = 11

#: positions of a grid at most
MOST = max(IN_WINDOW.values())


def weights(tokens: int, window: int, causal: bool = True) -> np.ndarray:
    """Even weights of each row over the keys it sees."""
    i, j = np.arange(tokens)[:, None], np.arange(tokens)
    seen = (j <= i) & (i - j < window) if causal else abs(i - j) < window
    return seen / seen.sum(axis=1, keepdims=True)


@pytest.mark.exact
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 3, 7, N])
def test_a_grid_of_all_positions_sums_as_written(window: int, causal: bool) -> None:
    grid, c = PositionGrid(N, window, np.arange(N), causal), weights(N, window, causal)
    x, rows = np.random.default_rng(0).standard_normal((2, N, N))
    assert grid.key_means == pytest.approx(c, abs=1e-14)
    assert grid.row_sums == pytest.approx(c.T, abs=1e-14)
    assert grid.both_rows(x[0]) == pytest.approx(np.einsum("ij,kj,j->ik", c, c, x[0]), abs=1e-14)
    assert grid.both_rows(x) == pytest.approx(np.einsum("ij,kj,ji->ik", c, c, x), abs=1e-14)
    assert grid.both_keys(rows[0]) == pytest.approx(np.einsum("ij,il,i->jl", c, c, rows[0]), abs=1e-14)
    products = np.einsum("ij,il,i,ij,il->jl", c, c, rows[0], rows, rows**2)
    assert grid.both_keys(rows[0], rows, rows**2) == pytest.approx(products, abs=1e-14)
    turned = rotary_sums(grid, 8)
    m = coherence(np.subtract.outer(np.arange(N), np.arange(N)), 8)
    assert turned.mean == pytest.approx(m, abs=1e-12)
    assert turned.with_keys(x) == pytest.approx(np.einsum("ij,il,jl,jl->ij", c, c, m, x), abs=1e-12)
    pairs = set(zip(*(side.tolist() for side in grid.sharing), strict=True))
    assert pairs == {(i, k) for i in range(N) for k in range(i, N) if (c[i] * c[k]).any()}


@pytest.mark.exact
@pytest.mark.parametrize(("tokens", "window"), [(1000, None), (700, 40)])
def test_sums_of_what_is_linear_in_the_logarithm_are_exact(tokens: int, window: int | None) -> None:
    grid, c = position_grid(tokens, window), weights(tokens, window or tokens)
    assert len(grid.positions) < tokens / 5
    every, few = (np.log1p(p) for p in (np.arange(tokens), grid.positions))
    # up to the grid's own interpolation, which is exact for this function
    assert grid.interpolation @ few == pytest.approx(every, rel=1e-12)
    assert grid.counts.sum() == pytest.approx(tokens, rel=1e-12)
    assert grid.pairs.sum() == pytest.approx(tokens**2, rel=1e-12)
    assert grid.key_means @ few == pytest.approx((c @ every)[grid.positions], rel=1e-12)
    assert grid.row_sums @ few == pytest.approx((c.T @ every)[grid.positions], rel=1e-12)


@pytest.mark.exact
@pytest.mark.parametrize(("tokens", "window"), [(1000, None), (700, 40)])
def test_a_grid_without_a_mask_is_the_same_from_either_end(tokens: int, window: int | None) -> None:
    grid, c = position_grid(tokens, window, causal=False), weights(tokens, window or tokens, causal=False)
    assert len(grid.positions) < tokens / 5
    assert (grid.positions == tokens - 1 - grid.positions[::-1]).all()
    every = np.log1p(np.arange(tokens)) - np.log(tokens - np.arange(tokens))
    few = every[grid.positions]
    assert grid.interpolation @ few == pytest.approx(every, abs=1e-12)
    assert grid.pairs.sum() == pytest.approx(tokens**2, rel=1e-12)
    assert grid.key_means @ few == pytest.approx((c @ every)[grid.positions], abs=1e-12)
    assert grid.row_sums @ few == pytest.approx((c.T @ every)[grid.positions], abs=1e-12)
    assert grid.shared == pytest.approx(grid.shared[::-1, ::-1], abs=1e-15)


@pytest.mark.exact
def test_the_grid_holds_the_first_and_the_last_two_tokens() -> None:
    for tokens in (2, 3, 9, 64, 4096):
        positions = position_grid(tokens, None).positions
        assert positions[0] == 0
        assert positions[-2:].tolist() == [tokens - 2, tokens - 1]
        assert (np.diff(positions) > 0).all()
        assert position_grid(tokens, None).counts[-1] == pytest.approx(1)


def test_a_window_that_needs_too_many_positions_is_refused() -> None:
    assert len(position_grid(10**5, None).positions) < 80
    for causal in (True, False):
        with pytest.raises(PositionsError, match=f"{MOST} are the most in all; use tokens=") as refused:
            position_grid(10**5, 64, causal)
        tokens, window = (int(x) for x in re.findall(r"(?:tokens|window)=(\d+)", str(refused.value)))
        assert len(position_grid(tokens, 64, causal).positions) <= MOST
        assert len(position_grid(10**5, window, causal).positions) <= MOST


@pytest.mark.exact
def test_fewer_positions_are_in_a_window_of_a_longer_sequence() -> None:
    for tokens, apart in ((512, 5), (2048, 10), (6144, 21)):
        assert np.diff(position_grid(tokens, 64).positions).max() == apart
    assert len(position_grid(8192, 65, causal=False).positions) < MOST
