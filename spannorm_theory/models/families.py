"""Model types, and what each builds from its configuration, as rows of a table.

A row says what the configuration does not: where the norms stand, what the embedding adds up, which values
keys have that a file leaves out. ``when`` are the keys that change a row.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..base.errors import InputError, UnknownNameError
from .config import Config
from .effects import (
    HASHED_EXPERTS,
    KEYS_ARE_VALUES,
    LOW_RANK_HEADS,
    NARROW_EXPERTS,
    NORMED_HEADS,
    NORMED_VALUES,
    ONE_GATE_A_HEAD,
    RANDOM_MIXING,
    RANDOM_SINKS,
    RELATIVE_POSITIONS,
    SHORT_CONVOLUTIONS,
    SOFT_CAPPED_GATE,
    SOFTPLUS_GATES,
    TWO_HEAD_WIDTHS,
    ZERO_ROUTER,
)
from .family import Family, When

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

#: experts of 2026: sigmoid gates that are renormalised, one shared expert, a dense first layer
_LATE = replace(_COARSE, gates="sigmoid", shared_experts=1, dense=1)

FAMILIES: dict[str, Family] = {
    "afmoe": replace(
        _LATE,
        **_HEADS,
        placement="sandwich",
        head=128,
        shared_experts=2,
        output_gate=True,
        window=3,
        period=4,
        unpositioned="full",
        missing=(ZERO_ROUTER,),
        when=(("mup_enabled", True, {"embedding": "sqrt-width"}),),
    ),
    "albert": replace(_BERT, activation="gelu_new", groups=1),
    "arcee": replace(_COARSE, gated=False, activation="relu2"),
    "bert": _BERT,
    "bloom": replace(_GPT, positions="alibi", embedding="norm", tied=True),
    "cohere": _COHERE,
    "cohere2": replace(_COHERE, base=1e4, window=3, period=4, unpositioned="full", when=()),
    "deepseek_v2": replace(_LLAMA, gates="softmax", shared_experts=2),
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v4": replace(
        _DEEPSEEK,
        qk_norm="values",
        placement="mhc",
        head=512,
        share=0.125,
        sinks=True,
        window=1,
        mixers="m",
        missing=(RANDOM_MIXING, KEYS_ARE_VALUES, LOW_RANK_HEADS, SOFTPLUS_GATES, HASHED_EXPERTS),
    ),
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
    "gemma4_text": replace(
        _GEMMA,
        placement="gemma-4",
        qk_norm="values",
        scale=1.0,
        window=5,
        period=6,
        missing=(TWO_HEAD_WIDTHS,),
    ),
    "glm": replace(_LLAMA, epsilon=1.5625e-7, share=0.5),
    "glm4": replace(_SANDWICH, epsilon=1.5625e-7, share=0.5),
    "glm5_next_text": replace(
        _LATE, placement="mhc", positions="none", dense=3, mixers="mmms", missing=(RANDOM_MIXING,)
    ),
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
    "hy_v3": replace(_LATE, **_HEADS, std=0.006, base=11_158_840.0),
    "hy_v4": replace(_LATE, placement="identity-hyper-connections", std=0.006, sinks=True, output_gate=True),
    "inkling2_text": replace(
        _LLAMA,
        placement="inkling-2",
        embedding="norm",
        positions="none",
        head=128,
        gates="sigmoid",
        sinks=True,
        output_gate=True,
        window=5,
        period=6,
        missing=(NORMED_VALUES, SHORT_CONVOLUTIONS, RANDOM_SINKS, RELATIVE_POSITIONS, SOFT_CAPPED_GATE),
    ),
    "lfm3": replace(
        _COARSE,
        **_HEADS,
        placement="sandwich",
        head=128,
        output_gate=True,
        window=1,
        period=4,
        mixers="mm" + "sm" * 11,
        tied=True,
        missing=(ONE_GATE_A_HEAD,),
        when=(
            ("use_sandwich_norm", False, {"placement": "pre-norm"}),
            ("use_attention_gate", False, {"output_gate": False, "missing": ()}),
        ),
    ),
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
    "longcat_flash": replace(_COARSE, base=1e7, latents="even", twins=2, shortcut=True),
    "minicpm3": replace(_COARSE, std=0.1, tied=True),
    "minimax": replace(_COARSE, placement="shifted-post-norm", base=1e6, mixers="sm"),
    "mistral": replace(_LLAMA, window=1),
    "mixtral": replace(_COARSE, base=1e6, window=1),
    "mpt": replace(_GPT, positions="alibi", tied=True),
    "muse_spark_text": replace(
        _COARSE,
        **_HEADS,
        placement="residual-gate",
        head=64,
        base=5e5,
        embedding="norm",
        gates="sigmoid",
        output_gate=True,
        window=3,
        period=4,
        to_last=True,
        unpositioned="full",
        missing=(NORMED_HEADS, NARROW_EXPERTS),
    ),
    "nanochat": replace(
        _LLAMA,
        **_HEADS,
        scaling="gpt2(on=attention)",
        gated=False,
        activation="relu2",
        embedding="norm",
    ),
    "nemotron": replace(_GPT, gain=2.0, std=0.0134, activation="relu2", share=0.5),
    "olmo": _LAYER,
    "olmo2": _OLMO2,
    "olmo_hybrid": replace(_OLMO2, placement="olmo-hybrid", epsilon=1e-6, mixers="mmms"),
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
    "qwen4_exp_text": replace(
        _LLAMA,
        **_HEADS,
        placement="gated-streams",
        head=256,
        output_gate=True,
        shared_experts=1,
        mixers="mmms",
        gates="softmax",
        when=_TOP_K,
    ),
    "roberta": _BERT,
    "seed_oss": _LLAMA,
    "smollm3": replace(_LLAMA, base=2e6, unpositioned="listed", tied=True),
    "stablelm": replace(
        _LAYER,
        share=0.25,
        when=(("use_parallel_residual", True, _PARALLEL), ("qk_layernorm", True, _HEADS)),
    ),
    "vaultgemma": replace(_GEMMA, window=1, period=2),
    "starcoder2": replace(_GPT, std=0.018042, activation="gelu_pytorch_tanh", window=1, tied=True),
}

#: model types that build what another row says
SAME = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "glm5_next": "glm5_next_text",
    "inkling2": "inkling2_text",
    "kimi_k2": "deepseek_v3",
    "llama4": "llama4_text",
    "muse_spark": "muse_spark_text",
    "qwen4_exp": "qwen4_exp_text",
}


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
