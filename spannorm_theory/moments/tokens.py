r"""What a token Gram is: all n x n entries, or positions as a coordinate (T10, T11).

A block's trace is evaluated with the same rules for both (:mod:`.token_gram`); what differs is how a Gram is
stored, which pairs of tokens an entry stands for, and how attention is averaged. Both are arrays with one row for
each position, and :class:`TokenGrams` says the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from ..gaussian.closed_forms import Array
from ..layers.attention_gram import SampledAttention
from ..layers.attention_positions import PositionAttention
from ..layers.position_grid import PositionGrid
from ..spec.architecture import Architecture
from ..spec.graph import Branch
from .algebra import GRAM, POSITIONS, Algebra
from .branches import position_attention, sampled_attention

#: samples of a stream's coordinates whose spectra are averaged in one run; the error falls as its root
SPECTRA = 4

Gains = dict[str, float]

#: second moments of the first and of the second token of each pair, and their covariance
Pairs = tuple[Array, Array, Array]


class TokenGrams(ABC):
    """A kind of token Gram.

    Attributes:
        arch: the architecture.
        algebra: the rules of covariances.
        counts: tokens that each position stands for.
        pairs: token pairs that each entry of a Gram stands for.
    """

    arch: Architecture
    algebra: Algebra
    counts: Array
    pairs: Array

    @abstractmethod
    def gram(self, own: Any, between: Any) -> Array:
        """The Gram of second moments ``own`` and of covariances ``between`` two tokens, numbers or arrays of
        positions."""

    @abstractmethod
    def own(self, gram: Array) -> Array:
        """Second moment of each position."""

    @abstractmethod
    def of_pairs(self, gram: Array) -> Pairs:
        """Second moments of both tokens, and their covariance, for each entry."""

    @abstractmethod
    def attention(self, branch: Branch, only_normed: bool) -> Any:
        """The component of an attention branch."""

    @abstractmethod
    def attend(self, attention: Any, gram: Array, gains: Gains, layer: int) -> tuple[Array, float]:
        """Gram of a branch of attention, and its rows of weights that are more than a maximum."""

    @abstractmethod
    def attend_back(
        self, attention: Any, gram: Array, output: Array, grad: Array, gains: Gains, layer: int, v: float
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the input of attention, and squared gradients of its matrices."""

    def total(self, gram: Array) -> float:
        """Sum over all pairs of tokens."""
        return float((self.pairs * gram).sum())

    def size(self, gram: Array) -> float:
        """Mean second moment of the tokens."""
        return float(self.counts @ self.own(gram)) / self.arch.tokens

    def drop(self, gram: Array) -> float:
        """Mean over ordered pairs s != t of G_tt - G_st."""
        n = self.arch.tokens
        own, _, between = self.of_pairs(gram)
        return float((self.pairs * (own - between)).sum() / (n * (n - 1)))

    def dropped(self, gram: Array, rate: float) -> Array:
        """Gram behind dropout at ``rate`` (T5.8), of a branch's output or of the gradient there."""
        return gram + self.gram(self.own(gram) * (rate / (1 - rate)), 0.0) if rate else gram


@dataclass(frozen=True)
class PositionTokens(TokenGrams):
    """Positions as a coordinate: Grams (m, m + 1) on a grid."""

    arch: Architecture
    grid: PositionGrid
    algebra = POSITIONS

    @property
    def counts(self) -> Array:  # type: ignore[override]
        """Tokens that each position stands for."""
        return self.grid.counts

    @property
    def pairs(self) -> Array:  # type: ignore[override]
        """Token pairs that each entry stands for."""
        return self.grid.pairs

    def gram(self, own: Any, between: Any) -> Array:
        """The Gram of second moments ``own`` and of covariances ``between`` two tokens."""
        m = len(self.counts)
        if np.ndim(between) == 2:
            between = between[:, :m]
        return np.column_stack([np.broadcast_to(between, (m, m)), np.broadcast_to(own, m)])

    def own(self, gram: Array) -> Array:
        """Second moment of each position."""
        return gram[:, -1]

    def of_pairs(self, gram: Array) -> Pairs:
        """Second moments of both tokens, and their covariance, for each entry."""
        q = gram[:, -1]
        second = np.column_stack([np.broadcast_to(q, (len(q), len(q))), q])
        return np.broadcast_to(q[:, None], gram.shape), second, gram

    def attention(self, branch: Branch, only_normed: bool) -> PositionAttention:
        """The component of an attention branch."""
        return position_attention(branch, self.arch, self.grid)

    def attend(
        self, attention: PositionAttention, gram: Array, gains: Gains, layer: int
    ) -> tuple[Array, float]:
        """Gram of a branch of attention, and its rows of weights that are more than a maximum."""
        return attention.forward(gram, gains)

    def attend_back(
        self,
        attention: PositionAttention,
        gram: Array,
        output: Array,
        grad: Array,
        gains: Gains,
        layer: int,
        v: float,
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the input of attention, and squared gradients of its matrices."""
        return attention.backward(gram, grad, gains, v)


@dataclass(frozen=True)
class SampledTokens(TokenGrams):
    """All tokens, with sampled heads: the random numbers of one run; ``ids`` are the tokens of its input where
    that has any, (tokens,)."""

    seed: tuple[int, int]
    heads: int
    arch: Architecture
    ids: NDArray[np.int64] | None = None
    algebra = GRAM

    @property
    def counts(self) -> Array:  # type: ignore[override]
        """Tokens that each position stands for: one."""
        return np.ones(self.arch.tokens)

    @property
    def pairs(self) -> Array:  # type: ignore[override]
        """Token pairs that each entry stands for: one."""
        return np.ones((1, 1))

    def gram(self, own: Any, between: Any) -> Array:
        """The Gram of second moments ``own`` and of covariances ``between`` two tokens."""
        return np.where(np.eye(self.arch.tokens, dtype=bool), own, between).astype(float)

    def own(self, gram: Array) -> Array:
        """Second moment of each token."""
        return gram.diagonal()

    def of_pairs(self, gram: Array) -> Pairs:
        """Second moments of both tokens, and their covariance, for each entry."""
        q = gram.diagonal()
        return q[:, None], q[None, :], gram

    def attention(self, branch: Branch, only_normed: bool) -> SampledAttention:
        """The component of an attention branch."""
        return sampled_attention(branch, self.arch, only_normed)

    def attend(
        self, attention: SampledAttention, gram: Array, gains: Gains, layer: int
    ) -> tuple[Array, float]:
        """Gram of a branch of attention, and its rows of weights that are more than a maximum."""
        return attention.forward(gram, gains, self(layer))

    def attend_back(
        self,
        attention: SampledAttention,
        gram: Array,
        output: Array,
        grad: Array,
        gains: Gains,
        layer: int,
        v: float,
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the input of attention, and squared gradients of its matrices."""
        return attention.backward(gram, output, grad, gains, self(layer), v, self.probes(layer))

    def __call__(self, layer: int) -> Array:
        """Noise of one layer's heads for :class:`SampledAttention`, (2, heads, tokens, head width)."""
        shape = (2, self.heads, self.arch.tokens, self.arch.head_width)
        return np.random.default_rng((*self.seed, layer)).standard_normal(shape)

    def probes(self, layer: int) -> np.random.Generator:
        """Generator for the values and gradients of one layer, where the theory samples them."""
        return np.random.default_rng((*self.seed, layer, 1))

    def products(self, variances: Array) -> Array:
        """T of shape (``SPECTRA``, layers, tokens, tokens), products of two Gaussian samples: of the width,
        and of as many coordinates as leave entries of T T^T the ``variances``, (layers,), leading order."""
        width = np.array([1 / self.arch.width])
        more = np.maximum(variances - width, 1e-12)  # a sample that changes nothing
        return np.asarray(self._wishart(width, 0) @ self._wishart(more, 1))

    def _wishart(self, variances: Array, number: int) -> Array:
        """T of shape (``SPECTRA``, layers, tokens, tokens) with T T^T distributed as Z Z^T / m, Z standard
        normal of shape (tokens, m), for the variances 1/m of its entries, (layers,): Bartlett's
        decomposition, from the same random numbers in each layer. m need not be whole."""
        n, m = self.arch.tokens, 1 / variances[:, None]
        random = np.random.default_rng((*self.seed, self.arch.depth, number))
        factor, k = np.tril(random.standard_normal((SPECTRA, 1, n, n)), -1), np.arange(n)
        squares = 2 * gammaincinv(np.maximum(m - k, 0) / 2, random.random((SPECTRA, 1, n)))
        found = np.where(m[..., None] > k, factor, 0.0)
        found[..., k, k] = np.sqrt(np.where(m > k, squares, 0.0))
        return np.asarray(found / np.sqrt(m[..., None]))
