"""Audits of models of transformers: healthy ones pass, and planted faults are found and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import spannorm_theory as st

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("registries", "own_generator")]
transformers = pytest.importorskip("transformers")

DEPTH = 4
SIZES = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 4000,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "gemma2": {**SIZES, "head_dim": 32, "sliding_window": 6},
    "cohere2": {**SIZES, "sliding_window": 6},
    "nemotron": {**SIZES, "head_dim": 32},
    "granite": SIZES,
    "gpt2": {"n_embd": 128, "n_layer": DEPTH, "n_head": 4, "vocab_size": 4000, "n_positions": 32},
}


def audited(family: str, fault: Callable[[Any], object] = lambda model: None) -> st.Audit:
    config = transformers.AutoConfig.for_model(family, **CONFIGS[family])

    def build(seed: int) -> nn.Module:
        model: nn.Module = transformers.AutoModel.from_config(config, attn_implementation="eager")
        with torch.no_grad():
            fault(model)
        return model

    return st.audit(build, networks=32, tokens=16, progress=False)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_family_as_it_comes_is_healthy(family: str) -> None:
    found = audited(family)
    assert found.verdict == "healthy", found.summary()


def scaled(factor: float, *names: str) -> Callable[[Any], object]:
    """A factor on matrices of every block, by how their names end."""

    def fault(model: Any) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith(tuple(f"{one}.weight" for one in names)):
                parameter.mul_(factor)

    return fault


def gains(model: Any) -> None:
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.fill_(2)


def epsilons(model: Any) -> None:
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.variance_epsilon = 1e-3


def copies(model: Any) -> None:
    for layer in model.layers[1:]:
        layer.load_state_dict(model.layers[0].state_dict())


@pytest.mark.parametrize(
    ("family", "fault", "whats"),
    [
        ("gpt2", scaled(3, "mlp.c_proj"), ["ffn.down"]),
        ("gpt2", scaled(2**0.5, "c_proj"), ["attn.output", "ffn.down"]),
        ("gpt2", scaled(0.5, "c_attn"), ["attn.query", "attn.key", "attn.value"]),
        ("gpt2", scaled(40, "wte"), ["input"]),
        ("llama", scaled(0.3, "gate_proj"), ["ffn.gate"]),
        ("llama", scaled(0.5, "layers.2.mlp.down_proj"), ["ffn.down"]),
        ("llama", gains, ["norm_gain"]),
        ("llama", epsilons, ["norm_epsilon"]),
        ("llama", copies, ["equal blocks"]),
    ],
)
def test_a_fault_that_tensors_show_is_named(
    family: str, fault: Callable[[Any], object], whats: list[str]
) -> None:
    found = audited(family, fault)
    assert [one.what for one in found.deviations] == whats, found.summary()
    assert found.verdict == "departs"


@pytest.mark.parametrize(
    ("family", "path", "branch"),
    [("gpt2", "h.2.ln_1", "attention"), ("llama", "layers.1.post_attention_layernorm", "ffn")],
)
def test_a_norm_that_is_not_there_is_named(family: str, path: str, branch: str) -> None:
    found = audited(family, lambda model: model.set_submodule(path, nn.Identity()))
    assert found.suspect is not None, found.summary()
    assert found.suspect.sentence == f"the norm in front of {branch} of block {path.split('.')[1]} is missing"
