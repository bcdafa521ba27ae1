"""Model types, and what each builds from its configuration, as rows of a table.

A row says what the configuration does not: where the norms stand, what the embedding adds up, which values
keys have that a file leaves out. ``when`` are the keys that change a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..base.errors import InputError, UnknownNameError
from .config import Config

When = tuple[tuple[str, Any, dict[str, Any]], ...]


@dataclass(frozen=True)
class Family:
    """The row of a model type; the defaults are LLaMA's.

    Attributes:
        placement, scaling, norm, mask: fields of an architecture.
        gain: of every norm.
        qk_norm: of queries and keys: "head", "width", "none", or "rope" (layers with positions only).
        gated: whether the feed-forward branch has a gate.
        epsilon, std, head, activation, base, share: values of keys that a file may leave out.
        positions: "rope", "learned", "alibi" or "none".
        unpositioned: layers without positions: "" (none), "full" (those that see all tokens) or "listed".
        window: layers that see a window, where a file does not list them: those of ``window`` out of each
            ``period``, from the first.
        rows: embeddings of second moment std^2 whose sum is a token; ``shared`` of them are the same for all.
        embedding: "" or "sqrt-width" (the sum is multiplied by it) or "norm" (it is normed).
        gates: of experts: "renormalised", "softmax" or "sigmoid" (renormalised), or "inputs" (sigmoids that
            multiply what an expert reads).
        shared_experts: of a file that does not say.
        gate: "" or the activation that is a gate of its own.
        sinks: whether every head has one.
        tied: whether the head is the embedding, where a file does not say.
        groups: of layers that have their matrices in common, of a file that does not say; 0 for no such.
        when: (key, value, changes of the row where the configuration has that value).
    """

    placement: str = "pre-norm"
    scaling: str = "unit"
    norm: str = "rms"
    mask: str = "causal"
    gain: float = 1.0
    qk_norm: str = "none"
    gated: bool = True
    epsilon: float = 1e-6
    std: float = 0.02
    head: int | None = None
    activation: str = "silu"
    positions: str = "rope"
    base: float = 1e4
    share: float = 1.0
    unpositioned: str = ""
    window: int = 0
    period: int = 1
    rows: int = 1
    shared: int = 0
    embedding: str = ""
    gates: str = "renormalised"
    shared_experts: int = 0
    gate: str = ""
    sinks: bool = False
    tied: bool = False
    groups: int = 0
    when: When = ()


_PARALLEL: dict[str, Any] = {"placement": "parallel-pre"}
_HEADS: dict[str, Any] = {"qk_norm": "head"}
_TOP_K: When = (("norm_topk_prob", True, {"gates": "renormalised"}),)

# the kinds that rows are variations of; the second has a larger epsilon
_LLAMA = Family()
_COARSE = replace(_LLAMA, epsilon=1e-5)
_LAYER = replace(_COARSE, norm="layer")
_GPT = replace(_LAYER, gated=False, activation="gelu")
_SANDWICH = replace(_LLAMA, placement="sandwich")
_OLMO2 = replace(_COARSE, placement="olmo2", qk_norm="width")
_GEMMA = replace(
    _LLAMA,
    activation="gelu_pytorch_tanh",
    embedding="sqrt-width",
    head=256,
    tied=True,
    when=(("use_bidirectional_attention", True, {"mask": "none"}),),
)
_DEEPSEEK = replace(
    _LLAMA, gates="sigmoid", shared_experts=1, when=(("norm_topk_prob", False, {"gates": "none"}),)
)
_BERT = replace(
    _GPT,
    placement="post-norm",
    mask="none",
    epsilon=1e-12,
    positions="learned",
    rows=3,
    shared=1,
    embedding="norm",
    tied=True,
    when=(("is_decoder", True, {"mask": "causal"}),),
)
_COHERE = replace(_LAYER, **_PARALLEL, base=5e5, tied=True, when=(("use_qk_norm", True, _HEADS),))

FAMILIES: dict[str, Family] = {
    "albert": replace(_BERT, activation="gelu_new", groups=1),
    "bert": _BERT,
    "bloom": replace(_GPT, positions="alibi", embedding="norm", tied=True),
    "cohere": _COHERE,
    "cohere2": replace(_COHERE, base=1e4, window=3, period=4, unpositioned="full", when=()),
    "deepseek_v2": replace(_LLAMA, gates="softmax", shared_experts=2),
    "deepseek_v3": _DEEPSEEK,
    "exaone4": replace(_OLMO2, qk_norm="head", window=3, period=4, unpositioned="full"),
    "falcon": replace(
        _GPT,
        tied=True,
        when=(
            ("parallel_attn", True, _PARALLEL),
            ("new_decoder_architecture", True, _PARALLEL),
            ("alibi", True, {"positions": "alibi"}),
        ),
    ),
    "gemma": _GEMMA,
    "gemma2": replace(_GEMMA, placement="sandwich", window=1, period=2),
    "gemma3_text": replace(_GEMMA, placement="sandwich", qk_norm="head", window=5, period=6),
    "glm": replace(_LLAMA, epsilon=1.5625e-7, share=0.5),
    "glm4": replace(_SANDWICH, epsilon=1.5625e-7, share=0.5),
    "glm4_moe": replace(
        _DEEPSEEK, epsilon=1e-5, share=0.5, when=(*_DEEPSEEK.when, ("use_qk_norm", True, _HEADS))
    ),
    "gpt2": replace(_GPT, scaling="gpt2", activation="gelu_new", positions="learned", rows=2, tied=True),
    "gpt_neox": replace(
        _GPT, **_PARALLEL, share=0.25, when=(("use_parallel_residual", False, {"placement": "pre-norm"}),)
    ),
    "gpt_oss": replace(_COARSE, head=64, base=1.5e5, window=1, period=2, gate="swiglu-oss", sinks=True),
    "gptj": replace(_GPT, **_PARALLEL, activation="gelu_new"),
    "granite": _LLAMA,
    "granitemoe": _LLAMA,
    "hunyuan_v1_dense": replace(_COARSE, **_HEADS),
    "hunyuan_v1_moe": replace(_COARSE, **_HEADS, shared_experts=1),
    "llama": _LLAMA,
    "llama4_text": replace(
        _COARSE,
        base=5e5,
        qk_norm="rope",
        unpositioned="listed",
        window=3,
        period=4,
        gates="inputs",
        shared_experts=1,
        when=(("use_qk_norm", False, {"qk_norm": "none"}),),
    ),
    "minicpm3": replace(_COARSE, std=0.1, tied=True),
    "mistral": replace(_LLAMA, window=1),
    "mixtral": replace(_COARSE, base=1e6, window=1),
    "mpt": replace(_GPT, positions="alibi", tied=True),
    "nemotron": replace(_GPT, gain=2.0, std=0.0134, activation="relu2", share=0.5),
    "olmo": _LAYER,
    "olmo2": _OLMO2,
    "olmo3": replace(_OLMO2, base=5e5, window=3, period=4),
    "olmoe": replace(_COARSE, qk_norm="width", gates="softmax", when=_TOP_K),
    "opt": replace(
        _GPT,
        activation="relu",
        positions="learned",
        rows=2,
        tied=True,
        when=(("do_layer_norm_before", False, {"placement": "post-norm"}),),
    ),
    "phi": replace(
        _GPT, **_PARALLEL, activation="gelu_new", share=0.5, when=(("qk_layernorm", True, _HEADS),)
    ),
    "phi3": replace(_COARSE, window=1),
    "qwen2": _LLAMA,
    "qwen2_moe": replace(_LLAMA, gates="softmax", when=_TOP_K),
    "qwen3": replace(_LLAMA, **_HEADS, head=128),
    "qwen3_moe": replace(_LLAMA, **_HEADS, gates="softmax", when=_TOP_K),
    "roberta": _BERT,
    "smollm3": replace(_LLAMA, base=2e6, unpositioned="listed", tied=True),
    "stablelm": replace(
        _LAYER,
        share=0.25,
        when=(("use_parallel_residual", True, _PARALLEL), ("qk_layernorm", True, _HEADS)),
    ),
    "starcoder2": replace(_GPT, std=0.018042, activation="gelu_pytorch_tanh", window=1, tied=True),
}

#: model types that build what another row says
SAME = {"gemma3": "gemma3_text", "llama4": "llama4_text", "kimi_k2": "deepseek_v3"}


def family_of(model_type: Any) -> Family:
    """The row of a model type.

    Raises:
        InputError: there is none.
        UnknownNameError: naming the nearest.
    """
    if model_type is None:
        raise InputError(f"the configuration has no model_type; known: {', '.join(FAMILIES)}")
    name = SAME.get(model_type, model_type) if isinstance(model_type, str) else model_type
    if not isinstance(name, str) or name not in FAMILIES:
        raise UnknownNameError("model type", model_type, [*FAMILIES, *SAME])
    return FAMILIES[name]


def row(config: Config) -> Family:
    """The row of a configuration's model type, with what its keys change."""
    found = family_of(config.model_type)
    for key, value, changes in found.when:
        if config.value(key) == value:
            found = replace(found, **changes)
    return found
