"""Grams with positions as a coordinate: their parts, and what a row's keys have in common (T10.6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from .position_grid import PositionGrid
from .rotary_sums import RotarySums


@dataclass(frozen=True)
class Smooth:
    """Values or keys of a branch.

    Attributes:
        grid: the positions.
        level: a covariance that all have, taken off ``p``, so that differences keep their digits where tokens
            are nearly one.
        p: their smooth covariance beyond it, (m, m).
        single: second moment that a token has beyond it, (m,).
        means: means of p over the keys of each row, (rows, m).
        common: means over the keys of two rows, (rows, rows).
    """

    grid: PositionGrid
    level: float
    p: Array
    single: Array
    means: Array
    common: Array

    @classmethod
    def of(cls, grid: PositionGrid, p: Array, q: Array) -> Smooth:
        """The values or keys of a Gram."""
        level = float(p[-1, -1])
        beyond = p - level
        means = grid.key_means @ beyond
        return cls(grid, level, beyond, q - p.diagonal(), means, means @ grid.key_means.T)

    def apart(self, weight: Array) -> Array:
        """Sums over the keys that two rows share of ``weight``_j p~_jj / (N_i N_k), (rows, rows), p~ being p
        less its means over the keys of each row."""
        one = self.grid.both_rows((weight * self.means).T)
        both = self.grid.both_rows(weight * self.p.diagonal()) + self.common * self.grid.both_rows(weight)
        return np.asarray(both - one - one.T)


def scales(gram: Array) -> Array:
    """Products of the roots of two tokens' second moments, (m, m + 1).

    Raises:
        ZeroDivisionError: one is zero.
    """
    q = gram[:, -1]
    if not q.all():
        raise ZeroDivisionError
    return np.column_stack([np.sqrt(np.outer(q, q)), q])


def products(x: Array) -> Array:
    """Products of what two tokens have, (m, m + 1), from (m,)."""
    return np.column_stack([np.outer(x, x), np.square(x)])


def with_keys(grid: PositionGrid, p: Array, turned: RotarySums | None = None) -> Array:
    """Mean covariance of a key with the keys of a row, in even weights over the row's keys, summed over those
    that each position of the grid stands for, (rows, m); of keys that are ``turned``, if any."""
    c = grid.key_means
    return np.asarray(c * (c @ p) if turned is None else turned.with_keys(p))


def open_share(grid: PositionGrid, p: Array, q: Array, turned: RotarySums | None = None) -> Array:
    """Mean second moment of each row's keys less their mean covariance, (m,), of keys that are ``turned``,
    if any."""
    return np.asarray(np.maximum(grid.key_means @ q - with_keys(grid, p, turned).sum(axis=1), 0.0))


def joined(p: Array, q: Array) -> Array:
    """A Gram (m, m + 1) of its smooth part and its own."""
    return np.column_stack([p, q])


def doubled(p: Array) -> Array:
    """A Gram whose own part is the diagonal of the smooth one."""
    return np.column_stack([p, p.diagonal()])
