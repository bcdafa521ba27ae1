r"""Positions as a coordinate: a few of them, and sums over all tokens as quadratures (T10.6).

Under a mask tokens differ by position alone. What is smooth in the position is kept at m of them, spaced
evenly in the logarithm, and is linear in ln t between; I, (n, m), is that interpolation. A token Gram is

    G_st = p(s, t) + (q(s) - p(s, s)) [s = t],

p smooth up to its diagonal and q apart from it: an array (m, m + 1), p and then q. A row sees the keys from
``start`` up to itself, N of them; the four kinds of sum that attention needs are

    over a row's keys         C = sum_j I_j / N                            (m, m)
    over a key's rows         T = sum_i I_i / N_i                          (m, m)
    over keys of two rows     sum_j x_j / (N_i N_k)
    over rows of two keys     sum_i x_i / N_i^2

the last two from running sums of I, as the keys of both rows are an interval, and the rows of both keys are.
The number of tokens enters when these are built, once, and no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from ..base.errors import PositionsError
from ..gaussian.closed_forms import Array
from .rotary import PUBLISHED, Rotary, coherence

#: positions of the grid for each factor of two: with half as many the variance moves by 0.1 %
PER_OCTAVE = 4

#: positions of the grid in a window, beyond which they are evenly spaced; and more, where these are at most
#: ``MORE``: gradients at the keys of a row add up to nothing, which they resolve
PER_WINDOW, MORE_PER_WINDOW, MORE = 6, 12, 128

#: positions of a grid at most; a step of the theory grows as their third power
MOST = 320


@dataclass(frozen=True, eq=False)
class PositionGrid:
    """Positions that stand for all, and sums over tokens.

    Attributes:
        tokens: n.
        window: how many tokens a token sees, itself included; at most n.
        positions: m of 0 .. n - 1, rising, the first and last included.
    """

    tokens: int
    window: int
    positions: NDArray[np.int64]

    @cached_property
    def interpolation(self) -> Array:
        """I, from values at the grid to those of all tokens, (n, m)."""
        return _interpolation(self.tokens, tuple(self.positions.tolist()))

    @cached_property
    def keys(self) -> Array:
        """N, how many keys each row of the grid sees, (m,)."""
        return np.minimum(self.positions + 1, self.window).astype(float)

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
        """Sums of I over tokens up to each row of the grid, and over those in front of its window, (m, m)."""
        running = np.concatenate([np.zeros((1, len(self.positions))), np.cumsum(self.interpolation, axis=0)])
        return running[self.positions + 1], running[np.maximum(self.positions + 1 - self.window, 0)]

    @cached_property
    def _rows_from(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Sums of I / N and of I / N^2 over rows that do not precede each key of the grid, and over those
        that are beyond it by the window, (m, m) each."""
        seen = np.minimum(np.arange(self.tokens) + 1.0, self.window)[:, None]
        found = []
        for part in (self.interpolation / seen, self.interpolation / seen**2):
            left = np.concatenate([np.cumsum(part[::-1], axis=0)[::-1], np.zeros((1, part.shape[1]))])
            found.append((left[self.positions], left[np.minimum(self.positions + self.window, self.tokens)]))
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
        one, other = (x[:, None] * first).T, (x[:, None] * second).T
        values = np.where(later, (begun * one) @ second, ((begun * other) @ first).T)
        values = values - np.where(later.T, (ended * one) @ second, ((ended * other) @ first).T)
        return np.where(self._shared, values, 0.0)

    @cached_property
    def _shared(self) -> NDArray[np.bool_]:
        """Whether two positions are within one window, so that their rows share a key and a row sees both."""
        return np.abs(np.subtract.outer(self.positions, self.positions)) < self.window

    @cached_property
    def shared(self) -> Array:
        """Keys that two rows share, over N_i N_k, (m, m)."""
        return self.both_rows(np.ones(len(self.positions)))


@lru_cache(maxsize=4)
def _interpolation(tokens: int, positions: tuple[int, ...]) -> Array:
    """Linear in the logarithm of the position, (tokens, positions); grids of several windows share it."""
    x = np.log1p(np.arange(tokens))
    return np.array([np.interp(x, x[list(positions)], row) for row in np.eye(len(positions))]).T


@lru_cache(maxsize=16)
def seeing(grid: PositionGrid, window: int | None) -> PositionGrid:
    """A grid's positions under another window; None for all tokens."""
    seen = min(window or grid.tokens, grid.tokens)
    return grid if seen == grid.window else PositionGrid(grid.tokens, seen, grid.positions)


@lru_cache(maxsize=16)
def rotary_sums(grid: PositionGrid, head_width: int, rotary: Rotary = PUBLISHED) -> tuple[Array, Array]:
    """What rotary embedding leaves of covariances: means of m(s - t) over the tokens that two positions of
    the grid stand for, (m, m); and for each row the sums over pairs of its keys of m(j - l) I_j I_l / N^2,
    (m, m, m)."""
    parts = grid.interpolation
    mean = parts.T @ _correlated(parts, head_width, rotary) / np.outer(grid.counts, grid.counts)
    of_rows = np.zeros((len(grid.positions),) * 3)
    for i, position in enumerate(grid.positions.tolist()):
        seen = parts[max(0, position + 1 - grid.window) : position + 1]
        used = np.flatnonzero(seen.any(axis=0))
        seen = seen[:, used]
        of_rows[i][np.ix_(used, used)] = seen.T @ _correlated(seen, head_width, rotary) / grid.keys[i] ** 2
    return np.asarray(mean), of_rows


def _correlated(x: Array, head_width: int, rotary: Rotary) -> Array:
    """Sums over t of m(s - t) x_t, (tokens, ...)."""
    n = len(x)
    size = next_fast_len(2 * n, real=True)
    lags = np.arange(size)
    kernel = coherence(np.minimum(lags, size - lags), head_width, rotary)
    return np.asarray(irfft(rfft(kernel)[:, None] * rfft(x, size, axis=0), size, axis=0)[:n])


@lru_cache(maxsize=16)
def position_grid(tokens: int, window: int | None) -> PositionGrid:
    """The grid of a causal mask over ``tokens``, each of which sees ``window`` of them, the fewest that it
    does in any block; None for all.

    Raises:
        PositionsError: it would need too many positions.
    """
    seen = min(window or tokens, tokens)
    positions = _spaced(tokens, seen, MORE_PER_WINDOW)
    if len(positions) > MORE:
        positions = _spaced(tokens, seen)
    if len(positions) > MOST:
        wider, fewer = 2 * seen, tokens // 2
        while len(_spaced(tokens, wider)) > MOST:
            wider *= 2
        while len(_spaced(fewer, seen)) > MOST:
            fewer //= 2
        raise PositionsError(
            f"a window of {seen} wants a position every {max(1, seen // PER_WINDOW)} tokens, "
            f"{len(positions)} in {tokens}, and {MOST} is the most; use tokens={fewer}, or window={wider}"
        )
    return PositionGrid(tokens, seen, np.array(positions) - 1)


def _spaced(tokens: int, seen: int, in_window: int = PER_WINDOW) -> list[int]:
    """Positions from 1: even in the logarithm, and from some place on by a part of the window."""
    step, last, positions = 2 ** (1 / PER_OCTAVE), tokens, [1]
    widest = seen // in_window if seen < tokens else tokens
    while positions[-1] < last - 1:
        ahead = max(1, min(round(positions[-1] * (step - 1)), widest))
        positions.append(min(positions[-1] + ahead, last - 1))
    return [*positions, last]  # a loss may read the last token alone
