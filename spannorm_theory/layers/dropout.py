r"""Inverted dropout of a branch's output: y -> m y / (1 - p), m one with probability 1 - p, else zero.

Masks are independent over tokens and coordinates and the same there and back. So a second moment is
divided by 1 - p, forward and backward, and what two tokens share is left as it is: of a pair (q, delta)
the drop grows by what q does, and equal tokens do not stay equal.
"""

from __future__ import annotations

import numpy as np

from ..gaussian.closed_forms import Array, Transfer


def dropped(transfer: Transfer, rate: float) -> Transfer:
    """A branch's transfer, dropout included."""
    kept, more = 1 / (1 - rate), rate / (1 - rate)

    def branch(q: float, delta: float, *gains: float) -> tuple[float, float]:
        q, delta = transfer(q, delta, *gains)
        return kept * q, delta + more * q

    return branch


def dropped_gram(gram: Array, rate: float) -> Array:
    """Token Gram behind dropout, of a stream or of its gradient."""
    return np.asarray(gram + np.diag(gram.diagonal() * (rate / (1 - rate)))) if rate else gram
