r"""Token Grams of any kind: all entries, or positions as a coordinate (T10.1, T10.6).

A block's trace is evaluated by the same rules for both (:mod:`.token_gram`). They differ in how a Gram is
stored, in the pairs of tokens that an entry stands for, and in how attention is averaged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.attention_positions import NOTHING, LeftOut
from ..spec.architecture import Architecture
from ..spec.graph import Branch
from .algebra import Algebra

Gains = dict[str, float]

#: second moments of the first and of the second token of each pair, and their covariance
Pairs = tuple[Array, Array, Array]


class Attended(NamedTuple):
    """A branch of attention.

    Attributes:
        output: its Gram.
        undecided: rows of weights that are more than a maximum.
        left_out: what there is of that beyond which a theory leaves something out.
    """

    output: Array
    undecided: float
    left_out: LeftOut = NOTHING


class TokenGrams(ABC):
    """A kind of token Gram.

    Attributes:
        arch: the architecture.
        algebra: the rules of covariances.
    """

    arch: Architecture
    algebra: Algebra

    @property
    @abstractmethod
    def counts(self) -> Array:
        """Tokens that each position stands for, (positions,)."""

    @property
    @abstractmethod
    def pairs(self) -> Array:
        """Token pairs that each entry of a Gram stands for, to be broadcast over it."""

    @property
    def together(self) -> Any:
        """One where both tokens of an entry are of one sequence, and zero elsewhere, to be broadcast."""
        return 1.0

    @property
    def step_pairs(self) -> Any:
        """Weight of each entry of a Gram in the squared gradient of a step's mean loss, to be broadcast:
        gradients of several sequences have nothing in common."""
        return self.pairs / self.arch.batch

    @property
    def placed(self) -> Array:
        """Gram of ones where two tokens have one position."""
        return self.gram(1.0, 0.0)

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
    def attention(self, branch: Branch, arch: Architecture, only_normed: bool) -> Any:
        """The component of an attention branch in a block that has the fields of ``arch``."""

    @abstractmethod
    def attend(self, attention: Any, gram: Array, gains: Gains, layer: int) -> Attended:
        """A branch of attention on a Gram of its inputs."""

    @abstractmethod
    def attend_back(
        self, attention: Any, gram: Array, output: Array, grad: Array, gains: Gains, layer: int, v: float
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the input of attention, and squared gradients of its matrices."""

    def whole(self, cov: Any) -> Array:
        """A covariance as a Gram, that of independent values too, which the rules of covariances leave a
        number."""
        return self.gram(0.0, 0.0) if np.ndim(cov) == 0 else np.asarray(cov)

    def total(self, gram: Array) -> float:
        """Sum over all pairs of tokens."""
        return float((self.pairs * gram).sum())

    def squared(self, gram: Array) -> float:
        """Squared gradient of a step's mean loss, from the products of covariances it is made of."""
        return float((self.step_pairs * gram).sum())

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
