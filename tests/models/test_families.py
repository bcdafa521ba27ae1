"""Small models of transformers, with its own initialisation, against the theory of what is read of their
configurations: variance, token cosine and gradient at every layer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

import spannorm_theory as st
from spannorm_theory.models.families import FAMILIES, SAME

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore")]

WIDTH, DEPTH, HEADS, TOKENS, NETWORKS, TYPES = 256, 4, 4, 32, 10, 8000

#: what a correct theory may differ by beside three standard errors: a share of variance and gradient
ALLOWED = {"variance": 0.06, "token_cosine": 0.03, "grad_variance": 0.12}

_SIZES = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
_GPT = {"n_embd": WIDTH, "n_layer": DEPTH, "n_head": HEADS}
_PLAIN = {**_SIZES, "intermediate_size": 4 * WIDTH}
_GATED = {**_SIZES, "intermediate_size": 704, "num_key_value_heads": 2, "head_dim": WIDTH // HEADS}
_EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 8}
_GRANITE = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 1 / 64}
_LATENT = {
    "kv_lora_rank": 64,
    "q_lora_rank": 96,
    "qk_nope_head_dim": WIDTH // HEADS,
    "qk_rope_head_dim": WIDTH // HEADS // 2,
    "v_head_dim": WIDTH // HEADS,
    "num_key_value_heads": HEADS,
    "intermediate_size": 704,
}
_TWO_OF_EIGHT = {"moe_intermediate_size": 352, "num_experts": 8, "num_experts_per_tok": 2}
_ALPHA = {f"{kind}_alpha_factor": 1.8 for kind in ("full_attn", "linear_attn", "mlp")}
_ROUTED = {
    "moe_intermediate_size": 352,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
}

#: families that agree as they are, or without what the toolkit may not have yet
AGREE: dict[str, dict[str, Any]] = {
    "gpt2": _GPT,
    "bert": _PLAIN,
    "gemma2": {**_GATED, "query_pre_attn_scalar": WIDTH // HEADS},
    "granite": {**_GATED, **_GRANITE},
    "minicpm3": {**_SIZES, **_LATENT},
}
MORE: dict[str, dict[str, Any]] = {
    "afmoe": {
        **_GATED,
        **_TWO_OF_EIGHT,
        "num_dense_layers": DEPTH,
        "global_attn_every_n_layers": 2,
        "sliding_window": 8,
    },
    "arcee": {**_SIZES, "intermediate_size": 704},
    "bloom": {"hidden_size": WIDTH, "n_layer": DEPTH, "n_head": HEADS},
    "cohere": _GATED,
    "deepseek_v2": {**_SIZES, **_LATENT, **_ROUTED, "q_lora_rank": None},
    "deepseek_v3": {**_SIZES, **_LATENT, **_ROUTED, "n_group": 2, "topk_group": 1},
    "exaone4": {
        **_GATED,
        "sliding_window": None,
        "layer_types": ["full_attention"] * DEPTH,
    },
    "falcon": {**_SIZES, "ffn_hidden_size": 4 * WIDTH, "multi_query": True},
    "gemma": _GATED,
    "gemma3_text": {**_GATED, "query_pre_attn_scalar": WIDTH // HEADS},
    "gemma4_text": {
        **_GATED,
        "global_head_dim": WIDTH // HEADS,
        "sliding_window": 8,
        "hidden_size_per_layer_input": 0,
    },
    "glm": _GATED,
    "glm4": _GATED,
    "gptj": {**_GPT, "rotary_dim": 16},
    "granitemoe": {**_GATED, **_GRANITE, **_EXPERTS},
    "hunyuan_v1_dense": _GATED,
    "hunyuan_v1_moe": {**_GATED, "num_experts": 8, "moe_topk": 2},
    "hy_v3": {**_GATED, **_TWO_OF_EIGHT},
    "hy_v4": {**_SIZES, **_LATENT, **_ROUTED},
    "lfm3": {**_GATED, "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"] * 2},
    "longcat_flash": {
        **{key: value for key, value in {**_SIZES, **_LATENT}.items() if "layers" not in key},
        "num_layers": DEPTH,
        "head_dim": _LATENT["qk_rope_head_dim"],
        "ffn_hidden_size": 704,
        **{"n_routed_experts": 8, "zero_expert_num": 4, "moe_topk": 2, "expert_ffn_hidden_size": 64},
        "routed_scaling_factor": 1e-6,  # its experts are a gap
    },
    "minimax": {**_GATED, **_EXPERTS, **_ALPHA, "layer_types": ["full_attention"] * DEPTH},
    "muse_spark_text": {**_GATED, **_EXPERTS, "mlp_layer_types": ["dense"] * DEPTH},
    "nanochat": {**_SIZES, "intermediate_size": 704},
    "olmo": _GATED,
    "olmo2": _GATED,
    "olmo3": _GATED,
    "olmoe": {**_GATED, "num_key_value_heads": HEADS, "num_experts": 8, "num_experts_per_tok": 2},
    "opt": {**_SIZES, "ffn_dim": 4 * WIDTH, "word_embed_proj_dim": WIDTH},
    "phi3": _GATED,
    "qwen2": _GATED,
    "qwen3_moe": {**_GATED, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 352},
    "roberta": _PLAIN,
    "stablelm": {**_GATED, "use_parallel_residual": True},
    "vaultgemma": {**_GATED, "query_pre_attn_scalar": WIDTH // HEADS, "sliding_window": 8},
    "starcoder2": {**_PLAIN, "num_key_value_heads": 2},
}


def configuration(model_type: str) -> Any:
    values = {**AGREE, **MORE}[model_type]
    transformers = pytest.importorskip("transformers")
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return transformers.AutoConfig.for_model(model_type, vocab_size=TYPES, **ids, **values)


def streams(config: Any) -> Iterator[list[torch.Tensor]]:
    """The inputs of all blocks of one network after the other, and the last one's output, with gradients of
    independent N(0, 1) at the output."""
    transformers = pytest.importorskip("transformers")
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
        lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == DEPTH]
        found: list[torch.Tensor] = []

        def keep(x: torch.Tensor, found: list[torch.Tensor] = found) -> None:
            x.retain_grad()
            found.append(x)

        for block in lists[0]:
            block.register_forward_pre_hook(
                lambda _, args, named, keep=keep: keep(args[0] if args else named["hidden_states"]),
                with_kwargs=True,
            )
        lists[0][-1].register_forward_hook(
            lambda _, args, out, keep=keep: keep(out[0] if isinstance(out, tuple) else out)
        )
        out = model(torch.randint(3, TYPES, (1, TOKENS)), use_cache=False).last_hidden_state
        (out * torch.randn_like(out)).sum().backward()
        yield found


@lru_cache
def measured(model_type: str) -> dict[str, np.ndarray]:
    """Each quantity at every layer of every network."""
    config = configuration(model_type)
    rows: dict[str, list[list[float]]] = {name: [] for name in ALLOWED}
    with torch.random.fork_rng():
        for found in streams(config):
            x = [h.detach()[0].double() for h in found]
            q = [float((h**2).mean()) for h in x]
            sums = [float((h.sum(0) ** 2).mean()) for h in x]
            pairs = TOKENS * (TOKENS - 1)
            rows["variance"].append(q)
            rows["token_cosine"].append([(s - TOKENS * v) / pairs / v for s, v in zip(sums, q, strict=True)])
            rows["grad_variance"].append([float((h.grad**2).mean()) for h in found])  # type: ignore[operator]
    return {name: np.array(values) for name, values in rows.items()}


def departures(model_type: str, **fields: Any) -> dict[str, float]:
    """The worst layer of each quantity: how often the theory is off by three standard errors and the
    allowance."""
    arch = st.from_config(configuration(model_type), TOKENS, **fields).arch
    table = st.predict(arch)
    found = measured(model_type)
    worst = {}
    for name, allowed in ALLOWED.items():
        rows = table[(table["quantity"] == name) & (table["stream"] == "0")].sort_values("layer")
        theory, mean = rows["value"].to_numpy()[:: arch.depth // DEPTH], found[name].mean(0)
        error = 3 * found[name].std(0, ddof=1) / np.sqrt(NETWORKS)
        bound = error + allowed * (1 if name == "token_cosine" else mean)
        worst[name] = float((np.abs(theory - mean) / bound).max())
    return worst


@pytest.mark.statistical
@pytest.mark.parametrize("model_type", AGREE)
def test_theory_agrees_with_the_librarys_own_model(model_type: str) -> None:
    assert max(departures(model_type).values()) < 1


@pytest.mark.long  # twenty families ten times; others in auditing/test_fifteen_families.py
@pytest.mark.statistical
@pytest.mark.parametrize("model_type", MORE)
def test_theory_agrees_with_more_families(model_type: str) -> None:
    assert max(departures(model_type).values()) < 1


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("model_type", "wrong"),
    [
        ("gpt2", {"scaling": "unit"}),
        ("gemma2", {"placement": "pre-norm"}),
        ("granite", {"placement": "pre-norm"}),
        ("bert", {"input_cosine": 0.0}),
        ("minicpm3", {"latent_keys": None, "latent_queries": None}),
    ],
)
def test_another_reading_would_not(model_type: str, wrong: dict[str, Any]) -> None:
    assert max(departures(model_type, **wrong).values()) > 1.3


def test_the_configuration_object_of_every_family_is_read() -> None:
    """Its defaults, which a file may leave out, are the row's: every key of it is known, and a mapping of the
    sizes alone reads as the object does."""
    transformers = pytest.importorskip("transformers")
    for model_type in (*FAMILIES, *SAME):
        if model_type not in transformers.models.auto.configuration_auto.CONFIG_MAPPING:
            continue
        more = {"num_experts_per_tok": 6} if model_type == "deepseek_v2" else {}
        config = transformers.AutoConfig.for_model(model_type, **more)
        model = st.from_config(config)
        assert not [note for note in model.notes if "not read" in note], model_type
        assert st.Architecture.parse(str(model.arch)) == model.arch


_DEFAULTS = """initializer_range init_std rms_norm_eps layer_norm_eps layer_norm_epsilon norm_eps
    norm_epsilon hidden_act hidden_activation activation_function activation layer_types no_rope_layers
    swiglu_alpha swiglu_limit"""
#: model types whose rotary embedding is more than one base and share by default
OWN_ROTARY = ("gemma3_text", "gemma4_text", "gpt_oss", "lfm3")


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_defaults_of_a_row_are_the_librarys(model_type: str) -> None:
    transformers = pytest.importorskip("transformers")
    more = {"num_experts_per_tok": 6} if model_type == "deepseek_v2" else {}
    values = transformers.AutoConfig.for_model(model_type, **more).to_dict()
    left_out = {*_DEFAULTS.split(), *(() if model_type in OWN_ROTARY else ("rope_parameters",))}
    short = {key: value for key, value in values.items() if key not in left_out}
    assert st.from_config(short).arch == st.from_config(values).arch
    assert st.from_config(short).gaps == st.from_config(values).gaps
