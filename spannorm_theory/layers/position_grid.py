r"""Positions as a coordinate: a few of them, and sums over all tokens as quadratures (T10.6).

Under a mask, in windows or with rotary positions tokens differ by position alone. What is smooth in the
position is kept at m of them, spaced evenly in the logarithm, and is linear in ln t between; without a mask,
where both ends are alike, in ln t less that from the other end. I, (n, m), is that interpolation. A Gram is

    G_st = p(s, t) + (q(s) - p(s, s)) [s = t],

p smooth up to its diagonal and q apart from it: an array (m, m + 1), p and then q. A row sees an interval of
N keys, both ends of which rise with the row, so that an interval of rows sees a key. All that attention needs
of a mask are four kinds of sum:

    over a row's keys         C = sum_j I_j / N                            (m, m)
    over a key's rows         T = sum_i I_i / N_i                          (m, m)
    over keys of two rows     sum_j x_j / (N_i N_k)
    over rows of two keys     sum_i x_i / N_i^2

the last two from running sums of I, as the keys of both rows are an interval, and the rows of both keys are.
The number of tokens enters when these are built, once, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ..base.errors import PositionsError
from ..gaussian.closed_forms import Array
from .rotary import beside

#: positions of the grid for each factor of two: with half as many the variance moves by 0.1 %
PER_OCTAVE = 4

#: positions of the grid in the keys that a row sees, and up to how many in all; where that makes more, fewer.
#: 12 resolve how gradients at the keys of a row add up to nothing; 6 cost 0.1 % in the gradient and 0.5 % in
#: those of matrices, 3 up to 0.3 and 1.8 %. A step of the theory grows as the third power of all
IN_WINDOW = {12: 128, 6: 320, 3: 320}


@dataclass(frozen=True, eq=False)
class PositionGrid:
    """Positions that stand for all, and sums over tokens.

    Attributes:
        tokens: n.
        window: how many tokens a token sees, itself included; at most n. Without a mask, on either side.
        positions: m of 0 .. n - 1, rising, the first and last included.
        causal: whether a token sees none ahead of it.
    """

    tokens: int
    window: int
    positions: NDArray[np.int64]
    causal: bool = True

    @property
    def beside(self) -> tuple[int, int]:
        """Tokens that one sees behind it and ahead, where there are as many."""
        return beside(self.tokens, self.causal, self.window)

    def keys_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first key that each row sees, and the one behind the last."""
        behind, ahead = self.beside
        return np.maximum(rows - behind, 0), np.minimum(rows + ahead + 1, self.tokens)

    def rows_of(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first row that sees each key, and the one behind the last."""
        behind, ahead = self.beside
        return np.maximum(keys - ahead, 0), np.minimum(keys + behind + 1, self.tokens)

    @cached_property
    def interpolation(self) -> Array:
        """I, from values at the grid to those of all tokens, (n, m)."""
        return _interpolation(self.tokens, tuple(self.positions.tolist()), self.causal)

    @cached_property
    def keys(self) -> Array:
        """N, how many keys each row of the grid sees, (m,)."""
        first, last = self.keys_of(self.positions)
        return (last - first).astype(float)

    @cached_property
    def counts(self) -> Array:
        """Tokens that each position of the grid stands for, (m,)."""
        return np.asarray(self.interpolation.sum(axis=0))

    @cached_property
    def pairs(self) -> Array:
        """Token pairs that each entry of a Gram stands for, (m, m + 1)."""
        return np.column_stack([np.outer(self.counts, self.counts) - np.diag(self.counts), self.counts])

    @cached_property
    def _keys_before(self) -> tuple[Array, Array]:
        """Sums of I over tokens up to the last key of each row of the grid, and over those in front of its
        first, (m, m)."""
        running = np.concatenate([np.zeros((1, len(self.positions))), np.cumsum(self.interpolation, axis=0)])
        first, last = self.keys_of(self.positions)
        return running[last], running[first]

    @cached_property
    def _rows_from(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Sums of I / N and of I / N^2 over rows from the first on that sees each key of the grid, and over
        those behind the last, (m, m) each."""
        seen = np.subtract(*self.keys_of(np.arange(self.tokens))[::-1])[:, None]
        first, last = self.rows_of(self.positions)
        found = []
        for part in (self.interpolation / seen, self.interpolation / seen**2):
            left = np.concatenate([np.cumsum(part[::-1], axis=0)[::-1], np.zeros((1, part.shape[1]))])
            found.append((left[first], left[last]))
        return found[0], found[1]

    @cached_property
    def key_means(self) -> Array:
        """C, from values at the grid to means over the keys of each row of it, (m, m)."""
        last, first = self._keys_before
        return np.asarray((last - first) / self.keys[:, None])

    @cached_property
    def row_sums(self) -> Array:
        """T, from values of rows at the grid to sums over the rows that see each key of it, of x_i / N_i."""
        (first, last), _ = self._rows_from
        return np.asarray(first - last)

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the earlier and of the later of two positions, and of the first, (m, m)."""
        i = np.arange(len(self.positions))
        return np.minimum.outer(i, i), np.maximum.outer(i, i), np.broadcast_to(i[:, None], (len(i), len(i)))

    def both_rows(self, x: Array) -> Array:
        """Sums over the keys that two rows i, k share, of x_j / (N_i N_k), (m, m).

        Args:
            x: values at keys, (m,), or for each row i its own, (m, m) with rows last.
        """
        low, high, row = self._order
        last, first = (before @ x for before in self._keys_before)
        values = last[low] - first[high] if x.ndim == 1 else last[low, row] - first[high, row]
        return np.where(self._shared, values / np.outer(self.keys, self.keys), 0.0)

    def both_keys(self, x: Array, first: Array | None = None, second: Array | None = None) -> Array:
        """Sums over the rows that see two keys j, l, of x_i f_ij s_il / N_i^2, (m, m).

        Args:
            x: values of rows, (m,).
            first, second: f and s, factors of a row and a key, (rows, keys); 1 without them.
        """
        ones = np.ones_like(self.key_means)
        first, second = (ones if factor is None else factor for factor in (first, second))
        later = np.greater_equal.outer(self.positions, self.positions)
        _, (begun, ended) = self._rows_from

        def up_to(rows: Array, at_first: NDArray[np.bool_]) -> Array:
            forth = (rows * (x[:, None] * first).T) @ second
            back = forth if second is first else (rows * (x[:, None] * second).T) @ first
            return np.where(at_first, forth, back.T)

        return np.where(self._shared, up_to(begun, later) - up_to(ended, later.T), 0.0)

    @cached_property
    def _shared(self) -> NDArray[np.bool_]:
        """Whether two positions are within one window, so that their rows share a key and a row sees both."""
        return np.abs(np.subtract.outer(self.positions, self.positions)) <= sum(self.beside)

    @cached_property
    def sharing(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs of rows of the grid, each once, that rows of one key are interpolated between."""
        seeing = (self.row_sums > 0).astype(float)
        first, second = np.nonzero(np.triu(seeing.T @ seeing))
        return first, second

    @cached_property
    def shared(self) -> Array:
        """Keys that two rows share, over N_i N_k, (m, m)."""
        return self.both_rows(np.ones(len(self.positions)))


@lru_cache(maxsize=4)
def _interpolation(tokens: int, positions: tuple[int, ...], causal: bool) -> Array:
    """Linear in the logarithm of the position, and without a mask of that from either end, (tokens,
    positions); grids of several windows share it."""
    x = np.log1p(np.arange(tokens))
    x = x if causal else x - x[::-1]
    return np.array([np.interp(x, x[list(positions)], row) for row in np.eye(len(positions))]).T


@lru_cache(maxsize=16)
def seeing(grid: PositionGrid, window: int | None) -> PositionGrid:
    """A grid's positions under another window; None for all tokens."""
    seen = min(window or grid.tokens, grid.tokens)
    return grid if seen == grid.window else replace(grid, window=seen)


@lru_cache(maxsize=16)
def position_grid(tokens: int, window: int | None, causal: bool = True) -> PositionGrid:
    """The grid of ``tokens``, each of which sees ``window`` of them, the fewest that it does in any block;
    None for all. Without a mask, not ``causal``, it sees as many on either side.

    Raises:
        PositionsError: it would need too many positions.
    """
    seen = min(window or tokens, tokens)
    if (positions := _few(tokens, seen, causal)) is not None:
        return PositionGrid(tokens, seen, np.array(positions) - 1, causal)
    wider, fewer = 2 * seen, tokens // 2
    while _few(tokens, wider, causal) is None:
        wider *= 2
    while _few(fewer, seen, causal) is None:
        fewer //= 2
    in_window, most = list(IN_WINDOW.items())[-1]
    raise PositionsError(
        f"a window of {seen} wants {in_window} positions wherever it stands in {tokens} tokens, and {most} "
        f"are the most in all; use tokens={fewer}, or window={wider}"
    )


def _few(tokens: int, seen: int, causal: bool) -> list[int] | None:
    """Positions from 1 with as many in a window as may be; None where all are too many."""
    span = 1 + sum(beside(tokens, causal, seen))
    for in_window, most in IN_WINDOW.items():
        positions = _spaced(tokens, tokens if seen >= tokens else span // in_window, causal)
        if len(positions) <= most:
            return positions
    return None


def _spaced(tokens: int, widest: int, causal: bool) -> list[int]:
    """Positions from 1: even in the logarithm, and from some place on ``widest`` apart; without a mask from
    either end."""
    step, positions = 2 ** (1 / PER_OCTAVE), [1]
    end = tokens - 1 if causal else (tokens + 1) // 2
    while positions[-1] < end:
        ahead = max(1, min(round(positions[-1] * (step - 1)), widest))
        positions.append(min(positions[-1] + ahead, end))
    # a loss may read the last token alone
    return sorted({*positions, *([tokens] if causal else [tokens + 1 - p for p in positions])})
