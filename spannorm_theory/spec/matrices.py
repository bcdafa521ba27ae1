"""The weight matrices of a block: their shapes, how many of each there are, and their gains."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..gaussian.activations import ACTIVATIONS, Activation
from .fields import Fields
from .initialisation import matrix_gains


@dataclass(frozen=True)
class Matrices(Fields):
    """An architecture's fields, with the weight matrices that follow from them.

    Attributes:
        tempered: whether ``logit_variance`` is a temperature of normed queries and keys in all attention, and
            says nothing of matrices.
    """

    tempered: bool = field(init=False, repr=False, compare=False)

    @property
    def nonlinearity(self) -> Activation:
        """The registry entry of the activation."""
        return ACTIVATIONS[self.activation]

    @property
    def hidden(self) -> int:
        """Hidden width of the feed-forward branch."""
        return round(self.ffn_ratio * self.width)

    @property
    def heads_width(self) -> int:
        """Coordinates of all heads together, H d_h."""
        return self.heads * self.head_size

    @property
    def weights(self) -> dict[str, tuple[int, int]]:
        """Each kind of weight matrix of a block with its shape (inputs, outputs)."""
        d, m = self.width, self.hidden
        shared = (self.kv_heads or self.heads) * self.head_size
        ranks = {"query": self.latent_queries, "key": self.latent_keys}
        shapes = {f"attn.{name}_down": (d, rank) for name, rank in ranks.items() if rank is not None}
        shapes["attn.query"] = (self.latent_queries or d, self.heads_width)
        shapes["attn.key"] = shapes["attn.value"] = (self.latent_keys or d, shared)
        shapes["attn.output"] = (self.heads_width, d)
        if self.attention_gate:
            shapes["attn.gate"] = (d, self.heads_width)
        shapes["ffn.up"] = (d, m)
        if self.nonlinearity.gated:
            shapes["ffn.gate"] = (d, m)
        shapes["ffn.down"] = (m, d)
        if self.experts > 1:
            shapes["ffn.router"] = (d, self.experts)
        if self.shared_gate:
            shapes["ffn.shared_gate"] = (d, 1)
        return shapes

    def copies(self, name: str) -> int:
        """Number of a block's matrices that go by ``name``: of those of an expert, one for each."""
        expert = self.experts > 1 and name in ("ffn.up", "ffn.gate", "ffn.down")
        return self.experts + self.shared_experts if expert else 1

    @property
    def base_gains(self) -> dict[str, float]:
        """sigma_W^2 = inputs x variance of an entry, for each matrix, before the scaling rule."""
        product = None
        if self.logit_variance is not None and not self.tempered:
            product = self.logit_variance / self.logit_square
        gains = matrix_gains(self.init, self.weights, self.nonlinearity, product)
        return gains if self.router_gain is None else {**gains, "ffn.router": self.router_gain}

    def logit_factor(self, normed: tuple[str, ...]) -> float:
        """The square of what multiplies q.k over the root of the head width, where the projections ``normed``
        carry a norm: under QK norm that of a temperature, else what ``logit_scale`` says."""
        if "query" in normed and self.logit_variance is not None:
            return self.logit_variance
        return self.logit_square
