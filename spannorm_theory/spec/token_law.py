r"""The law of token ids: Zipf's, pi_v proportional to 1/v for the types v = 1, 2, ... of a vocabulary (T8.3).

Two independent ids agree with the collision probability P_c = sum_v pi_v^2, of N types about
(pi^2/6) / (ln N + 0.5772)^2: it is the token cosine of independent embeddings, and of the targets that a
cross-entropy loss pulls at.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, zeta

from ..gaussian.closed_forms import Array


@lru_cache(maxsize=16)
def zipf(vocabulary: int) -> Array:
    """pi_v of every type; shape (vocabulary,)."""
    weight = 1 / np.arange(1.0, vocabulary + 1)
    return np.asarray(weight / weight.sum())


def collision_probability(vocabulary: int) -> float:
    """P_c, the probability that two independent ids are the same."""
    first = digamma(vocabulary + 1) + np.euler_gamma  # sum of 1/v
    second = zeta(2) - zeta(2, vocabulary + 1)  # of 1/v^2
    return float(second / first**2)


def ids(uniform: Array, vocabulary: int) -> NDArray[np.int64]:
    """Ids from 0 to ``vocabulary`` - 1, from numbers uniform in [0, 1), of their shape."""
    edges = np.cumsum(zipf(vocabulary))[:-1]
    return np.asarray(np.searchsorted(edges, uniform, side="right"), dtype=np.int64)
