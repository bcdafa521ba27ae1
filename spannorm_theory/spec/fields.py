"""The fields of an architecture with their defaults, apart from what follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..base.signatures import require_fields_of
from .graph import QK, QKV, Branch
from .reach import Attends, Reach
from .token_law import LAWS, TokenLaw

#: what other libraries call a field
OTHER_WORDS = {
    **dict.fromkeys(("layers", "n-layers", "n-layer", "num-layers", "num-hidden-layers", "blocks"), "depth"),
    **dict.fromkeys(("num-hidden-groups", "unique-layers", "shared-layers"), "unique_blocks"),
    **dict.fromkeys(("d-model", "n-embd", "dim", "hidden-size", "embed-dim", "embedding-dim"), "width"),
    **dict.fromkeys(("n-heads", "n-head", "num-heads", "num-attention-heads", "nhead"), "heads"),
    **dict.fromkeys(("seq-len", "sequence-length", "context", "block-size", "length", "n"), "tokens"),
    **dict.fromkeys(("head-dim", "d-head", "head-size", "key-length"), "head_width"),
    **dict.fromkeys(("n-kv-heads", "num-kv-heads", "num-key-value-heads"), "kv_heads"),
    **dict.fromkeys(("q-lora-rank", "query-rank"), "latent_queries"),
    **dict.fromkeys(("kv-lora-rank", "key-rank"), "latent_keys"),
    **dict.fromkeys(("vocab", "vocab-size"), "vocabulary"),
    **dict.fromkeys(("batch-size", "sequences"), "batch"),
    **dict.fromkeys(("embed-scale", "embedding-scale", "scale-emb"), "embedding_multiplier"),
    **dict.fromkeys(("logit-scaling", "logits-scaling"), "logit_multiplier"),
    **dict.fromkeys(("soft-cap", "final-logit-softcapping"), "logit_cap"),
    **dict.fromkeys(("tied", "tie-word-embeddings"), "tied_head"),
    **dict.fromkeys(("act", "hidden-act", "nonlinearity"), "activation"),
    **dict.fromkeys(("num-experts", "n-experts"), "experts"),
    **dict.fromkeys(("num-experts-per-tok", "k"), "top_k"),
    **dict.fromkeys(("causal", "attention-mask"), "mask"),
    **dict.fromkeys(("initializer-range", "init-std", "std"), "init"),
    **dict.fromkeys(("rule", "scale"), "scaling"),
    **dict.fromkeys(("rope", "rotary"), "positions"),
    **dict.fromkeys(("rope-theta", "rope-base"), "rotary_base"),
    **dict.fromkeys(("partial-rotary-factor", "rotary-pct"), "rotary_share"),
    **dict.fromkeys(("sliding-window", "sliding-window-size"), "window"),
    **dict.fromkeys(("layer-types", "sliding-window-pattern"), "attention_pattern"),
}


#: powers of the head width that q.k may be divided by, by name
LOGIT_POWERS = {"sqrt": 0.5, "linear": 1.0}


@dataclass(frozen=True)
class Fields:
    """Placement, scaling, sizes and options, whose meaning :class:`.architecture.Architecture` says."""

    placement: str
    scaling: str = "unit"
    # sizes
    depth: int = 12
    width: int = 256
    heads: int = 8
    tokens: int = 64
    # weights used more than once
    unique_blocks: int | None = None
    copied: bool = False
    # attention
    head_width: int | None = None
    kv_heads: int | None = None
    latent_queries: int | None = None
    latent_keys: int | None = None
    mask: str = "none"
    window: int | None = None
    attention_pattern: str | None = None
    positions: str = "none"
    rotary_base: float = 1e4
    rotary_share: float = 1.0
    qk_norm: bool = False
    qkv_norm: bool = False
    qk_norm_over: str = "head"
    logit_scale: str | float = "sqrt"
    logit_variance: float | None = None
    sinks: bool = False
    attention_gate: bool = False
    # feed-forward
    activation: str = "gelu"
    ffn_ratio: float = 4.0
    ffn_width: int | None = None
    # experts
    experts: int = 1
    top_k: int = 1
    shared_experts: int = 0
    gates: str = "renormalised"
    router_gain: float | None = None
    routed_scale: float = 1.0
    shared_gate: bool = False
    expert_groups: int = 1
    top_groups: int = 1
    dense_layers: int = 0
    dense_ffn_width: int | None = None
    # norms
    norm: str = "rms"
    norm_epsilon: float = 0.0
    norm_gain: float = 1.0
    # initialisation
    init: str | float = "fan-in"
    draw: str = "normal"
    # dropout
    dropout: float = 0.0
    attention_dropout: float = 0.0
    # input
    inputs: str = "gaussian"
    input_variance: float = 1.0
    input_cosine: float = 0.0
    position_variance: float = 0.0
    embedding_multiplier: float = 1.0
    batch: int = 1
    # loss
    loss: str = "probe"
    vocabulary: int = 32_000
    head_gain: float = 1.0
    logit_multiplier: float = 1.0
    logit_cap: float | None = None
    tied_head: bool = False

    @property
    def shares_matrices(self) -> bool:
        """Whether blocks have matrices in common, whose gradients are sums over them."""
        return self.unique_blocks is not None and not self.copied

    @property
    def head_size(self) -> int:
        """d_h, coordinates of a head: those given, or d / H."""
        return self.width // self.heads if self.head_width is None else self.head_width

    @property
    def logit_square(self) -> float:
        """d_h times the square of what q.k is multiplied by: 1 where logits are q.k over the root of d_h."""
        if isinstance(self.logit_scale, str):
            return float(self.head_size ** (1 - 2 * LOGIT_POWERS[self.logit_scale]))
        return self.logit_scale**2 * self.head_size

    def attends(self, branch: Branch) -> Attends:
        """Which keys a token of an attention branch sees, and by which positions."""
        window, positions = branch.reach.over(Reach(self.window, self.positions))
        seen = window if isinstance(window, int) and window < self.tokens else None
        return Attends(seen, positions or self.positions)

    @property
    def step_tokens(self) -> int:
        """Tokens of a step, those of all its sequences."""
        return self.batch * self.tokens

    @property
    def crossed(self) -> bool:
        """Whether gradients of different sequences of a step have something in common: those of labels and
        logits."""
        return self.batch > 1 and self.loss == "cross-entropy"

    @property
    def reads_ids(self) -> bool:
        """Whether the input is token ids through an embedding."""
        return self.inputs in LAWS

    @property
    def token_law(self) -> TokenLaw:
        """The law of ids, and of the labels of a cross-entropy: Zipf's where the input has no ids."""
        return TokenLaw(self.inputs if self.reads_ids else "zipf", self.vocabulary)

    def normed(self, branch: Branch) -> tuple[str, ...]:
        """Projections of an attention branch that carry a norm over each head, by the placement's wish or
        this architecture's."""
        own = QKV if self.qkv_norm else QK if self.qk_norm else ()
        return max(branch.normed, own, key=len)


def require_fields(named: Iterable[Any], arguments: Sequence[Any] = (), needed: Sequence[str] = ()) -> None:
    """Refuse names that are no field of an architecture, more values than fields, and a field twice.

    Args:
        named: names that have a value.
        arguments: values by their place.
        needed: fields that must be among them.

    Raises:
        InputError: naming the field, and the nearest where it is unknown.
    """
    known = [f.name for f in fields(Fields)]
    require_fields_of("Architecture", known, arguments, named, needed=needed, others=OTHER_WORDS)
