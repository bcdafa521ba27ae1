"""What rotary embedding leaves of covariances, on a grid of positions: sums of m over tokens (T10.6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.sparse import csr_array

from ..gaussian.closed_forms import Array
from .position_grid import PositionGrid
from .rotary import PUBLISHED, Rotary, coherence


@dataclass(frozen=True, eq=False)
class RotarySums:
    """Sums of m, what rotary embedding leaves of a covariance.

    Attributes:
        mean: means of m(s - t) over the tokens that two positions of the grid stand for, (m, m).
        pairs: sums over pairs of keys of m(j - l) I_ja I_lb / N^2, rows (interval of keys, a), columns
            (a, b), nearly all of which are zero in a window.
        interval: which interval of keys each row of the grid sees, (m,).
    """

    mean: Array
    pairs: csr_array
    interval: NDArray[np.int64]

    def with_keys(self, p: Array) -> Array:
        """Mean covariance of a key with the keys of a row, where theirs are ``p`` times m, summed over the
        keys that each position stands for, (rows, m)."""
        return np.asarray((self.pairs @ p.ravel()).reshape(-1, len(p))[self.interval])


@lru_cache(maxsize=16)
def rotary_sums(grid: PositionGrid, head_width: int, rotary: Rotary = PUBLISHED) -> RotarySums:
    """The sums of a grid, for heads of ``head_width`` coordinates."""
    parts, m = grid.interpolation, len(grid.positions)
    mean = parts.T @ _correlated(parts, head_width, rotary) / np.outer(grid.counts, grid.counts)
    seen, interval = np.unique(np.transpose(grid.keys_of(grid.positions)), axis=0, return_inverse=True)
    values, rows, columns = [], [], []
    for i, (first, last) in enumerate(seen):
        keys = parts[first:last]
        used = np.flatnonzero(keys.any(axis=0))
        keys = keys[:, used]
        sums = keys.T @ _correlated(keys, head_width, rotary) / (last - first) ** 2
        one, other = np.repeat(used, len(used)), np.tile(used, len(used))
        values.append(sums.ravel())
        rows.append(i * m + one)
        columns.append(one * m + other)
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return RotarySums(np.asarray(mean), csr_array(entries, shape=(len(seen) * m, m * m)), interval)


def _correlated(x: Array, head_width: int, rotary: Rotary) -> Array:
    """Sums over t of m(s - t) x_t, (tokens, ...)."""
    n = len(x)
    size = next_fast_len(2 * n, real=True)
    lags = np.arange(size)
    kernel = coherence(np.minimum(lags, size - lags), head_width, rotary)
    return np.asarray(irfft(rfft(kernel)[:, None] * rfft(x, size, axis=0), size, axis=0)[:n])
