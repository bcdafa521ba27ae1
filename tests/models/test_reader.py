"""Configurations as architectures: what is read from which form, what is left out, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields
from math import log, sqrt
from pathlib import Path
from typing import Any

import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.models.families import FAMILIES, SAME
from spannorm_theory.models.feedforward import MIXTURES
from spannorm_theory.models.gaussian_means import clamped_gate, sigmoid_square
from spannorm_theory.models.keys import ALIASES, LAYERED
from spannorm_theory.models.settle import Fact, settle
from spannorm_theory.spec.fields import Fields

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 176,
    "vocab_size": 100,
}
KNOWN = {f.name for f in fields(Fields)}


def of(model_type: str, **values: Any) -> st.Model:
    """The model of a small configuration."""
    tokens = values.pop("tokens", 16)
    return st.from_config({**LLAMA, "model_type": model_type, **values}, tokens)


def features(model: st.Model) -> str:
    """Its gaps in one text."""
    return "; ".join(gap.feature for gap in model.gaps)


# --- forms of a configuration -----------------------------------------------------------------------


def test_a_mapping_a_file_a_folder_and_an_object_are_one(tmp_path: Path) -> None:
    class Theirs:
        def to_dict(self) -> dict[str, Any]:
            return LLAMA

    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    found = [st.from_config(each, 16) for each in (LLAMA, path, str(tmp_path), Theirs())]
    assert len({str(model.arch) for model in found}) == 1
    assert [model.source for model in found] == ["a mapping", str(path), str(path), "Theirs"]
    assert found[0].arch == st.Architecture.parse(
        "pre-norm depth=3 width=64 heads=4 tokens=16 activation=swiglu ffn_ratio=2.75 mask=causal "
        "positions=rope norm_epsilon=1e-06 init=0.02 input_variance=0.0004"
    )


def test_of_a_model_with_several_towers_the_text_is_read() -> None:
    nested = {
        "model_type": "gemma3",
        "vision_config": {},
        "text_config": {**LLAMA, "model_type": "gemma3_text"},
    }
    assert st.from_config(nested).arch == st.from_config(nested["text_config"]).arch
    outer = {"model_type": "llama", "text_config": {k: v for k, v in LLAMA.items() if k != "model_type"}}
    assert st.from_config(outer).arch == st.from_config(LLAMA).arch


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**LLAMA, "model_type": "lama"}, "unknown model type 'lama'; did you mean llama"),
        ({**LLAMA, "model_type": None}, "the configuration has no model_type; known: afmoe, albert, "),
        ({}, "the configuration has no model_type; known: afmoe, albert, "),
        (
            {"model_type": "gpt2"},
            "a gpt2 configuration needs hidden_size or n_embd or d_model; this one has none",
        ),
        (
            {**LLAMA, "num_hidden_layers": "3"},
            "num_hidden_layers must be an integer from 1 to 100000, got '3'",
        ),
        ({**LLAMA, "rms_norm_eps": "small"}, "rms_norm_eps must be a number from .*, got 'small'"),
        (
            {**LLAMA, "model_type": "gemma2", "layer_types": ["full_attention"]},
            "layer_types must be a list of 3 entries, one for each",
        ),
        ({**LLAMA, "intermediate_size": [1, 2, 3]}, "intermediate_size differs from layer to layer"),
        (3, "expected a transformers configuration, a mapping, or the path .*; got 3"),
        ("nowhere.json", "nowhere.json cannot be read: No such file"),
    ],
)
def test_refused_in_one_line(config: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.from_config(config)


def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text, message in (("{", "is no JSON"), ("[1]", r"holds \[1\]"), (b"\xff", "it is no text")):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(InputError, match=message):
            st.from_config(path)


# --- what families are ------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", [*FAMILIES, *SAME])
def test_every_family_has_an_architecture_that_its_text_form_gives_back(model_type: str) -> None:
    more = {"num_experts_per_tok": 2, "kv_lora_rank": 16} if model_type in ("deepseek_v2",) else {}
    if model_type in MIXTURES:
        more = {"num_experts": 4, "num_experts_per_tok": 2}
    model = of(model_type, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=16, **more)
    assert st.Architecture.parse(str(model.arch)) == model.arch
    assert model.name == model_type
    assert all(gap.feature and gap.effect for gap in model.gaps)


@pytest.mark.parametrize(
    ("model_type", "values", "placement"),
    [
        ("gpt_neox", {}, "parallel-pre"),
        ("gpt_neox", {"use_parallel_residual": False}, "pre-norm"),
        ("stablelm", {}, "pre-norm"),
        ("stablelm", {"use_parallel_residual": True}, "parallel-pre"),
        ("falcon", {"parallel_attn": True}, "parallel-pre"),
        ("falcon", {"parallel_attn": False}, "pre-norm"),
        ("opt", {"do_layer_norm_before": False}, "post-norm"),
        ("gemma2", {}, "sandwich"),
        ("glm4", {}, "sandwich"),
        ("olmo3", {}, "olmo2"),
        ("granite", {"residual_multiplier": 0.22}, "pre-norm(branch=0.22)"),
    ],
)
def test_keys_decide_where_norms_stand(model_type: str, values: dict[str, Any], placement: str) -> None:
    assert of(model_type, **values).arch.placement == placement


@pytest.mark.exact
def test_the_embedding_adds_up_what_the_model_adds() -> None:
    gpt2, bert = of("gpt2").arch, of("bert").arch
    assert (gpt2.input_variance, gpt2.scaling) == (2 * 0.02**2, "gpt2")
    assert bert.input_variance == pytest.approx(1, abs=1e-8)  # normed
    assert bert.input_cosine == pytest.approx(1 / 3)  # all tokens have one type
    assert of("gemma").arch.input_variance == pytest.approx(64 * 0.02**2)
    assert of("granite", embedding_multiplier=12).arch.input_variance == pytest.approx((12 * 0.02) ** 2)
    narrow = of("opt", word_embed_proj_dim=16)
    assert narrow.arch.input_variance == pytest.approx(16 * 0.02**4 + 0.02**2)
    assert "a matrix of 16 columns behind the last norm" in features(narrow)


def test_logits_divided_by_the_layer_are_a_rule() -> None:
    found = of("gpt2", scale_attn_by_inverse_layer_idx=True)
    assert found.arch.scaling == "gpt2+inverse-layer-logits"
    one = {"depth": 2, "init": "fan-in", "tokens": 8}
    for stream in ("attn.query", "attn.key"):
        divided, plain = (
            st.value_at(st.predict(arch.with_(**one)), "weight_grad_norm", stream=stream)
            for arch in (found.arch, of("gpt2").arch)
        )
        assert divided == pytest.approx(plain / 4, rel=0.2)  # of the last block, whose input hardly moves
    assert found.gaps == of("gpt2").gaps


def test_experts() -> None:
    keys = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    qwen = of("qwen2_moe", **keys, shared_expert_intermediate_size=96)
    arch = qwen.arch
    assert (arch.experts, arch.top_k, arch.shared_experts, arch.gates) == (8, 2, 3, "softmax")
    assert arch.hidden == 32
    assert of("qwen2_moe", **keys, norm_topk_prob=True).arch.gates == "renormalised"
    assert (
        qwen.to_dict()["fields"].get("shared_gate", "a gate on the shared experts" in features(qwen)) is True
    )
    assert "2 blocks are dense" in features(of("qwen3_moe", **keys, decoder_sparse_step=2))
    one = of("hunyuan_v1_moe", num_experts=1)  # its expert and the shared one are one wide branch
    assert (one.arch.experts, one.arch.hidden) == (1, 2 * 176)


def test_windows_count_where_tokens_fill_them() -> None:
    assert of("mistral", sliding_window=8).arch.window == 8
    short = of("mistral", sliding_window=16)
    assert short.arch.window is None
    assert "a window of 16 tokens, which 16 tokens do not fill" in short.notes
    assert of("mistral", sliding_window=8, layer_types=["full_attention"] * 3).arch.window is None
    assert of("qwen2", sliding_window=8, use_sliding_window=False).arch.window is None


@pytest.mark.skipif("attention_pattern" in KNOWN, reason="an architecture has the field")
def test_a_pattern_of_layers_is_a_gap_that_says_what_it_does() -> None:
    for model_type, values, pattern in (
        ("gemma2", {}, "window,full"),
        ("cohere2", {"num_hidden_layers": 8}, "window,window,window,full-nope"),
        ("exaone4", {"sliding_window_pattern": "LLG"}, "window,window,full-nope"),
        ("smollm3", {"no_rope_layers": [1, 0, 1]}, "(full,full-nope)"),
    ):
        found = of(model_type, sliding_window=8, use_sliding_window=None, **values)
        (gap,) = (gap for gap in found.gaps if "attend differently" in gap.feature)
        assert pattern in gap.feature
        assert "cosines off by .08 to .42" in gap.effect


def test_logits_that_are_not_over_the_root_of_the_head_width() -> None:
    assert of("granite", attention_multiplier=1 / 16).arch.logit_scale == "linear"
    assert of("gemma2", head_dim=16, query_pre_attn_scalar=16).arch.logit_scale == "sqrt"
    other = of("gemma2", head_dim=16, query_pre_attn_scalar=64)
    stretched = of("llama", rope_scaling={"rope_type": "yarn", "factor": 32.0})
    if "logits are" in features(other):  # no field takes a number yet
        assert "logits are 0.125 q.k, where one over the root of the head width is 0.25" in features(other)
        assert f"logits are {(0.1 * 3.4657359 + 1) ** 2 / 4:.4g} q.k" in features(stretched)


def test_latents_have_logits_of_the_models_variance() -> None:
    """Coordinates that rotate and those that do not, by hand; and the one gap, with its size."""
    config = {
        "model_type": "minicpm3",
        "hidden_size": 256,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "intermediate_size": 512,
        "vocab_size": 100,
        "initializer_range": 0.05,
        "q_lora_rank": 96,
        "kv_lora_rank": 64,
        "qk_nope_head_dim": 48,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
    }
    still, turned = 48 * (64 * 0.05**2), 16 * (256 * 0.05**2)
    for given, sizes in (({}, (still, turned)), ({"init": "fan-in"}, (48.0, 16.0))):
        model = st.from_config(config, 16, **given)
        arch = model.arch
        assert (arch.latent_queries, arch.latent_keys, arch.head_size) == (96, 64, 32)
        own = arch.base_gains["attn.query"]
        variance = own * sum(sizes) / (48 + 16)
        assert arch.logit_square * own * arch.base_gains["attn.key"] == pytest.approx(variance)
        assert arch.rotary_share == round(sizes[1] / sum(sizes) * 16) / 16
        (gap,) = model.gaps
        assert f"attn.key are {sum(sizes) / sizes[0]:.3g} times" in gap.effect
    lite = st.from_config({key: value for key, value in config.items() if key != "q_lora_rank"}).arch
    assert (lite.latent_queries, lite.latent_keys) == (None, 64)
    yarn = {"rope_type": "yarn", "factor": 40.0, "mscale_all_dim": 1.0}
    stretched = st.from_config({**config, "rope_parameters": yarn}).arch
    plain = st.from_config(config).arch
    assert stretched.logit_square == pytest.approx(plain.logit_square * (0.1 * log(40) + 1) ** 4)


def test_what_no_field_says_is_a_gap_with_its_size() -> None:
    wide = of("qwen3", head_dim=32)
    if "head_width" not in KNOWN:
        (gap,) = (gap for gap in wide.gaps if "heads of width 32" in gap.feature)
        assert gap.effect == "attention's second moment is 0.5 times the model's without"
    assert "ALiBi" in features(of("bloom"))
    assert "clipped" in features(of("olmo", clip_qkv=0.1))
    assert "clipped" not in features(of("olmo", clip_qkv=8))
    assert any("clipped at 8" in note for note in of("olmo", clip_qkv=8).notes)
    assert any("keys that were not read: novelty" in note for note in of("llama", novelty=3).notes)
    assert not of("llama", dropout=0.1, torch_dtype="bfloat16", rms_norm_eps=1e-9).notes[1:]


@pytest.mark.reference
def test_means_of_gates_against_sampling() -> None:
    import numpy as np

    g, u = np.random.default_rng(0).standard_normal((2, 400_000))
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    square = sigmoid(sqrt(0.8) * g) ** 2
    assert sigmoid_square(0.8) == pytest.approx(square.mean(), abs=4 * square.std() / sqrt(len(g)))
    g, u = 1.5 * g, 1.5 * u
    theirs = ((np.clip(u, -7, 7) + 1) * np.minimum(g, 7) * sigmoid(1.702 * np.minimum(g, 7))) ** 2
    ours = (u * g * sigmoid(g)) ** 2
    assert clamped_gate(2.25, 1.702, 7.0) == pytest.approx(ours.mean() / theirs.mean(), rel=0.03)


# --- what goes over it ------------------------------------------------------------------------------


def test_fields_go_over_those_of_the_model() -> None:
    model = st.from_config(LLAMA, placement="post-norm", depth=2, init="fan-in", window=4, tokens=8)
    arch = model.arch
    assert (arch.placement, arch.depth, arch.init, arch.window, arch.tokens) == (
        "post-norm",
        2,
        "fan-in",
        4,
        8,
    )
    assert st.from_config(LLAMA, ffn_ratio=2.0).arch.hidden == 128
    assert of("mixtral", num_local_experts=8, num_experts_per_tok=2).arch.top_k == 2
    more = st.from_config(
        {**LLAMA, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}, top_k=4
    )
    assert (more.arch.experts, more.arch.top_k) == (8, 4)
    with pytest.raises(UnknownNameError, match="did you mean depth"):
        st.from_config(LLAMA, deph=2)
    with pytest.raises(InputError, match="kv_heads must divide heads"):
        st.from_config({**LLAMA, "num_key_value_heads": 2}, kv_heads=3)


def test_the_head_counts_where_a_loss_reads_it() -> None:
    assert "head" not in features(st.from_config(LLAMA))
    read = st.from_config(LLAMA, loss="cross-entropy")
    assert read.arch.vocabulary == 100
    if "head_gain" not in KNOWN:
        assert f"a head of gain {64 * 0.02**2:.3g}" in features(read)
    assert st.model("gemma-2-9b", loss="cross-entropy").arch.logit_cap == 30
    assert st.model("gemma-2-9b").arch.logit_cap is None


def test_a_head_that_is_the_embedding() -> None:
    given = {"loss": "cross-entropy", "inputs": "uniform"}
    read = {name: st.model(name, **given).arch.tied_head for name in ("gpt2", "gemma-2-9b", "llama-3-8b")}
    assert read == {"gpt2": True, "gemma-2-9b": True, "llama-3-8b": False}
    assert st.from_config({**LLAMA, "tie_word_embeddings": True}, **given).arch.tied_head
    assert not st.from_config({**LLAMA, "tie_word_embeddings": True}, loss="cross-entropy").arch.tied_head


def test_ids_go_through_the_embedding() -> None:
    gpt2 = of("gpt2").arch
    ids = st.from_config({**LLAMA, "model_type": "gpt2"}, 16, inputs="zipf")
    assert (ids.arch.input_variance, ids.arch.position_variance) == (0.02**2, 0.02**2)
    assert ids.arch.input_second_moment == gpt2.input_second_moment
    assert ids.arch.vocabulary == 100
    bert = st.from_config({**LLAMA, "model_type": "bert"}, 16, inputs="zipf")
    assert bert.arch.input_second_moment == pytest.approx(1, abs=1e-8)
    assert "an embedding that all tokens share" in features(bert)


def test_facts_settle_one_after_the_other() -> None:
    core = {"placement": "pre-norm", "width": 12, "heads": 4}
    facts = [
        Fact("odd heads", "turns less", {"positions": "rope"}),
        Fact("shared keys", "little", {"kv_heads": 2}),
        Fact("a field that there is not", "much", {"nonsense": 1}),
        Fact("no field", "", {}),
        Fact("the second best", "some", {"kv_heads": 3}, {"mask": "causal"}),
    ]
    arch, gaps, notes = settle(core, facts, {})
    assert (arch.positions, arch.kv_heads, arch.mask) == ("none", 2, "causal")
    assert [gap.feature for gap in gaps] == ["odd heads", "a field that there is not", "the second best"]
    assert "needs an even head width" in gaps[0].effect
    assert gaps[1].effect == "much"
    assert notes == ("no field",)


@pytest.mark.parametrize("model_type", sorted(MIXTURES))
def test_a_mixture_says_how_many_experts_it_has(model_type: str) -> None:
    with pytest.raises(InputError, match=f"a {model_type} configuration needs .*experts"):
        of(model_type)


# --- how it shows itself ----------------------------------------------------------------------------


def test_a_model_shows_itself() -> None:
    model = of("bloom")
    lines = model.text().splitlines()
    assert lines[-1] == str(model.arch)
    assert ["placement", "pre-norm"] in [line.split() for line in lines]
    assert {"scaling", "mask"} <= {line.split()[0] for line in lines}
    assert model.to_dict()["gaps"][0].keys() == {"feature", "effect"}
    assert json.dumps(model.to_dict())
    assert all(gap.feature in model._repr_html_() for gap in model.gaps if "'" not in gap.feature)


HOSTILE = (
    -1,
    0,
    0.5,
    1e400,
    float("nan"),
    10**30,
    True,
    "x",
    "",
    [],
    [1],
    [None],
    {},
    {"x": 1},
    b"x",
    object(),
)


@pytest.mark.parametrize("model_type", ["deepseek_v3", "gemma3_text", "gpt_oss", "llama4_text", "qwen2_moe"])
def test_odd_values_of_any_key_are_read_or_refused(model_type: str) -> None:
    latent = {"kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 16}
    experts = {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "rope_parameters": {"rope_type": "yarn", "factor": 2},
    }
    sound = {**LLAMA, **experts, **(latent if model_type in ("deepseek_v3", "minicpm3") else {})}
    sound |= {"model_type": model_type}
    st.from_config(sound)
    keys = {key for names in ALIASES.values() for key in names}
    keys |= {key for key, _, _ in FAMILIES[model_type].when} | set(LAYERED) | {"sliding_window_pattern"}
    for key in sorted(keys | {"query_pre_attn_scalar", "scale_depth", "clip_qkv", "n_group", "rotary_dim"}):
        for value in HOSTILE:
            with suppress(InputError):
                assert st.from_config({**sound, key: value}).arch.depth
    for key in (
        "rope_theta",
        "partial_rotary_factor",
        "factor",
        "attention_factor",
        "full_attention",
        "type",
    ):
        for value in HOSTILE:
            with suppress(InputError):
                assert st.from_config({**sound, "rope_parameters": {"type": "yarn", key: value}}).arch.depth


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 1), (8, 2), (16, 4), (12, 3), (14, 2)])
def test_other_heads_share_keys_and_values_in_the_same_groups(heads: int, kv_heads: int) -> None:
    config = {**LLAMA, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
    found = st.from_config(config, heads=heads, width=heads * 16)
    assert (found.arch.heads, found.arch.kv_heads) == (heads, kv_heads)
    assert found.gaps == ()
    assert st.from_config(config, heads=8, width=64, kv_heads=4).arch.kv_heads == 4


def test_the_head_is_that_of_the_width_and_std_that_are_given() -> None:
    given = {"depth": 2, "width": 512, "heads": 8, "loss": "cross-entropy"}
    assert st.model("llama-3-8b", **given).arch.head_gain == pytest.approx(512 * 0.02**2)
    assert st.model("llama-3-8b", init=0.01, **given).arch.head_gain == pytest.approx(512 * 0.01**2)
