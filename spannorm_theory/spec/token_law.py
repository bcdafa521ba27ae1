r"""The law of token ids, and of the labels of a cross-entropy (T8.3).

``zipf``: pi_v proportional to 1/v for the types v = 1, 2, ... of a vocabulary; ``uniform``: all alike. Two
independent ids agree with the collision probability P_c = sum_v pi_v^2, of N types about (pi^2/6) / (ln N +
0.5772)^2, or 1/N: it is the token cosine of independent embeddings, and of the targets that a cross-entropy
pulls at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, zeta

from ..gaussian.closed_forms import Array

#: the laws by name
LAWS = ("zipf", "uniform")


@dataclass(frozen=True)
class TokenLaw:
    """The law called ``name`` over the types of a vocabulary."""

    name: str
    vocabulary: int

    @property
    def probabilities(self) -> Array:
        """pi_v of every type; shape (vocabulary,)."""
        return _probabilities(self.name, self.vocabulary)

    @property
    def collision(self) -> float:
        """P_c, the probability that two independent ids are the same."""
        if self.name == "uniform":
            return 1 / self.vocabulary
        first = digamma(self.vocabulary + 1) + np.euler_gamma  # sum of 1/v
        second = zeta(2) - zeta(2, self.vocabulary + 1)  # of 1/v^2
        return float(second / first**2)

    @property
    def edges(self) -> Array:
        """Upper ends of the intervals of [0, 1) that types take up, but for the last; (vocabulary - 1,)."""
        return np.asarray(np.cumsum(self.probabilities)[:-1])

    def ids(self, uniform: Array) -> NDArray[np.int64]:
        """Ids from 0 to vocabulary - 1, from numbers uniform in [0, 1), of their shape."""
        return np.asarray(np.searchsorted(self.edges, uniform, side="right"), dtype=np.int64)


@lru_cache(maxsize=16)
def _probabilities(name: str, vocabulary: int) -> Array:
    if name == "uniform":
        return np.full(vocabulary, 1 / vocabulary)
    weight = 1 / np.arange(1.0, vocabulary + 1)
    return np.asarray(weight / weight.sum())
