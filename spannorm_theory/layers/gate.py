r"""Moments of a gate of each coordinate, t = tanh(x W) with a fresh matrix W (T5.9).

W's outputs are Gaussian given x, of covariance s c between two tokens whose inputs have covariance c, with s
the gain of W, so that with the kernel K of tanh and the value v that is multiplied

    forward    cov(t, t') = K(s q, s q, s c); t v has cov(t, t') cov(v, v'), and none with anything else
    at v       the gradient of t v times t, of covariance cov(t, t') Gamma
    at x       W^T of the gradient times v times the slope of tanh: s cov(v, v') K'(s q, s q, s c) Gamma
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


class Gate:
    """Moments of tanh of a random map.

    Args:
        matrix: name of the map's matrix.
        width: d, its inputs and its outputs.
    """

    def __init__(self, matrix: str, width: int) -> None:
        entry = ACTIVATIONS["tanh"]
        self.matrix, self.width = matrix, width
        self.kernel = AtZero(entry.kernel, entry.function)

    @property
    def takes(self) -> tuple[str, ...]:
        """The matrices whose gains the transfer takes."""
        return (self.matrix,)

    @property
    def transfer(self) -> Transfer:
        """Function from the input (q, delta) and the matrix' gain to (q, delta) of the gate."""
        kernel = self.kernel.drop
        return lambda q, delta, gain: kernel(gain * q, gain * delta)

    def forward(self, q: float, delta: float, gains: Gains) -> tuple[float, float]:
        """Second moment of the gate and its drop between tokens, for input (q, q - delta)."""
        return self.transfer(q, delta, gains[self.matrix])

    def output(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Covariance of the gate between two tokens."""
        s = gains[self.matrix]
        return self.kernel.value(s * q1, s * q2, s * c)

    def _slope(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        s = gains[self.matrix]
        return self.kernel.slope(s * q1, s * q2, s * c)

    def gain(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Factor of the gradient's covariance from the gate to its input."""
        return gains[self.matrix] * self._slope(q1, q2, c, gains)

    def at(self, q: Array, delta: Array, gains: Gains) -> BranchInput:
        """The gate at an input (q, q - delta)."""
        s = gains[self.matrix]
        k, one, k_cross, two = self.kernel.pair(s * q, s * delta)
        paths = {self.matrix: one}, {self.matrix: two}
        return BranchInput(q, delta, gains, (k, k_cross), paths, (s * one, s * two))

    def response(self, at: BranchInput, drop: Array) -> Array:
        """Slope of the gate's covariance in that of its input, (layers,)."""
        return np.asarray(at.back[1])

    def scatter(self, at: BranchInput, drop: Array) -> Array:
        """Variance over pairs of tokens of the gate's covariance at one covariance of its input, (layers,):
        that of sampling by d outputs."""
        return np.square(drop) / self.width

    def weight_grads(
        self, at: BranchInput, pair_variance: Any, value: Array, grad: Array, tokens: int
    ) -> dict[str, Any]:
        """Squared gradient E |dLoss/dW|_F^2 by name, (layers,).

        Between two tokens it has the covariances of input and value as a factor, whose product has the mean
        p p_v + V delta delta_v over pairs, as deviations are taken as common to both.

        Args:
            pair_variance: V at the gate's input.
            value: (q, delta) of what the gate multiplies, (layers, 2).
            grad: (gamma, c) behind the product, (layers, 2).
        """
        (q, delta), (gamma, cross) = value.T, grad.T
        one, two = (path[self.matrix] for path in at.paths)
        both = at.p * (q - delta) + pair_variance * at.delta * delta
        own, between = at.q * q * one * gamma, both * two * cross
        return {self.matrix: self.width**2 * tokens * (own + (tokens - 1) * between)}

    def weight_grads_gram(self, q1: Any, q2: Any, c: Any, grad: Array, gains: Gains) -> dict[str, float]:
        """Squared gradient E |dLoss/dW|_F^2 by name, a sum over token pairs of covariance ``c`` at the input
        and ``grad`` at the gate, which holds how many pairs each entry stands for."""
        return {self.matrix: float(self.width**2 * (c * grad * self._slope(q1, q2, c, gains)).sum())}
