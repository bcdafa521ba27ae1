"""What several maps of an attention branch need of its input, made once for all layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..gaussian.closed_forms import Array

if TYPE_CHECKING:
    from ..gaussian.head_norm import HeadNorm
    from .attention import Attention


class AttentionInput:
    """Logits, overlaps and projections of an attention branch at an input (q, q - delta).

    Attributes:
        q, delta: moments of the input, arrays of one shape.
        gains: sigma_W^2 of each matrix, floats or of that shape.
    """

    def __init__(self, attention: Attention, q: Array, delta: Array, gains: Mapping[str, Any]) -> None:
        self.q, self.delta, self.gains = q, delta, gains
        self._attention = attention

    def _normed(self, name: str) -> bool:
        return self._attention.head_norm is not None and name in self._attention.normed

    @property
    def _norm(self) -> HeadNorm:
        """The norm over a head."""
        assert self._attention.head_norm is not None
        return self._attention.head_norm

    @cached_property
    def _behind(self) -> Array:
        """What the norm makes of the input: :meth:`HeadNorm.all`."""
        return self._norm.all(self.delta / self.q)

    @cached_property
    def drop(self) -> Array:
        """1 - rho, rho the cosine that rows see: that of projections which have norms, behind them."""
        return np.asarray(self._behind[0] if self._normed("query") else self.delta / self.q)

    @property
    def _slopes(self) -> tuple[Array, Array]:
        """Its gains K'(1)/q and K'(rho)/q."""
        return self._norm.slope(1.0) / self.q, self._behind[1] / self.q

    def projected(self, name: str) -> tuple[Any, Any]:
        """Second moment of a query, key or value coordinate, and its drop between tokens."""
        if self._normed(name):
            return 1.0, self.drop
        gain = self.gains[f"attn.{name}"]
        return gain * self.q, gain * self.delta

    def back(self, name: str) -> tuple[Any, Any]:
        """From the gradient at a (normed) projection to that at the stream: one token, two tokens."""
        gain = self.gains[f"attn.{name}"]
        return self._slopes if self._normed(name) else (gain, gain)

    def fall(self, name: str) -> Any:
        """How much less the second of :meth:`back` is than the first."""
        return self._behind[2] / self.q if self._normed(name) else 0.0

    @cached_property
    def logits(self) -> tuple[Array, Array]:
        """Logit variance v between tokens' queries and keys, and rho."""
        factor = self._attention.logit_factor
        if self._normed("query"):
            return np.full_like(self.q, factor), 1 - self.drop
        return factor * self.gains["attn.query"] * self.gains["attn.key"] * self.q**2, 1 - self.drop

    @cached_property
    def row_variance(self) -> Array:
        """s^2 = v (1 - rho)."""
        return np.asarray(np.maximum(self.logits[0] * self.drop, np.finfo(float).tiny))

    @cached_property
    def overlaps(self) -> Array:
        """:class:`~spannorm_theory.softmax.overlaps.HeadOverlaps`; shape (8, layers)."""
        return self._attention.overlaps(*self.logits)

    @cached_property
    def mixed(self) -> Array:
        """Second moment of a mixed value: of its keys, of what they share with the query, of dropout."""
        p2 = self.overlaps[0]
        q_v, delta_v = self.projected("value")
        single = self._attention.dropout / (1 - self._attention.dropout) * p2
        return np.asarray(q_v - delta_v * (1 - p2) + q_v * (self.lean + single))

    @cached_property
    def leans(self) -> Array:
        """lean, turn and chance of rows; shape (3, layers)."""
        return self._attention.leaning(*self.logits, self.row_variance)

    @cached_property
    def turned(self) -> Array:
        """1 + turn / (J d), as an exponential, which is positive at any width."""
        return np.asarray(np.exp(self.leans[1] / (self.overlaps[2] * self._attention.width)))

    @cached_property
    def lean(self) -> Array:
        """What a mixed value owes to the keys that its query picks, over a value's second moment."""
        return np.asarray(np.maximum(self.drop, 0) * self.leans[0] / self._attention.width)
