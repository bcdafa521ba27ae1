"""Audits of models of transformers: healthy ones pass, and planted faults are found and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import spannorm_theory as st

pytest.importorskip("transformers")
from families import FAMILIES, builder

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("registries", "own_generator")]

WIDTH, DEPTH, TOKENS = 128, 4, 16
PLAIN = {"hidden_size": WIDTH, "num_attention_heads": 4, "intermediate_size": 4 * WIDTH}
GATED = {**PLAIN, "intermediate_size": 352, "num_key_value_heads": 2, "head_dim": 32}
EXPERTS = {**GATED, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
#: twenty families without gaps; the sizes of the first are in ``families.py``
HEALTHY: dict[str, dict[str, Any]] = {
    **{name: {} for name in FAMILIES if name not in ("olmo2", "mixtral", "minicpm3", "deepseek_v3")},
    **{name: GATED for name in ("qwen2", "gemma", "phi3", "stablelm", "olmo", "glm", "smollm3")},
    "starcoder2": {**PLAIN, "num_key_value_heads": 2},
    "gptj": {"n_embd": WIDTH, "n_head": 4, "rotary_dim": 16},
}
#: what an author means who puts GPT-2's depth factor on a Llama
SCALED = {"scaling": "gpt2"}


def audited(
    family: str,
    fault: Callable[[Any], object] = lambda model: None,
    sizes: dict[str, Any] = {},  # noqa: B006
    **fields: Any,
) -> st.Audit:
    build = builder(family, fault, DEPTH, WIDTH, **sizes)
    return st.audit(build, networks=32, tokens=TOKENS, progress=False, **fields)


@pytest.mark.statistical
@pytest.mark.parametrize("family", HEALTHY)
def test_a_family_as_it_comes_is_healthy(family: str) -> None:
    found = audited(family, sizes=HEALTHY[family])
    assert found.verdict == "healthy", found.summary()


def scaled(**factors: float) -> Callable[[Any], object]:
    """Factors on matrices of every block, by how their names end; "__" stands for a point."""

    def fault(model: Any) -> None:
        for name, parameter in model.named_parameters():
            for end, factor in factors.items():
                if name.endswith(f"{end.replace('__', '.')}.weight"):
                    parameter.mul_(factor)

    return fault


def gains(model: Any) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and name.endswith("weight") and "q_norm" not in name and "k_norm" not in name:
            parameter.fill_(2)


def epsilons(model: Any) -> None:
    for module in model.modules():
        for name in ("variance_epsilon", "eps"):
            if hasattr(module, name):
                setattr(module, name, 1e-3)


def blocks_of(model: Any) -> Any:
    return model.h if hasattr(model, "h") else model.layers


def first_norm(block: Any) -> Any:
    return block.ln_1 if hasattr(block, "ln_1") else block.input_layernorm


def gain_of_branch(model: Any) -> None:
    for block in blocks_of(model):
        first_norm(block).weight.fill_(2)


def epsilon_of_one(model: Any) -> None:
    norm = first_norm(blocks_of(model)[1])
    setattr(norm, "eps" if hasattr(norm, "eps") else "variance_epsilon", 1e-2)


def partial_copies(model: Any) -> None:
    """Hidden matrices of the first block, in all of them."""
    first, *others = (
        [p for n, p in b.named_parameters() if "mlp" in n and p.ndim > 1] for b in blocks_of(model)
    )
    for own in others:
        for parameter, copied in zip(own, first, strict=True):
            parameter.copy_(copied)


def half_zero(model: Any) -> None:
    """Every other row of a matrix onto the stream, at the same size."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and ("mlp.down" in name or "mlp.c_proj" in name):
            parameter[::2] = 0
            parameter.mul_(2**0.5)


def linear_gate(model: Any) -> None:
    for block in model.layers:
        block.mlp.act_fn = nn.Identity()


def copies(model: Any) -> None:
    blocks = blocks_of(model)
    for block in blocks[1:]:
        block.load_state_dict(blocks[0].state_dict())


def unmultiplied(model: Any) -> None:
    """The embedding's factor left out."""
    if hasattr(model, "embedding_multiplier"):
        model.embedding_multiplier = 1.0
    else:
        model.embed_tokens.embed_scale.fill_(1.0)


def without(path: str) -> Callable[[Any], object]:
    return lambda model: model.set_submodule(path, nn.Identity())


DEEP = (2 * DEPTH) ** -0.5
QKV = ["attn.query", "attn.key", "attn.value"]
OUT = ["attn.output", "ffn.down"]
GPT_OUT = {"c_proj": 1 / DEEP}
LLAMA_OUT = {"o_proj": DEEP, "down_proj": DEEP}

#: sixteen faults on two families each: family, fault, fields of what is expected, and what must be named
FAULTS: dict[str, list[tuple[str, Callable[[Any], object], dict[str, Any], list[str]]]] = {
    "depth factor on gate or up, not on down": [
        ("llama", scaled(o_proj=DEEP, gate_proj=DEEP), SCALED, ["ffn.gate", "ffn.down"]),
        ("gpt2", scaled(mlp__c_proj=1 / DEEP, c_fc=DEEP), {}, ["ffn.up", "ffn.down"]),
    ],
    "output projections unscaled": [("gpt2", scaled(**GPT_OUT), {}, OUT), ("qwen3", scaled(), SCALED, OUT)],
    "scaled by L, not 2 L": [
        ("gpt2", scaled(c_proj=2**0.5), {}, OUT),
        ("llama", scaled(o_proj=DEPTH**-0.5, down_proj=DEPTH**-0.5), SCALED, OUT),
    ],
    "factor on queries, keys and values too": [
        ("gpt2", scaled(c_attn=DEEP), {}, QKV),
        ("llama", scaled(q_proj=DEEP, k_proj=DEEP, v_proj=DEEP, **LLAMA_OUT), SCALED, QKV),
    ],
    "norm gain 2": [("llama", gains, {}, ["norm_gain"]), ("gpt2", gains, {}, ["norm_gain"])],
    "epsilon 1e-3": [("llama", epsilons, {}, ["norm_epsilon"]), ("gpt2", epsilons, {}, ["norm_epsilon"])],
    "embedding not multiplied": [
        ("gemma2", unmultiplied, {}, ["input"]),
        ("granite", unmultiplied, {}, ["input"]),
    ],
    "router x 10": [
        ("mixtral", scaled(mlp__gate=10), {}, ["ffn.router"]),
        ("qwen3_moe", scaled(mlp__gate=10), {}, ["ffn.router"]),
    ],
    "copied blocks": [("llama", copies, {}, ["equal blocks"]), ("gpt2", copies, {}, ["equal blocks"])],
    "wrong fan-in on a fused matrix": [
        ("gpt2", scaled(c_attn=3**-0.5), {}, QKV),
        ("gpt_neox", scaled(query_key_value=3**-0.5), {}, QKV),
    ],
    "gain of one branch's norms": [
        ("llama", gain_of_branch, {}, ["norm_gain"]),
        ("gpt2", gain_of_branch, {}, ["norm_gain"]),
    ],
    "epsilon of one norm": [
        ("llama", epsilon_of_one, {}, ["norm_epsilon"]),
        ("gpt2", epsilon_of_one, {}, ["norm_epsilon"]),
    ],
    "copied matrices": [("llama", partial_copies, {}, ["draws"]), ("gpt2", partial_copies, {}, ["draws"])],
    "zero rows": [("llama", half_zero, {}, ["draws"]), ("gpt2", half_zero, {}, ["draws"])],
    "a matrix of zeros": [
        ("llama", scaled(layers__2__self_attn__k_proj=0), {}, ["attn.key"]),
        ("gpt2", scaled(h__2__mlp__c_fc=0), {}, ["ffn.up"]),
    ],
    "one block's matrix": [
        ("llama", scaled(layers__2__mlp__down_proj=0.5), {}, ["ffn.down"]),
        ("qwen3", scaled(layers__2__mlp__down_proj=3), {}, ["ffn.down"]),
    ],
}


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("family", "fault", "fields", "whats"),
    [pytest.param(*one, id=f"{fault}-{one[0]}") for fault, both in FAULTS.items() for one in both],
)
def test_a_fault_that_tensors_show_is_named(
    family: str, fault: Callable[[Any], object], fields: dict[str, Any], whats: list[str]
) -> None:
    found = audited(family, fault, EXPERTS if family == "qwen3_moe" else {}, **fields)
    assert [one.what for one in found.deviations] == whats, found.summary()
    assert found.verdict == "departs"


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("family", "path", "branch"),
    [
        ("gpt2", "h.2.ln_1", "attention"),
        ("llama", "layers.1.post_attention_layernorm", "ffn"),
        ("qwen3", "layers.2.input_layernorm", "attention"),
    ],
)
def test_a_norm_that_is_not_there_is_named(family: str, path: str, branch: str) -> None:
    found = audited(family, without(path))
    said = f"the norm in front of {branch} of block {path.split('.')[1]} is missing"
    assert [str(one) for one in found.deviations] == [said], found.summary()
    assert found.verification.verdict != "disagrees"


def gain_of_queries(model: Any) -> None:
    model.layers[1].self_attn.q_norm.weight.fill_(2)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("family", "fault", "said", "lacking"),
    [
        (
            "qwen3",
            without("layers.1.self_attn.q_norm"),
            "the norm on queries of block 1 is missing",
            "norms on queries of single blocks",
        ),
        (
            "qwen3",
            gain_of_queries,
            "norms of query have other gains than 1: layers.1.self_attn.q_norm (2)",
            "gains of norms on queries of single blocks",
        ),
        (
            "mixtral",
            scaled(mlp__gate=0),
            "ffn.router of all blocks: zero, where the std of mixtral's configuration is 0.02",
            "routers that are zero and choose the same experts for all tokens",
        ),
    ],
)
def test_what_no_theory_has_is_named_and_networks_are_not_judged(
    family: str, fault: Callable[[Any], object], said: str, lacking: str
) -> None:
    found = audited(family, fault)
    assert [str(one) for one in found.deviations] == [said], found.summary()
    assert (found.verdict, found.lacking, found.suspect) == ("departs", (lacking,), None)
    assert "DISAGREES" not in found.summary()
    assert "as they were found" not in found.summary()


@pytest.mark.statistical
def test_what_a_configuration_lacks_by_design_is_no_departure() -> None:
    found = audited("llama4_text", sizes={**GATED, "intermediate_size_mlp": 352, "num_local_experts": 4})
    assert found.deviations == (), found.summary()
    assert any(gap.feature.startswith("no norms on queries and keys") for gap in found.gaps)
    assert found.verdict == "undecided"


@pytest.mark.statistical
def test_a_gap_below_the_noise_is_a_note() -> None:
    found = audited("gemma3_text", sizes={**GATED, "sliding_window": 8})
    assert found.verdict == "healthy", found.summary()
    assert "  note: rotary base 1e+06 in layers that see all tokens" in found.summary()


@pytest.mark.statistical
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_gate_without_its_activation_is_named(family: str) -> None:
    found = audited(family, linear_gate)
    assert found.suspect is not None, found.summary()
    assert found.suspect.sentence == "the activation is bilinear, not swiglu"


@pytest.mark.statistical
def test_rows_that_a_gap_changes_are_not_judged() -> None:
    found = audited("deepseek_v3")
    assert (found.verdict, found.suspect, len(found.gaps)) == ("undecided", None, 1)
    assert found.verification.verdict != "disagrees", found.summary()
    assert "weight gradients of attn.key and attn.key_down are not judged" in found.summary()


@pytest.mark.statistical
def test_the_first_step_of_a_model_is_predicted_and_its_faults_are_named() -> None:
    found = audited("gpt2", step="adam", lr=1e-4)
    assert found.verdict == "healthy", found.summary()
    unscaled = audited("gpt2", scaled(**GPT_OUT), step="adam", lr=1e-4)
    assert unscaled.step is not None
    assert unscaled.step.verdict == "disagrees"
    assert "updates of attn.output of all blocks: 0.35" in unscaled.summary()  # 1/sqrt(2L)

    def hot(model: Any) -> torch.optim.Optimizer:
        groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, parameter in model.named_parameters():
            groups["c_fc" in name].append(parameter)
        fast = {"params": groups[True], "lr": 1e-3}
        return torch.optim.AdamW([{"params": groups[False]}, fast], lr=1e-4, weight_decay=0.0)

    found = audited("gpt2", step="adam", lr=1e-4, optimiser=hot)
    assert found.deviations == ()
    assert "updates of ffn.up of all blocks: 10 times those expected" in found.summary()


@pytest.mark.statistical
def test_a_step_that_is_not_derived_is_undecided() -> None:
    found = audited("llama", sizes=GATED, step="adam", lr=1e-4)
    assert found.step is not None
    assert found.step.verification is None
    assert found.verdict == "undecided"
    assert "kv_heads" in found.step.reason
