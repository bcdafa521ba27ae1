r"""Moments of experts that every token is sent to, which may have a gate of their own (T7.2, T7.6).

    sum_s f_s(x),   or   sigmoid(x w) sum_s f_s(x)   (Qwen2-MoE, arXiv:2407.10671)

With K of one expert, n_s of them have covariance n_s Y K between two tokens: Y = 1, or the kernel of a
sigmoid at the second moments and covariance of x w.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, roots_hermitenorm

from ..gaussian.at_zero import AtZero
from ..gaussian.closed_forms import Array
from ..gaussian.hermite import HermiteSeries

Gains = Mapping[str, Any]

#: the matrix of the gate, of one output
GATE = "ffn.shared_gate"


#: Gaussian quadrature
NODES, WEIGHTS = roots_hermitenorm(64)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def _sigmoid(x: Array) -> Array:
    return np.asarray(expit(x))


_KERNEL = AtZero(HermiteSeries(_sigmoid, "a sigmoid"), _sigmoid)


@dataclass(frozen=True)
class SharedExperts:
    """``count`` shared experts, n_s, whose sum is ``gated`` or not."""

    count: int
    gated: bool = False

    @property
    def takes(self) -> tuple[str, ...]:
        """The matrices whose gains they read."""
        return (GATE,) if self.gated else ()

    def overlap(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """n_s Y between two tokens."""
        if not self.gated:
            return self.count
        s = gains[GATE]
        return self.count * _KERNEL.value(s * q1, s * q2, s * c)

    def slope(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """n_s dY/dc by the covariance of x w: E of the product of the gates' derivatives."""
        if not self.gated:
            return 0.0
        s = gains[GATE]
        return self.count * _KERNEL.slope(s * q1, s * q2, s * c)

    def back(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Factor of K in the gradient's covariance that the gate passes to x."""
        return gains[GATE] * self.slope(q1, q2, c, gains) if self.gated else 0.0

    def spread(self, gains: Gains) -> float:
        """Variance over tokens of n_s sigmoid(x w)^2, for an input of second moment 1."""
        if not self.gated:
            return 0.0
        u = np.sqrt(gains[GATE]) * NODES
        return float(self.count**2 * (WEIGHTS @ expit(u) ** 4 - (WEIGHTS @ expit(u) ** 2) ** 2))

    def drop(self, q: float, delta: float, gain: float = 0.0) -> tuple[float, float]:
        """n_s Y of one token, and its drop between two, for an input (q, q - delta)."""
        if not self.gated:
            return self.count, 0.0
        one, drop = _KERNEL.drop(gain * q, gain * delta)
        return self.count * one, self.count * drop
