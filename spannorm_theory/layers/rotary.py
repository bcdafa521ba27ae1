r"""Positions in attention: which keys a token sees, and rotary embedding (T6.17).

Rotary embedding turns the pairs (a, a + d_h/2) of a query's or key's coordinates at position i by the
angles omega_a i, omega_a = b^(-2a/r) for the r/2 pairs that rotate, a = 0 .. r/2 - 1 (Su et al.,
arXiv:2104.09864, with r = d_h and b = 10^4), and omega_a = 0 for the others. Which pairs rotate is of no
matter, as a head's coordinates are alike. For Gaussian queries and keys of independent weights and the token
Gram G of what they read, at every head width,

    Cov(a_ij, a_kl) = s_Q s_K G_ik G_jl m((j - i) - (l - k)),    m(t) = (2/d_h) sum_a cos(omega_a t).

Logits of a row differ even between equal tokens, by v (1 - rho mbar), mbar the mean of m over pairs of keys.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

import numpy as np

from ..gaussian.closed_forms import Array


class Rotary(NamedTuple):
    """A rotary embedding.

    Attributes:
        base: b, about the inverse of the slowest frequency; a larger one tells distant positions apart.
        share: of a head's coordinates, those that rotate.
    """

    base: float = 1e4
    share: float = 1.0


#: as it was published
PUBLISHED = Rotary()


def beyond(behind: Any, causal: bool, window: int | None) -> Any:
    """Whether a key that is so many tokens behind a row's, an array or tensor, is hidden from it: ahead of it
    under a causal mask, or ``window`` or more away."""
    reach = inf if window is None else window
    return (behind < (0 if causal else 1 - reach)) | (behind >= reach)


def beside(tokens: int, causal: bool, window: int | None) -> tuple[int, int]:
    """Tokens that one sees behind it and ahead, where there are as many."""
    behind = (tokens if window is None else window) - 1
    return behind, 0 if causal else behind


def hidden(tokens: int, causal: bool, window: int | None = None, sequences: int = 1) -> Array | None:
    """Mask (tokens, tokens), true where a row's token does not see a column's (:func:`beyond`), which of
    several ``sequences`` behind one another is no token of another; None if every token sees all."""
    if not causal and window is None and sequences == 1:
        return None
    sequence, position = np.divmod(np.arange(tokens), tokens // sequences)
    apart = sequence[:, None] != sequence
    return np.asarray(beyond(position[:, None] - position, causal, window) | apart)


def frequencies(head_width: int, rotary: Rotary = PUBLISHED) -> Array:
    """omega_a in radians per position; shape (head_width / 2,)."""
    turning = round(rotary.share * head_width / 2)
    omega = np.zeros(head_width // 2)
    omega[:turning] = rotary.base ** (-np.arange(turning) / turning)
    return omega


def coherence(distance: Array, head_width: int, rotary: Rotary = PUBLISHED) -> Array:
    """m(t), what rotary embedding leaves of a covariance between logits at distances t apart."""
    return np.asarray(np.cos(np.multiply.outer(distance, frequencies(head_width, rotary))).mean(axis=-1))


@lru_cache(maxsize=32)
def angles(tokens: int, head_width: int, rotary: Rotary = PUBLISHED) -> tuple[Array, Array]:
    """Cosine and sine of the angle of each position and pair of coordinates, (tokens, head_width / 2)."""
    angle = np.multiply.outer(np.arange(tokens), frequencies(head_width, rotary))
    return np.cos(angle), np.sin(angle)


def rotated(x: Array, rotary: Rotary = PUBLISHED, *, back: bool = False) -> Array:
    """R_i x_i (or R_i^T x_i) for arrays (..., tokens, head width)."""
    cos, sin = angles(*x.shape[-2:], rotary)
    sin = -sin if back else sin
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)
