"""Models of ``transformers``, built from small configurations: read, and measured against our own networks of
what was read. Needs the extra ``models``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import spannorm_theory as st

transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.models, pytest.mark.usefixtures("registries", "own_generator")]

WIDTH, DEPTH, HEADS, TOKENS, VOCABULARY = 64, 3, 4, 12, 4000
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 160,
    "vocab_size": VOCABULARY,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
GROUPED = {"num_key_value_heads": 2}
COMMON = f"depth={DEPTH} width={WIDTH} heads={HEADS} tokens={TOKENS}"

#: configuration, and the architecture that it is (epsilons at nothing, which is another matter)
FAMILIES: dict[str, tuple[dict[str, Any], str]] = {
    "gpt2": (
        {
            "n_embd": WIDTH,
            "n_layer": DEPTH,
            "n_head": HEADS,
            "vocab_size": VOCABULARY,
            "layer_norm_epsilon": 1e-12,
        },
        "pre-norm gpt2 norm=layer mask=causal activation=gelu-tanh init=0.02",
    ),
    "llama": (
        {**GROUPED, "rms_norm_eps": 1e-12},
        "pre-norm unit mask=causal activation=swiglu ffn_ratio=2.5 kv_heads=2 positions=rope init=0.02",
    ),
    "olmo2": (
        {"rms_norm_eps": 1e-20},
        "olmo2 unit mask=causal activation=swiglu ffn_ratio=2.5 qk_norm=True qk_norm_over=width "
        "positions=rope init=0.02",
    ),
    "gpt_neox": (
        {"use_parallel_residual": True, "layer_norm_eps": 1e-12, "rotary_pct": 1.0},
        "parallel-pre unit norm=layer mask=causal ffn_ratio=2.5 positions=rope init=0.02",
    ),
}


def config_of(family: str) -> Any:
    given = FAMILIES[family][0]
    sizes = {"bos_token_id": None, "eos_token_id": None} if family == "gpt2" else SIZES
    return transformers.AutoConfig.for_model(family, **{**sizes, **given})


@pytest.fixture(autouse=True)
def _quiet() -> None:
    transformers.logging.set_verbosity_error()


@pytest.mark.statistical
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_read_and_measured_as_its_architecture(family: str) -> None:
    config = config_of(family)
    expected = st.Architecture.parse(f"{FAMILIES[family][1]} {COMMON}")
    torch.manual_seed(0)
    reading = st.read(transformers.AutoModelForCausalLM.from_config(config), tokens=TOKENS)
    moment = 2 * 0.02**2 if family == "gpt2" else 0.02**2  # its positions are drawn alike
    assert reading.arch is not None
    assert reading.arch.with_(norm_epsilon=0.0) == expected.with_(input_variance=moment)
    measured = st.probe(
        lambda seed: transformers.AutoModelForCausalLM.from_config(config),
        tokens=TOKENS,
        networks=40,
        progress=False,
    )
    assert measured.readout in ("input of lm_head", "input of embed_out")
    own = st.simulate(expected.with_(input_variance=moment), networks=400, progress=False, device="cpu").table
    both = measured.table.merge(own, on=["layer", "stream", "quantity"], suffixes=("", "_own"))
    assert len(both) == len(own)
    both["z"] = (both["value"] - both["value_own"]) / np.hypot(both["se"], both["se_own"])
    assert both["z"].abs().max() < 5, both.loc[both["z"].abs().idxmax()]


@pytest.mark.parametrize(("factor", "moment"), [(1.0, 4e-4), (8.0, 64 * 4e-4)])
def test_an_embedding_that_is_not_the_familys_is_seen(factor: float, moment: float) -> None:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config_of("llama"))
    model.embed_tokens.weight.data.mul_(factor)
    arch = st.read(model, tokens=TOKENS).arch
    assert arch is not None
    assert arch.input_variance == pytest.approx(moment, rel=0 if factor == 1 else 0.03)


def test_a_depth_factor_on_the_wrong_matrix_is_seen_in_words() -> None:
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(config_of("llama"))
    for l, block in enumerate(model.layers):
        for matrix in (block.self_attn.o_proj, block.mlp.gate_proj, block.mlp.down_proj):
            nn.init.normal_(matrix.weight, 0, 0.02 / (2 * (l + 1)) ** 0.5)
    words = st.read(model, tokens=4).words()
    expected = (
        "std 0.02 on attn.query, attn.key, attn.value, ffn.up; "
        "0.02/√(2(l+1)) on attn.output, ffn.gate, ffn.down"
    )
    assert words == expected


@pytest.mark.parametrize(
    ("family", "roles"),
    [
        ("mixtral", {"ffn.router", "ffn.gate", "ffn.up", "ffn.down"}),
        ("deepseek_v3", {"attn.query_down", "attn.key_down", "attn.key", "ffn.router"}),
        ("falcon", {"attn.query", "attn.key", "attn.value"}),
        ("bert", {"attn.query", "attn.output", "ffn.up", "ffn.down"}),
    ],
)
def test_roles_of_other_families(family: str, roles: set[str]) -> None:
    torch.manual_seed(0)
    more: dict[str, Any] = {"pad_token_id": 0}
    if family == "deepseek_v3":
        more |= {"n_routed_experts": 8, "moe_intermediate_size": 32, "num_key_value_heads": HEADS}
        more |= {"q_lora_rank": 32, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16}
        more |= {
            "v_head_dim": 16,
            "first_k_dense_replace": 1,
            "n_group": 2,
            "topk_group": 1,
            "num_experts_per_tok": 2,
        }
    if family == "mixtral":
        more |= {"num_local_experts": 4, **GROUPED}
    config = transformers.AutoConfig.for_model(family, **{**SIZES, **more})
    model = transformers.AutoModel.from_config(config)
    reading = st.read(model, tokens=8)
    own = reading.table[reading.table["layer"].notna()]
    assert roles <= set(own["role"])
    parameters = sum(p.numel() for p in model.get_submodule(reading.blocks).parameters() if p.ndim > 1)
    sizes = own["shape"].str.split(" x ", expand=True).astype(int).prod(axis=1)
    experts = own["name"].str.contains("experts.") & ~own["name"].str.contains("shared")
    copies = np.where(experts, 8 if family == "deepseek_v3" else 4, 1)
    assert int((sizes * copies).sum()) == parameters  # every entry has one role
    measured = st.probe(model, tokens=8, progress=False).table
    assert roles <= set(measured["stream"])
