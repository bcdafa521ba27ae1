r"""An element-wise activation in a norm's place (DyT, Derf): no weights, only its kernel.

For two tokens with second moments q1, q2 and covariance c per coordinate, the output has covariance
K(q1, q2, c), and a gradient's covariance is multiplied by dK/dc (Price's theorem).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..gaussian.activations import ACTIVATIONS
from ..gaussian.closed_forms import Array, Transfer
from .feedforward import BranchInput

Gains = Mapping[str, Any]


class Pointwise:
    """Moments of a registered activation of every coordinate; ``gains`` is empty, there are no weights."""

    def __init__(self, activation: str) -> None:
        self.kernel = ACTIVATIONS[activation].kernel

    #: there are no matrices whose gains the transfer could take
    takes: tuple[str, ...] = ()

    @property
    def transfer(self) -> Transfer:
        """From the input (q, delta) to the output's."""
        return self.kernel.drop

    def forward(self, q: float, delta: float, gains: Gains) -> tuple[float, float]:
        """Second moment of the output and its drop between tokens, for input (q, q - delta)."""
        return self.kernel.drop(q, delta)

    def output(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """K, element-wise in the token Gram."""
        return self.kernel.value(q1, q2, c)

    def gain(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Gain from the gradient at the output to that at the input."""
        return self.kernel.slope(q1, q2, c)

    def at(self, q: Array, delta: Array, gains: Gains) -> BranchInput:
        """The function at an input (q, q - delta); there is no hidden layer."""
        k, one, k_cross, two = self.kernel.pair(q, delta)
        return BranchInput(q, delta, gains, (k, k_cross), ({}, {}), (one, two))

    def response(self, at: BranchInput, drop: Array) -> Array:
        """Slope of the output's covariance in that of its input."""
        return np.asarray(at.back[1])

    def scatter(self, at: BranchInput, drop: Array) -> Array:
        """Variance over pairs of tokens of the output's covariance, at one covariance of its input: none."""
        return np.zeros_like(at.q)

    def weight_grads(self, at: BranchInput, grad: Array, tokens: int) -> dict[str, Any]:
        """Nothing: there are no weights."""
        return {}

    def weight_grads_gram(self, gram: Array, grad: Array, gains: Gains) -> dict[str, float]:
        """Nothing: there are no weights."""
        return {}
