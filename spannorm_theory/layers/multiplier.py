r"""Gradients of learnt multipliers, one for each coordinate (T4.3): lambda o v, with values v of a stack.

Where g is the gradient at lambda o v, that at lambda is sum_t g_t o v_t, and its squared norm is

    d sum_st Gamma_st K_st

with Gamma and K the token Grams of g and v per coordinate: the two are independent in the wide limit. One
multiplier that all coordinates share has the sum over coordinates as its gradient, whose square has the same
mean if g is independent of v in each coordinate as well, as where the multiplier starts at zero.
"""

from __future__ import annotations

from typing import Any

from ..gaussian.closed_forms import Array


def multiplier_grad(q: Any, delta: Any, grad: Array, width: int, tokens: int) -> Any:
    """Squared gradient, (layers,), from (q, q - delta) of the values and (gamma, c) of the gradient behind
    the multiplier, (layers, 2)."""
    return width * tokens * (q * grad[:, 0] + (tokens - 1) * (q - delta) * grad[:, 1])
