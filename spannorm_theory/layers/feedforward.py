r"""Moments of the feed-forward branch phi(x W_up) W_down, gated (phi(x W_gate) o (x W_up + a)) W_down (T5.4,
T5.5).

For two tokens with second moments q1, q2 and covariance c per coordinate (q1 = q2 = c for one token),
element-wise in the token Gram,

    branch covariance    s_down k,   k = K(s_up q1, s_up q2, s_up c)
                              gated: k = K(s_gate q1, s_gate q2, s_gate c) (s_up c + a^2)
    gradient covariance  B times that at the branch output,   B = s_down dk/dc

with s_W the gains and K the kernel of phi; dk/dc follows from Price's theorem and has one term for each path.
A norm in front of W_down (``inner_norm``) divides k and dk/dc by the roots of the two tokens' own k;
LayerNorm first takes off the product of the tokens' means, which is k at c = 0. Wide limit in the stream and
in the hidden layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..gaussian.activations import Activation
from ..gaussian.at_zero import AtZero
from ..gaussian.closed_forms import Array, Transfer
from .matrix_grams import MatrixGrams, Reads

Gains = Mapping[str, Any]


@dataclass(frozen=True)
class BranchInput:
    """A branch at an input (q, q - delta), arrays over layers; pairs are of one token, and between two.

    Attributes:
        q, delta: second moment of the input, and its drop.
        gains: sigma_W^2 of each matrix.
        hidden: second moments, per coordinate, that the last matrix reads.
        paths: factors of the gradient's second moment from there to each pre-activation.
        back: factors from the branch output to its input.
    """

    q: Array
    delta: Array
    gains: Gains
    hidden: tuple[Any, Any]
    paths: tuple[dict[str, Any], dict[str, Any]]
    back: tuple[Any, Any]

    @property
    def p(self) -> Array:
        """Covariance of two tokens' input."""
        return self.q - self.delta


class FeedForward:
    """Moments of one feed-forward branch; ``gains`` maps each matrix to its sigma_W^2."""

    def __init__(
        self, activation: Activation, width: int, hidden: int, inner_norm: str | None = None
    ) -> None:
        self.activation = activation
        self.kernel = AtZero(activation.kernel, activation.function)
        self.offset = activation.up_offset**2
        self.width = width
        self.hidden = hidden
        self.inner_norm = inner_norm

    @property
    def _takes_means(self) -> bool:
        """Whether the inner norm takes off a mean; that of a gated hidden layer is zero without an offset."""
        return self.inner_norm == "layer" and bool(self.offset or not self.activation.gated)

    def _mean_square(self, q: Any, gains: Gains) -> Any:
        """Square of the mean of a hidden coordinate, where the inner norm takes it off."""
        if not self._takes_means:
            return 0.0
        return self._raw(q, q, np.zeros_like(q), gains)

    def _size(self, q1: Any, q2: Any, gains: Gains) -> Any:
        """Divisor of the second moment between two tokens at the inner norm."""
        if self.inner_norm is None:
            return 1.0
        one, two = (self._raw(q, q, q, gains) - self._mean_square(q, gains) for q in (q1, q2))
        if not np.all(one) or not np.all(two):
            raise ZeroDivisionError
        return np.sqrt(one * two)

    def hidden_moment(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Second moment per coordinate, between two tokens, that W_down reads."""
        k = self._raw(q1, q2, c, gains)
        if self.inner_norm is None:
            return k
        return (k - np.sqrt(self._mean_square(q1, gains) * self._mean_square(q2, gains))) / self._size(
            q1, q2, gains
        )

    def output(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Covariance of the branch output between two tokens."""
        return gains["ffn.down"] * self.hidden_moment(q1, q2, c, gains)

    def _raw(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """k: second moment per hidden coordinate between two tokens."""
        s = gains["ffn.gate"] if self.activation.gated else gains["ffn.up"]
        k = self.kernel.value(s * q1, s * q2, s * c)
        return k * self._up(c, gains) if self.activation.gated else k

    def _up(self, c: Any, gains: Gains) -> Any:
        """Second moment between two tokens of what the gate multiplies."""
        return gains["ffn.up"] * c + self.offset

    def paths(self, q1: Any, q2: Any, c: Any, gains: Gains) -> dict[str, Any]:
        """Factors of the gradient's covariance from what W_down reads to each pre-activation, by matrix."""
        size = self._size(q1, q2, gains)
        s = gains["ffn.gate"] if self.activation.gated else gains["ffn.up"]
        slope = self.kernel.slope(s * q1, s * q2, s * c)
        if not self.activation.gated:
            return {"ffn.up": slope / size}
        value = self.kernel.value(s * q1, s * q2, s * c)
        return {"ffn.up": value / size, "ffn.gate": slope * self._up(c, gains) / size}

    def at(self, q: Array, delta: Array, gains: Gains) -> BranchInput:
        """The branch at an input (q, q - delta)."""
        gated, c = self.activation.gated, (q, q - delta)
        at = gains["ffn.gate" if gated else "ffn.up"] * np.stack([q, delta])
        moments = self.kernel.pair(*at)
        hidden, slope = moments[0::2], moments[1::2]
        if gated:
            through = [self._up(x, gains) for x in c]
            paths = [{"ffn.up": k, "ffn.gate": s * x} for k, s, x in zip(hidden, slope, through, strict=True)]
            hidden = tuple(k * x for k, x in zip(hidden, through, strict=True))
        else:
            paths = [{"ffn.up": s} for s in slope]
        if self.inner_norm is not None:
            mean = self.kernel.pair(at[0], at[0])[2] if self._takes_means else 0.0
            mean = mean * self.offset if gated else mean
            size = hidden[0] - mean
            hidden = tuple((k - mean) / size for k in hidden)
            paths = [{name: x / size for name, x in path.items()} for path in paths]
        one, two = (self._through(path, gains) for path in paths)
        return BranchInput(q, delta, gains, (hidden[0], hidden[1]), (paths[0], paths[1]), (one, two))

    def _through(self, paths: Mapping[str, Any], gains: Gains) -> Any:
        return gains["ffn.down"] * sum(gains[name] * path for name, path in paths.items())

    @property
    def takes(self) -> tuple[str, ...]:
        """The matrices whose gains the transfer takes."""
        return "ffn.up", "ffn.gate" if self.activation.gated else "ffn.up", "ffn.down"

    @property
    def transfer(self) -> Transfer:
        """Function from the input (q, delta) and the gains in the order of :attr:`takes` to the branch's
        (q, delta), for the loop over layers."""
        kernel, gated, inner_norm = self.kernel.drop, self.activation.gated, self.inner_norm is not None
        takes_means, offset = self._takes_means, self.offset

        def branch(q: float, delta: float, up: float, gate: float, down: float) -> tuple[float, float]:
            k, drop = kernel(gate * q, gate * delta)
            mean = 0.0
            if takes_means:  # what independent tokens share
                mean = k - kernel(gate * q, gate * q)[1]
            if gated:
                k, drop = k * (up * q + offset), k * up * delta + drop * (up * (q - delta) + offset)
                mean *= offset
            if inner_norm:
                k, drop = 1.0, drop / (k - mean)
            return down * k, down * drop

        return branch

    def forward(self, q: float, delta: float, gains: Gains) -> tuple[float, float]:
        """Second moment of the branch and its drop between tokens, for input (q, q - delta)."""
        return self.transfer(float(q), float(delta), *(gains[name] for name in self.takes))

    def response(self, at: BranchInput, drop: Array) -> Array:
        """Slope of the branch's covariance in that of its input, (layers,): B, by Price's theorem."""
        return np.asarray(at.back[1])

    def scatter(self, at: BranchInput, drop: Array) -> Array:
        """Variance over pairs of tokens of the branch's covariance at one covariance of its input, (layers,):
        that of sampling by m hidden units, ``drop``^2 / m for a ``drop`` of the branch; leading order."""
        return np.square(drop) / self.hidden

    def gain(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """B, the factor of the gradient's covariance from the branch output to its input."""
        return self._through(self.paths(q1, q2, c, gains), gains)

    def weight_grads(self, at: BranchInput, grad: Array, tokens: int) -> dict[str, Any]:
        """Squared gradient E |dLoss/dW|_F^2 of each matrix by name, (layers,): inputs x outputs x tokens x
        [q_h gamma + (tokens - 1) p_h c], q_h and p_h of its input and gamma and c at its output (T4.3).

        Args:
            grad: (gamma, c) at the branch output, (layers, 2).
        """
        (one, two), (k, k_cross), (gamma, cross) = at.paths, at.hidden, np.moveaxis(grad, -1, 0)
        back = at.gains["ffn.down"] * self.width / self.hidden

        def norm(h: Any, h_cross: Any, g: Any, g_cross: Any) -> Any:
            return self.width * self.hidden * tokens * (h * g + (tokens - 1) * h_cross * g_cross)

        grads = {name: norm(at.q, at.p, back * one[name] * gamma, back * two[name] * cross) for name in one}
        return {**grads, "ffn.down": norm(k, k_cross, gamma, cross)}

    def matrix_grams(self, q1: Any, q2: Any, c: Any, grad: Array, gains: Gains) -> Reads:
        """Grams of each matrix by name, for covariances ``c`` of pairs of tokens at the input and ``grad`` at
        the output."""
        paths = self.paths(q1, q2, c, gains)
        back = gains["ffn.down"] * self.width / self.hidden
        size = self.width * self.hidden
        found = {name: (c, back * grad * path) for name, path in paths.items()}
        found["ffn.down"] = self.hidden_moment(q1, q2, c, gains), grad
        return {name: MatrixGrams(size, read, g, read * g) for name, (read, g) in found.items()}

    def weight_grads_gram(self, q1: Any, q2: Any, c: Any, grad: Array, gains: Gains) -> dict[str, float]:
        """Squared gradients E |dLoss/dW|_F^2 by name, sums over token pairs of covariance ``c`` at the input
        and ``grad`` at the output, which holds how many pairs each entry stands for."""
        return {name: x.squared(1.0) for name, x in self.matrix_grams(q1, q2, c, grad, gains).items()}
