r"""Attention with an output gate: sigmoid(x W_gate) times what the output projection would read (T6.18).

The gate is Gaussian in front of its sigmoid given the input, and independent of the heads. With L the kernel
of the sigmoid at s_gate (q, p), and (m, m_p) second moment and covariance of the mixed values at two tokens,
behind the inner norm where there is one,

    forward    q_out = s_O m L(q),  p_out = s_O m_p L(p)
    heads      as of :class:`.attention.Attention`, for the gradient (L(q) gamma, L(p) c)
    gate       s_O [m L'(q) gamma, m_p L'(p) c] in front of its sigmoid, s_gate times that at the stream
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array, Transfer
from ..gaussian.sigmoids import LOGISTIC
from .attention import Attention
from .attention_input import AttentionInput


@dataclass(frozen=True)
class GatedAttention(Attention):
    """Moments of one gated attention branch over exchangeable tokens."""

    @property
    def takes(self) -> tuple[str, ...]:
        """The matrices whose gains the transfer takes."""
        return (*super().takes, "attn.gate")

    @property
    def transfer(self) -> Transfer:
        """Function from the input (q, delta) and the gains in the order of :attr:`takes` to the branch's
        (q, delta), for the loop over layers."""
        heads, gating = super().transfer, LOGISTIC.drop

        def branch(q: float, delta: float, *gains: float) -> tuple[float, float]:
            *own, gate = gains
            mixed, apart = heads(q, delta, *own)
            kept, drop = gating(gate * q, gate * delta)
            return mixed * kept, apart * (kept - drop) + mixed * drop

        return branch

    def second_moments(self, at: AttentionInput) -> Array:
        """Second moments of the branch, of the shape of the inputs."""
        return np.asarray(super().second_moments(at) * self._gate(at)[0])

    def _gate(self, at: AttentionInput) -> tuple[Any, Any, Any, Any]:
        """L and L' of one token, then between two."""
        gain = at.gains["attn.gate"]
        return LOGISTIC.pair(gain * at.q, gain * at.delta)

    def _turns(self, at: AttentionInput) -> tuple[Any, Any]:
        """Factors of (gamma, c) at the branch output to those in front of the sigmoid."""
        _, one, _, two = self._gate(at)
        size = at.gains["attn.output"] * self._shrunk(at)
        return size * at.mixed * one, size * (at.mixed - at.apart) * two

    def backward(self, at: AttentionInput, pair_variance: Any) -> dict[str, Array]:
        """Linear maps of (gamma, c), (layers, 2, 2) each: from the branch output to the input ("stream") and
        to the front of the sigmoid ("attn.gate"), and from behind the gate to the output of each projection
        of the heads."""
        maps = super().backward(at, pair_variance)
        kept, _, between, _ = self._gate(at)
        gate = np.zeros_like(maps["stream"])
        gate[..., 0, 0], gate[..., 1, 1] = self._turns(at)
        through = np.stack([kept, between], axis=-1)[..., None, :]
        own = np.asarray(at.gains["attn.gate"])[..., None, None] * gate
        return {**maps, "attn.gate": gate, "stream": maps["stream"] * through + own}

    def gating(self, at: AttentionInput) -> tuple[Any, Any]:
        """What the gate leaves of a covariance between two tokens, and the branch's slope in that of the
        input by the gate alone."""
        return self._gate(at)[2], at.gains["attn.gate"] * self._turns(at)[1]

    def response(self, at: AttentionInput, drop: Array) -> Array:
        """Slope of the branch's covariance in that of its input, pair by pair, (layers,)."""
        kept, by_gate = self.gating(at)
        return np.asarray(super().response(at, self._apart(at)) * kept + by_gate)

    def scatter(self, at: AttentionInput, drop: Array) -> Array:
        """Variance over pairs of tokens of the branch's covariance beside the sampling by its last matrix,
        (layers,): of the gated coordinates, and of the heads' rows."""
        kept, own = self._gate(at)[2], self._apart(at)
        rows = super().scatter(at, own) - self._sampling(own)
        return np.asarray(self._sampling(drop) + rows * np.square(kept))

    def _apart(self, at: AttentionInput) -> Array:
        """Drop of the branch without its gate."""
        return np.asarray(at.gains["attn.output"] * self._shrunk(at) * at.apart)

    def weight_grads(
        self, at: AttentionInput, pair_variance: Any, grad: Array, maps: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Squared gradient E |dLoss/dW|_F^2 of each matrix by name, (layers,), as in
        :meth:`.attention.Attention.weight_grads`."""
        kept, _, between, _ = self._gate(at)
        behind = grad * np.stack([kept, between], axis=-1)
        found = super().weight_grads(at, pair_variance, behind, maps)
        one, two = np.einsum("lij,lj->il", maps["attn.gate"], grad)
        n, p = self.tokens, at.q - at.delta
        return {**found, "attn.gate": self.width**2 * n * (at.q * one + (n - 1) * p * two)}
