r"""Positions in attention: which keys a token sees, and rotary embedding (T6.17).

Rotary embedding turns the pairs (a, a + d_h/2) of a query's or key's coordinates at position i by the
angles omega_a i, omega_a = 10^4^(-2a/d_h), a = 0 .. d_h/2 - 1 (Su et al., arXiv:2104.09864). For Gaussian
queries and keys of independent weights and the token Gram G of what they read, at every head width,

    Cov(a_ij, a_kl) = s_Q s_K G_ik G_jl m((j - i) - (l - k)),    m(t) = (2/d_h) sum_a cos(omega_a t).

Logits of a row differ even between equal tokens, by v (1 - rho mbar), mbar the mean of m over pairs of keys.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array

#: inverse of the slowest frequency, as published; a larger one tells distant positions apart, and the theory
#: holds for any
BASE = 1e4


def beyond(behind: Any, window: int | None) -> Any:
    """Whether a causal mask hides a key that is so many tokens behind a row's, an array or tensor: ahead of
    it, or ``window`` or more behind."""
    return behind < 0 if window is None else (behind < 0) | (behind >= window)


def hidden(tokens: int, causal: bool, window: int | None = None, sequences: int = 1) -> Array | None:
    """Mask (tokens, tokens), true where a row's token does not see a column's (:func:`beyond`), which of
    several ``sequences`` behind one another is no token of another; None if every token sees all."""
    sequence, position = np.divmod(np.arange(tokens), tokens // sequences)
    apart = sequence[:, None] != sequence
    if not causal:
        return apart if sequences > 1 else None
    return np.asarray(beyond(position[:, None] - position, window) | apart)


def frequencies(head_width: int) -> Array:
    """omega_a in radians per position; shape (head_width / 2,)."""
    return np.asarray(BASE ** (-np.arange(0, head_width, 2) / head_width))


def coherence(distance: Array, head_width: int) -> Array:
    """m(t), what rotary embedding leaves of a covariance between logits at distances t apart."""
    return np.asarray(np.cos(np.multiply.outer(distance, frequencies(head_width))).mean(axis=-1))


@lru_cache(maxsize=32)
def angles(tokens: int, head_width: int) -> tuple[Array, Array]:
    """Cosine and sine of the angle of each position and pair of coordinates, (tokens, head_width / 2)."""
    angle = np.multiply.outer(np.arange(tokens), frequencies(head_width))
    return np.cos(angle), np.sin(angle)


def rotated(x: Array, *, back: bool = False) -> Array:
    """R_i x_i (or R_i^T x_i) for arrays (..., tokens, head width)."""
    cos, sin = angles(*x.shape[-2:])
    sin = -sin if back else sin
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
