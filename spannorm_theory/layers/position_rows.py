r"""Rows of attention weights with positions as a coordinate: their statistics and sums (T11.5 to T11.9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.head_norm import HeadNorm
from ..softmax.row_lengths import RowLengthTable, RowsOfLengths, row_length_table
from .position_grid import PositionGrid

Gains = Mapping[str, float]


@dataclass(frozen=True)
class RowLaw:
    """What rows of weights depend on beside the input.

    Attributes:
        grid: the positions, and sums over tokens.
        head_width: coordinates of a head.
        width: coordinates of the stream.
        normed: which of "query", "key", "value" carry a norm over each head.
        head_norm: the kernel of that norm.
        rope: whether queries and keys are rotated by their positions.
        logit_factor: factor on the logits' second moments beside the gains.
        over_width: whether the norms run over all heads.
    """

    grid: PositionGrid
    head_width: int
    width: int
    normed: tuple[str, ...] = ()
    head_norm: HeadNorm | None = None
    rope: bool = False
    logit_factor: float = 1.0
    over_width: bool = False

    @property
    def varying(self) -> int | None:
        """Coordinates of a query whose size varies; None where a norm holds it."""
        return self.head_width if "query" not in self.normed or self.over_width else None

    @cached_property
    def rotary(self) -> tuple[Array, Array]:
        """What rotary embedding leaves of covariances (:meth:`PositionGrid.coherence`)."""
        return self.grid.coherence(self.head_width)

    @property
    def table(self) -> RowLengthTable:
        """Statistics of rows of every length up to all tokens."""
        return row_length_table(self.grid.tokens, self.varying)


@dataclass(frozen=True)
class PositionRows:
    """Rows of weights of an attention branch at the input ``gram``, (m, m + 1)."""

    law: RowLaw
    gram: Array
    gains: Gains

    # projections: their Grams at gain 1, p and q apart

    def gain(self, name: str) -> float:
        """Second moment of a projection over that at gain 1: s_W, which a norm takes away."""
        return 1.0 if name in self.law.normed else self.gains[f"attn.{name}"]

    def unit(self, name: str) -> tuple[Array, Array]:
        """p, (m, m), and q, (m,), of queries, keys or values at gain 1, behind their norm."""
        gram = self.gram
        if name in self.law.normed and self.law.head_norm is not None:
            gram = self.law.head_norm.value(gram / scales(gram))
        return gram[:, :-1], gram[:, -1]

    def before_norm(self, name: str) -> Array | float:
        """Element-wise factor from the gradient Gram behind a projection's norm to that in front of it."""
        if name not in self.law.normed or self.law.head_norm is None:
            return 1.0
        size = scales(self.gram)
        return np.asarray(self.law.head_norm.slope(self.gram / size) / (self.gains[f"attn.{name}"] * size))

    def _seen(self, name: str) -> tuple[Array, Array]:
        """p and q of queries or keys as logits see them, which rotary embedding turns away from each
        other."""
        p, q = self.unit(name)
        return (p * self.law.rotary[0], q) if self.law.rope else (p, q)

    @cached_property
    def values(self) -> Smooth:
        """The values."""
        return Smooth.of(self.law.grid, *self.unit("value"))

    @cached_property
    def keys(self) -> Smooth:
        """The keys, as a row sees them."""
        return Smooth.of(self.law.grid, *self._seen("key"))

    @cached_property
    def queries(self) -> tuple[Array, Array]:
        """p and q of the queries, as a key sees them."""
        return self._seen("query")

    @cached_property
    def logits(self) -> tuple[Array, Array]:
        """L, the logits' covariance over that of keys, of two rows (m, m) and of one (m,)."""
        factor = self.law.logit_factor * self.gain("query") * self.gain("key")
        p, q = self.queries
        return factor * p, factor * q

    # rows of weights

    @cached_property
    def open_keys(self) -> Array:
        """Second moment of each row's keys beyond what they have in common, (m,)."""
        p, q = self.unit("key")
        return _open(self.law.grid, p, q, self.law.rotary[1] if self.law.rope else None)

    @cached_property
    def open_values(self) -> Array:
        """Second moment of the values of each row's keys beyond what these have in common, (m,)."""
        return _open(self.law.grid, *self.unit("value"))

    @cached_property
    def one(self) -> RowsOfLengths:
        """Statistics of each row, (m,)."""
        return self.law.table(self.law.grid.keys, self.logits[1] * self.open_keys)

    @cached_property
    def correlation(self) -> Array:
        """Correlation of the logits of two rows at one key, (m, m)."""
        p, q = self.queries
        return np.clip(p / np.sqrt(np.outer(q, q)), -1, 1)

    @cached_property
    def _two(self) -> tuple[Array, Array, Array]:
        """N P11, N J11 and N E r J11 of two rows, (m, m)."""
        others = self.law.grid.keys - 1
        both = np.add.outer(*[np.divide(1, others, out=np.full_like(others, np.inf), where=others > 0)] * 2)
        logits = np.sqrt(np.outer(self.one.logits, self.one.logits))
        return self.law.table(1 + 2 / both, logits).together(self.correlation, self.law.varying)

    @cached_property
    def peaks(self) -> Array:
        """E: N P11 of two rows and N P2 of one, (m, m + 1)."""
        return _joined(self._two[0], self.law.grid.keys * self.one.p2)

    @cached_property
    def jacobians(self) -> Array:
        """E': N J11 of two rows and N J of one, (m, m + 1)."""
        return _joined(self._two[1], self.law.grid.keys * self.one.query)

    @cached_property
    def left(self) -> Array:
        """What the softmax leaves of a smooth difference between keys, a, (m, m + 1)."""
        apart = np.outer(1 - self.one.p2, 1 - self.one.p2)
        alike = np.sqrt(np.outer(self.one.chance, self.one.chance))
        return _joined(apart + self.correlation * (alike - apart), self.one.chance)

    @cached_property
    def spread(self) -> Array:
        """S = sum_jl c_ij c_kl p~_jl k~_jl of values and keys, (m, m + 1)."""
        c, values, keys = self.law.grid.key_means, self.values, self.keys
        one = c @ (values.means * keys.means).T
        both = c @ (values.p * keys.p) @ c.T - one - one.T + values.common * keys.common
        return _joined(both, both.diagonal())

    # sums over keys: Grams of rows

    @cached_property
    def mixed(self) -> Array:
        """Gram of the mixed values at gain 1, (m, m + 1)."""
        values, grid = self.values, self.law.grid
        logits = _joined(*self.logits)
        own = _joined(np.zeros_like(values.p), self.open_values * self.one.value_bias / self.law.width)
        return (
            _doubled(values.common)
            + _doubled(grid.both_rows(values.single)) * self.peaks
            + _doubled(values.apart(np.ones(len(values.p)))) * (self.peaks - 1)
            + logits * self.left * self.spread
            + own
        )

    def at_queries(self, grad: Array, pair_variance: float) -> Array:
        """Gradient Gram at the queries from ``grad`` behind the head, with V."""
        values, keys, grid = self.values, self.keys, self.law.grid
        single = grid.both_rows(values.single * keys.single)
        crossed = values.apart(keys.single) + keys.apart(values.single)
        open_ = self.open_values * self.open_keys
        closed = 1 - self.one.p2
        random = _joined(
            np.sqrt(np.outer(open_, open_)) * np.outer(closed, closed) * pair_variance,
            open_ * (self.one.query * (self._growth**2 - 1) + self.one.chance * pair_variance),
        )
        read = _doubled(single + crossed) * self.jacobians + self.left * self.spread + random
        return np.asarray(self.law.logit_factor * self.gain("key") * grad * read)

    @cached_property
    def _growth(self) -> Array:
        """Factor on J by the keys that a query picks, (m,) (T6.15)."""
        j = np.where(self.one.query > 0, self.one.query, 1.0)
        return np.exp(self.one.jacobian_bias / (j * self.law.width))

    # sums over rows: Grams of keys

    def at_values(self, grad: Array) -> Array:
        """Gradient Gram at the values from ``grad`` behind the head."""
        one = self._over_rows(grad * self.peaks).diagonal()
        return _joined(self._over_rows(grad * (1 - (self.peaks - 1) * self._elsewhere)), one)

    @cached_property
    def _elsewhere(self) -> Array:
        """s / (1 - s) with s the share of pairs of keys of two rows that are one key, (m, m + 1): what one key
        has more, pairs of two have less."""
        shared = _doubled(self.law.grid.shared)
        return np.divide(shared, 1 - shared, out=np.zeros_like(shared), where=shared < 1)

    def _over_rows(self, x: Array) -> Array:
        """sum_ik x_ik c_ij c_kl over rows, (m, m), of a Gram of rows (m, m + 1)."""
        t, p = self.law.grid.row_sums, x[:, :-1]
        return np.asarray(t @ p @ t.T + self.law.grid.both_keys(x[:, -1] - p.diagonal()))

    def _over_rows_apart(self, x: Array) -> Array:
        """sum_ik x_ik c_ij c_kl p~_jl of the values, (m, m)."""
        grid, values = self.law.grid, self.values
        p, own = x[:, :-1], x[:, -1] - x[:, :-1].diagonal()
        one = ((grid.row_sums @ p) * values.means.T) @ grid.row_sums.T
        one = one + grid.both_keys(own[:, None] * values.means)
        both = self._over_rows(x) * values.p + self._over_rows(x * _doubled(values.common))
        return np.asarray(both - one - one.T)

    def at_keys(self, grad: Array) -> Array:
        """Gradient Gram at the keys from ``grad`` behind the head."""
        grid, values, q = self.law.grid, self.values, self.queries[1]
        size = self.law.logit_factor * self.gain("query") * grad
        alike = size * _joined(*self.queries)  # L over the gain of keys
        # rows weigh one key by the cosine of their two queries, which varies from head to head
        tilted = size * _joined(
            np.sqrt(np.outer(q, q)) * self._two[2], grid.keys * self.one.key * self._growth * q
        )
        more = alike * (self.jacobians - self.left)
        single, apart = (_doubled(x) for x in (grid.both_rows(values.single), values.apart(np.ones(len(q)))))
        # all that arrives at a row's keys adds up to nothing
        shared = _doubled(grid.shared)
        rest = np.divide(tilted * single + more * apart, 1 - shared, out=np.zeros_like(grad), where=shared < 1)
        smooth = self._over_rows_apart(alike * self.left)
        one = values.single * self._over_rows(tilted).diagonal()
        one = one + (smooth + self._over_rows_apart(more)).diagonal()
        return _joined(smooth - self._over_rows(rest), one)

    def key_correlations(self, grad: Array, pair_variance: float) -> float:
        """Addition of V and of keys that queries pick to the keys' weight gradient over d^2."""
        grid, (p, q) = self.law.grid, self.queries
        read = self.before_norm("key") * self.gram
        open_ = self.open_values * _open(grid, read[:, :-1], read[:, -1])
        closed, growth = 1 - self.one.p2, self._growth
        both = p * np.sqrt(np.outer(open_, open_)) * np.outer(closed, closed) * pair_variance
        one = q * open_ * (self.one.query * growth * (growth - 1) + self.one.chance * pair_variance)
        size = self.law.logit_factor * self.gain("query")
        return size * float((grid.pairs * grad * _joined(both, one)).sum())


@dataclass(frozen=True)
class Smooth:
    """Values or keys of a branch.

    Attributes:
        grid: the positions.
        p: their smooth covariance, (m, m).
        single: second moment that a token has beyond it, (m,).
        means: means of p over the keys of each row, (rows, m).
        common: means over the keys of two rows, (rows, rows).
    """

    grid: PositionGrid
    p: Array
    single: Array
    means: Array
    common: Array

    @classmethod
    def of(cls, grid: PositionGrid, p: Array, q: Array) -> Smooth:
        """The values or keys of a Gram."""
        means = grid.key_means @ p
        return cls(grid, p, q - p.diagonal(), means, means @ grid.key_means.T)

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


def _open(grid: PositionGrid, p: Array, q: Array, of_rows: Array | None = None) -> Array:
    """Mean second moment of each row's keys less their mean covariance, (m,); ``of_rows`` has the weights of
    the latter where they are not even, (m, m, m)."""
    c = grid.key_means
    common = ((c @ p) * c).sum(axis=1) if of_rows is None else np.einsum("iab,ab->i", of_rows, p)
    # what tokens have beyond p counts in the common part as well, once for each key
    return np.asarray(np.maximum(c @ q - common, 0.0))


def _joined(p: Array, q: Array) -> Array:
    """A Gram (m, m + 1) of its smooth part and its own."""
    return np.column_stack([p, q])


def _doubled(p: Array) -> Array:
    """A Gram whose own part is the diagonal of the smooth one."""
    return np.column_stack([p, p.diagonal()])
