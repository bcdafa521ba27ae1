r"""Moments of an element-wise activation in a norm's place (DyT, Derf): no weights, only its kernel (T5.7).

For two tokens with second moments q1, q2 and covariance c per coordinate, the output has covariance
K(q1, q2, c), and a gradient's covariance is multiplied by dK/dc (Price's theorem).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..gaussian.activations import ACTIVATIONS
from ..gaussian.at_zero import AtZero
from ..gaussian.closed_forms import Array, Transfer
from .feedforward import BranchInput

Gains = Mapping[str, Any]


class Pointwise:
    """Moments of a registered activation of every coordinate; without weights, ``gains`` are empty."""

    def __init__(self, activation: str) -> None:
        entry = ACTIVATIONS[activation]
        self.kernel = AtZero(entry.kernel, entry.function)

    #: there are no matrices whose gains the transfer could take
    takes: tuple[str, ...] = ()

    @property
    def transfer(self) -> Transfer:
        """Function from (q, delta) of the input to that of the output."""
        return self.kernel.drop

    def forward(self, q: float, delta: float, gains: Gains) -> tuple[float, float]:
        """Second moment of the output and its drop between tokens, for input (q, q - delta)."""
        return self.kernel.drop(q, delta)

    def output(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """K, element-wise in the token Gram."""
        return self.kernel.value(q1, q2, c)

    def gain(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """K', the factor of the gradient's covariance from the output to the input."""
        return self.kernel.slope(q1, q2, c)

    def at(self, q: Array, delta: Array, gains: Gains) -> BranchInput:
        """The function at an input (q, q - delta); there is no hidden layer."""
        k, one, k_cross, two = self.kernel.pair(q, delta)
        return BranchInput(q, delta, gains, (k, k_cross), ({}, {}), (one, two))

    def response(self, at: BranchInput, drop: Array) -> Array:
        """Slope of the output's covariance in that of its input, (layers,): K'."""
        return np.asarray(at.back[1])

    def scatter(self, at: BranchInput, drop: Array) -> Array:
        """Variance over pairs of tokens of the output's covariance at one covariance of its input: zero."""
        return np.zeros_like(at.q)

    def weight_grads(self, at: BranchInput, grad: Array, tokens: int) -> dict[str, Any]:
        """Squared weight gradients by name: none, as there are no weights."""
        return {}

    def weight_grads_gram(self, q1: Any, q2: Any, c: Any, grad: Array, gains: Gains) -> dict[str, float]:
        """Squared weight gradients by name: none, as there are no weights."""
        return {}
