r"""Rows of attention weights with positions as a coordinate: their statistics (T10.7).

Rows see what their keys have beyond what these have in common: logits of the variance w_i = L_ii (mean of
k_jj - mean of k_jl) over a row's N_i keys, L the logits' covariance over that of keys, k. Statistics at w_i
are those of :mod:`spannorm_theory.softmax.row_lengths`. Of two rows E_ik = N P11 and E'_ik = N J11, P2 and J
of one; and

    S_ik = sum_jl c_ij c_kl v~_jl k~_jl,

with c_i even weights over the keys of row i, v the Gram of values, and a tilde for "less its means over the
keys of rows i and k". The softmax leaves the part a_ik of a smooth difference between keys: chi (T6.15) in
one row, (1 - P2)(1 - P2) in two that are independent, and linear in their correlation between. Mean weights A
are even but for keys whose logits vary more around the row's mean, to first order in L.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.head_norm import HeadNorm
from ..softmax.row_lengths import RowLengthTable, RowsOfLengths, row_length_table
from .latents import NO_LATENTS, Latents
from .position_grid import PositionGrid
from .rotary import Rotary
from .rotary_sums import RotarySums, rotary_sums
from .smooth_gram import Smooth, doubled, joined, open_share, products, scales, with_keys

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
        rotary: how queries and keys are rotated by their positions; None where they are not.
        logit_factor: factor on the logits' second moments beside the gains.
        over_width: whether the norms run over all heads.
        latents: those that queries, or keys and values, are projected from.
    """

    grid: PositionGrid
    head_width: int
    width: int
    normed: tuple[str, ...] = ()
    head_norm: HeadNorm | None = None
    rotary: Rotary | None = None
    logit_factor: float = 1.0
    over_width: bool = False
    latents: Latents = NO_LATENTS

    @property
    def read_width(self) -> int:
        """Free coordinates of what keys and values read."""
        return self.latents.width("key", self.width)

    @property
    def sphere(self) -> bool:
        """Whether norms hold a head's queries and keys to a sphere."""
        return "query" in self.normed and not self.over_width

    @property
    def coordinates(self) -> int:
        """Free coordinates of a query."""
        return self.head_norm.size if self.sphere and self.head_norm is not None else self.head_width

    @property
    def turned(self) -> RotarySums | None:
        """What rotary embedding leaves of covariances (:func:`rotary_sums`), where there is one."""
        return None if self.rotary is None else rotary_sums(self.grid, self.head_width, self.rotary)

    def table(self, sphere: bool) -> RowLengthTable:
        """Statistics of rows of every length up to all tokens, whose queries lie on a ``sphere`` or not."""
        return row_length_table(self.grid.tokens, self.coordinates, sphere)


@dataclass(frozen=True)
class PositionRows:
    """Rows of weights of an attention branch at the input ``gram``, (m, m + 1)."""

    law: RowLaw
    gram: Array
    gains: Gains

    def gain(self, name: str) -> float:
        """Second moment of a projection over that at gain 1: s_W, which a norm takes away."""
        return 1.0 if name in self.law.normed else self.gains[f"attn.{name}"]

    def unit(self, name: str) -> tuple[Array, Array]:
        """p, (m, m), and q, (m,), of queries, keys or values at gain 1, behind their norm."""
        gram = self.read(name)
        if name in self.law.normed and self.law.head_norm is not None:
            norm, share = self.law.head_norm.of(name), self._share(name)
            gram = products(np.sqrt(norm.moment(share))) * norm.value(gram / scales(gram), products(share))
        return gram[:, :-1], gram[:, -1]

    def read(self, name: str) -> Array:
        """Gram of what a projection reads, (m, m + 1): that of the input, or behind the norm of a latent."""
        latent = self.law.latents.of(name)
        return self.gram if latent is None else np.asarray(latent.value(self.gram / scales(self.gram)))

    def _share(self, name: str) -> Array:
        """Share of each position's second moment that the epsilon of a norm leaves, (m,)."""
        assert self.law.head_norm is not None
        return np.asarray(self.law.head_norm.of(name).share(self.gains[f"attn.{name}"] * self.gram[:, -1]))

    def before_norm(self, name: str) -> Array | float:
        """Element-wise factor from the gradient Gram behind a projection's norm to that in front of it, or
        through the norm of its latent."""
        if (latent := self.law.latents.of(name)) is not None:
            size = scales(self.gram)
            return np.asarray(latent.slope(self.gram / size) / size)
        if name not in self.law.normed or self.law.head_norm is None:
            return 1.0
        norm, share, size = self.law.head_norm.of(name), self._share(name), scales(self.gram)
        kept = products(np.sqrt(norm.moment(share) / self.gains[f"attn.{name}"]))
        return np.asarray(kept * norm.slope(self.gram / size, products(share)) / size)

    def _seen(self, name: str) -> tuple[Array, Array]:
        """p and q of queries or keys as logits see them, which rotary embedding turns away from each
        other."""
        p, q = self.unit(name)
        turned = self.law.turned
        return (p, q) if turned is None else (p * turned.mean, q)

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

    @cached_property
    def mean_weights(self) -> Array:
        """E A of each row, summed over the keys that each position of the grid stands for, (rows, m): even
        weights, and more for a key whose logit varies more around the row's mean."""
        grid, (p, q) = self.law.grid, self.unit("key")
        c = grid.key_means
        alike = with_keys(grid, p, self.law.turned)
        varied = c * (q - 2 * (q - p.diagonal()) / grid.keys[:, None]) - 2 * alike
        tilt = self.logits[1] * self.one.tilting / 2
        return np.asarray(c + tilt[:, None] * (varied - c * varied.sum(axis=1, keepdims=True)))

    @cached_property
    def tilt(self) -> Array:
        """Mean weights over even ones, (rows, m); 1 for keys that a row does not see."""
        even = self.law.grid.key_means
        return np.divide(self.mean_weights, even, out=np.ones_like(even), where=even > 0)

    @cached_property
    def open_keys(self) -> Array:
        """Second moment of each row's keys beyond what they have in common, (m,)."""
        return open_share(self.law.grid, *self.unit("key"), self.law.turned)

    @cached_property
    def alone(self) -> Array:
        """Share s of each row's logit variance that single keys have for themselves, (m,)."""
        p, q = self.unit("key")
        own, all_ = self.law.grid.key_means @ (q - p.diagonal()), self.open_keys
        return np.minimum(np.divide(own, all_, out=np.ones_like(own), where=all_ > 0), 1.0)

    @cached_property
    def open_values(self) -> Array:
        """Second moment of the values of each row's keys beyond what these have in common, (m,)."""
        return open_share(self.law.grid, *self.unit("value"))

    @cached_property
    def logit_gradient(self) -> Array | float:
        """Factor of squared gradients of queries and keys beside the gains, (m, m + 1): of the logits' second
        moments, and what a latent of keys adds by what the values of each row's keys have in common."""
        if self.law.latents.keys is None:
            return self.law.logit_factor
        common = products(1 - self.open_values / self.unit("value")[1])
        return np.asarray(self.law.logit_factor * self.law.latents.swing(common))

    @cached_property
    def one(self) -> RowsOfLengths:
        """Statistics of each row, (m,)."""
        return self._statistics(self.law.grid.keys, self.logits[1] * self.open_keys, self.loose)

    def _statistics(self, keys: Array, logits: Array, loose: Array) -> RowsOfLengths:
        """Statistics of rows of which norms leave the part ``loose`` of their queries' and keys' lengths."""
        rows = self.law.table(self.law.sphere)(keys, logits)
        return rows.towards(self.law.table(False)(keys, logits), loose) if loose.any() else rows

    @cached_property
    def loose(self) -> Array:
        """(1 - y) (1 - y') of a row's query and the mean of its keys (T6.13), (m,)."""
        if not self.law.sphere:
            return np.zeros(len(self.gram))
        return np.asarray((1 - self._share("query")) * (1 - self.law.grid.key_means @ self._share("key")))

    @cached_property
    def correlation(self) -> Array:
        """Correlation of the logits of two rows at one key, (m, m)."""
        p, q = self.queries
        return np.clip(p / np.sqrt(np.outer(q, q)), -1, 1)

    @cached_property
    def _keys_of_two(self) -> Array:
        """N of the rows of equal length that two rows are as, (m, m)."""
        others = self.law.grid.keys - 1
        inverse = np.divide(1, others, out=np.full_like(others, np.inf), where=others > 0)
        return np.asarray(1 + 2 / np.add.outer(inverse, inverse))

    @cached_property
    def two(self) -> tuple[Array, Array, Array]:
        """N P11, N J11 and N E r J11 of two rows, (m, m); 0 where they share no key."""
        i, k = self.law.grid.sharing
        logits, loose = (np.sqrt(x[i] * x[k]) for x in (self.one.logits, self.loose))
        rows = self._statistics(self._keys_of_two[i, k], logits, loose)
        found = np.zeros((3, *self.correlation.shape))
        found[:, i, k] = found[:, k, i] = rows.together(self.correlation[i, k], self.law.coordinates)
        return found[0], found[1], found[2]

    @cached_property
    def across(self) -> Array:
        """Part of J that norms over heads leave, as what points along a token is gone: k (T6.14), (m,)."""
        keys = self.law.grid.key_means @ self.unit("key")[1]
        return np.asarray(1 - self.open_keys / keys * self.one.along)

    @cached_property
    def peaks(self) -> Array:
        """E: N P11 of two rows and N P2 of one, (m, m + 1)."""
        return joined(self.two[0], self.law.grid.keys * self.one.p2)

    @cached_property
    def jacobians(self) -> Array:
        """E': N J11 of two rows and N J of one, (m, m + 1)."""
        kept = products(np.sqrt(self.across))
        return kept * joined(self.two[1], self.law.grid.keys * self.one.query)

    @cached_property
    def others(self) -> Array:
        """E' of even weights, 1 - 1/N, (m, m + 1)."""
        return joined(1 - 1 / self._keys_of_two, self.one.others)

    @cached_property
    def smooth_jacobians(self) -> Array:
        """E' over that of even weights, of one key and a difference between keys that is smooth."""
        return np.divide(self.jacobians, self.others, out=np.zeros_like(self.others), where=self.others > 0)

    @cached_property
    def left(self) -> Array:
        """What the softmax leaves of a smooth difference between keys, a, (m, m + 1)."""
        open_, left, others = 1 - self.one.p2, np.sqrt(self.one.left), self.one.others
        open_ = np.divide(open_, others, out=np.zeros_like(others), where=others > 0)
        apart, alike = np.outer(open_, open_), np.outer(left, left)
        return joined(apart + self.correlation * (alike - apart), self.one.left)

    @cached_property
    def spread(self) -> Array:
        """S of even weights, (m, m + 1)."""
        return self._spread(self.law.grid.key_means)

    @cached_property
    def mean_spread(self) -> Array:
        """S of mean weights, (m, m + 1)."""
        return self._spread(self.mean_weights)

    def _spread(self, c: Array) -> Array:
        """S = sum_jl c_ij c_kl p~_jl k~_jl of values and keys around the weights c, (m, m + 1)."""
        values, keys = c @ self.values.p, c @ self.keys.p
        one = c @ (values * keys).T
        both = c @ (self.values.p * self.keys.p) @ c.T - one - one.T + (values @ c.T) * (keys @ c.T)
        return doubled(both)
