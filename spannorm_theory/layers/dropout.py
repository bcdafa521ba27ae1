r"""Inverted dropout of a branch's output: y -> m y / (1 - p_o), m zero at the rate p_o, else one (T5.8).

Masks are independent over tokens and coordinates and the same there and back. So a second moment is divided
by 1 - p_o, forward and backward, and covariances of two tokens stay: the drop grows by what q does, and equal
tokens do not stay equal.
"""

from __future__ import annotations

from ..gaussian.closed_forms import Transfer


def dropped(transfer: Transfer, rate: float) -> Transfer:
    """A branch's transfer with dropout at ``rate`` on its output."""
    kept, more = 1 / (1 - rate), rate / (1 - rate)

    def branch(q: float, delta: float, *gains: float) -> tuple[float, float]:
        q, delta = transfer(q, delta, *gains)
        return kept * q, delta + more * q

    return branch
