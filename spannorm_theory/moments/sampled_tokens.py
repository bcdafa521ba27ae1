"""Tokens of a stack one by one: full Grams, attention by sampled heads (T10)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from ..gaussian.closed_forms import Array
from ..layers.attention_gram import SampledAttention
from ..spec.architecture import Architecture
from ..spec.graph import Branch
from .algebra import GRAM
from .branches import sampled_attention
from .tokens import Attended, Gains, Pairs, TokenGrams

#: samples of a stream's coordinates whose spectra are averaged in one run; the error falls as its root
SPECTRA = 4


@dataclass(frozen=True)
class SampledTokens(TokenGrams):
    """All tokens, and the random numbers of one run.

    Where gradients of a step's sequences have something in common, the tokens are those of two sequences that
    do not see each other: what all pairs of two have in common is what these two have.

    Attributes:
        seed: of this run.
        heads: attention heads sampled in each layer.
        ids: the tokens of its input where that has any, (tokens,).
    """

    seed: tuple[int, int]
    heads: int
    arch: Architecture
    ids: NDArray[np.int64] | None = None
    algebra = GRAM

    @cached_property
    def sequences(self) -> int:
        """Sequences whose tokens these are."""
        return 2 if self.arch.crossed else 1

    @cached_property
    def counts(self) -> Array:
        """Tokens that each position stands for, as a mean over sequences."""
        return np.full(self.sequences * self.arch.tokens, 1 / self.sequences)

    @cached_property
    def together(self) -> Array:
        """One where both tokens of an entry are of one sequence, and zero elsewhere."""
        return np.asarray(np.kron(np.eye(self.sequences), np.ones((self.arch.tokens,) * 2)), dtype=float)

    @cached_property
    def pairs(self) -> Array:
        """Token pairs that each entry stands for, as a mean over sequences."""
        return self.together / self.sequences

    @cached_property
    def step_pairs(self) -> Array:
        """Weight of each entry in the squared gradient of a step's mean loss: 1 / B of each sequence's own,
        and 1 - 1 / B of what two have in common."""
        own = self.pairs / self.arch.batch
        return own + (1 - self.together) * (1 - 1 / self.arch.batch) / 2

    @property
    def placed(self) -> Array:
        """Gram of ones where two tokens have one position."""
        return np.asarray(np.kron(np.ones((self.sequences,) * 2), np.eye(self.arch.tokens)), dtype=float)

    def gram(self, own: Any, between: Any) -> Array:
        """The Gram of second moments ``own`` and of covariances ``between`` two tokens."""
        return np.asarray(np.where(np.eye(len(self.counts), dtype=bool), own, between), dtype=float)

    def own(self, gram: Array) -> Array:
        """Second moment of each token."""
        return gram.diagonal()

    def of_pairs(self, gram: Array) -> Pairs:
        """Second moments of both tokens, and their covariance, for each entry."""
        q = gram.diagonal()
        return q[:, None], q[None, :], gram

    def attention(self, branch: Branch, arch: Architecture, only_normed: bool) -> SampledAttention:
        """The component of an attention branch in a block that has the fields of ``arch``."""
        return replace(sampled_attention(branch, arch, only_normed), sequences=self.sequences)

    def attend(self, attention: SampledAttention, gram: Array, gains: Gains, layer: int) -> Attended:
        """A branch of attention on a Gram of its inputs."""
        output, undecided = attention.forward(gram, gains, self(layer))
        return Attended(output, undecided / self.sequences)

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
        random = self.probes(layer)
        return attention.backward(gram, output, grad, gains, self(layer), v, random, self.step_pairs)

    def __call__(self, layer: int) -> Array:
        """Noise of one layer's heads for :class:`SampledAttention`, (2, heads, tokens, head width)."""
        shape = (2, self.heads, len(self.counts), self.arch.head_size)
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
