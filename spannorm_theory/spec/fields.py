"""The fields of an architecture with their defaults, apart from what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from .graph import QK, QKV, Branch


@dataclass(frozen=True)
class Fields:
    """Placement, scaling, sizes and options, whose meaning :class:`.architecture.Architecture` says."""

    placement: str
    scaling: str = "unit"
    depth: int = 12
    width: int = 256
    heads: int = 8
    tokens: int = 64
    activation: str = "gelu"
    ffn_ratio: float = 4.0
    mask: str = "none"
    norm: str = "rms"
    qk_norm: bool = False
    qkv_norm: bool = False
    qk_norm_over: str = "head"
    kv_heads: int | None = None
    positions: str = "none"
    window: int | None = None
    logit_scale: str = "sqrt"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    init: str | float = "fan-in"
    logit_variance: float | None = None
    inputs: str = "gaussian"
    input_variance: float = 1.0
    input_cosine: float = 0.0
    position_variance: float = 0.0
    loss: str = "probe"
    vocabulary: int = 32_000
    experts: int = 1
    top_k: int = 1
    shared_experts: int = 0
    gates: str = "renormalised"

    @property
    def head_width(self) -> int:
        """d / H."""
        return self.width // self.heads

    def normed(self, branch: Branch) -> tuple[str, ...]:
        """Projections of an attention branch that carry a norm over each head, by the placement's wish or
        this architecture's."""
        own = QKV if self.qkv_norm else QK if self.qk_norm else ()
        return max(branch.normed, own, key=len)
