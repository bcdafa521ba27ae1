"""Validation, text form and hash of an architecture."""

from __future__ import annotations

import pytest
from helpers import rounded

from spannorm_theory import Architecture
from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.spec.architecture import parse_placement

pytestmark = pytest.mark.exact

EXAMPLES = [
    Architecture("post-norm"),
    Architecture("span-norm", inputs="zipf", position_variance=0.5, loss="cross-entropy", vocabulary=100),
    Architecture("pre-norm", experts=8, top_k=2, shared_experts=1, gates="softmax"),
    Architecture("siamese-norm(depth_scaling=False)", "gpt2", depth=3, mask="causal", init=0.02),
    Architecture(
        "pre-norm", "layer-index", activation="swiglu", norm="layer", qk_norm=True, logit_variance=4
    ),
    Architecture("pre-norm", logit_scale=0.0625),
    Architecture("pre-norm", positions="rope", rotary_base=5e5, rotary_share=0.25),
    Architecture("pre-norm", window=9, positions="rope", attention_pattern="window,window-nope,full"),
    Architecture("pre-norm", width=100, heads=3, head_width=64),
    Architecture("pre-norm", mask="causal", window=9, positions="rope", kv_heads=2, logit_scale="linear"),
    Architecture("pre-norm", dropout=0.1, attention_dropout=0.2, qk_norm=True, qk_norm_over="width"),
]


@pytest.mark.parametrize("arch", EXAMPLES, ids=str)
def test_round_trips(arch: Architecture) -> None:
    assert Architecture.parse(str(arch)) == arch
    assert Architecture.from_dict(arch.to_dict()) == arch
    assert hash(Architecture.parse(str(arch))) == hash(arch)
    assert len({a.key for a in EXAMPLES}) == len(EXAMPLES)


def test_key_is_stable_across_processes() -> None:
    assert Architecture("post-norm").key == Architecture("post-norm", depth=12).key == "f8e2484ddce1669d"


def test_default_options_leave_the_name_alone() -> None:
    assert Architecture("siamese-norm(depth_scaling=True)").placement == "siamese-norm"
    assert parse_placement("x( a = 1 , b='c')") == ("x", {"a": 1, "b": "c"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 100, "heads": 3}, "width must be divisible by heads"),
        ({"depth": 0}, "depth must be an integer of at least 1, got 0"),
        ({"depth": 2.0}, "depth must be an integer"),
        ({"depth": True}, "depth must be an integer"),
        ({"tokens": 1}, "tokens must be an integer of at least 2"),
        ({"heads": -2}, "heads must be an integer"),
        ({"ffn_ratio": 0.001}, "must be a whole number"),
        ({"ffn_ratio": float("nan")}, "ffn_ratio must be a positive number"),
        ({"init": -0.02}, "init must be a positive number"),
        ({"input_cosine": 1.0}, r"input_cosine must lie in \(-0.01587, 1\)"),
        ({"experts": 0}, "experts must be an integer of at least 1"),
        ({"experts": 4, "top_k": 5}, "top_k=5 experts of experts=4 cannot be chosen"),
        ({"top_k": 2}, "top_k=2 experts of experts=1 cannot be chosen"),
        ({"shared_experts": 1}, "shared_experts=1 needs experts of at least 2"),
        ({"gates": "softmax"}, "gates='softmax' needs experts of at least 2"),
        ({"experts": 4, "shared_experts": -1}, "shared_experts must be an integer of at least 0"),
        ({"qk_norm": "yes"}, "qk_norm must be True or False"),
        ({"kv_heads": 3}, "kv_heads must divide heads.*kv_heads=3, heads=8"),
        ({"kv_heads": True}, "kv_heads must be an integer of at least 1, got True"),
        ({"positions": "rope", "width": 24, "ffn_ratio": 1}, "even head width, got 3"),
        ({"window": 1, "mask": "causal"}, "integer of at least 2"),
        ({"window": 64, "mask": "causal"}, "window=64 has no effect on 64 tokens"),
        ({"rotary_base": 5e5}, "rotary_base needs positions='rope', got positions='none'"),
        ({"rotary_share": 0.3, "positions": "rope"}, "an even number of a head's coordinates, got 0.3 of 32"),
        ({"attention_pattern": "full,windw"}, "did you mean window"),
        ({"attention_pattern": 3}, "words such as 'window,full', got 3"),
        ({"attention_pattern": "full,window"}, "say how many tokens as window="),
        ({"attention_pattern": "full", "window": 8}, "none of whose blocks have a window"),
        ({"attention_pattern": "full,full-nope"}, "positions='none' leaves none"),
        ({"positions": "rope", "rotary_share": 1 / 16, "rotary_base": 5e5}, "one pair of coordinates"),
        (
            {"logit_variance": 0, "positions": "rope"},
            "positions='rope' has no effect beside logit_variance=0",
        ),
        ({"logit_variance": 0, "logit_scale": 2.0}, "logit_scale=2.0 has no effect beside logit_variance=0"),
        ({"attention_pattern": "full-nope", "positions": "rope"}, "positions='rope' has no effect"),
        ({"qk_norm_over": "width"}, "has no effect without norms on queries and keys"),
        ({"qk_norm_over": "width", "qk_norm": True, "heads": 1}, "has no effect with one head"),
        ({"dropout": 1.0}, r"dropout must be a probability in \[0, 1\), got 1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout must be a probability"),
        ({"placement": "post-norm("}, "expected a placement"),
        ({"placement": "siamese-norm(depth_scaling=1)"}, "must be True or False, got 1"),
    ],
)
def test_bad_input_is_one_clear_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Architecture(**{"placement": "post-norm", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"placement": "prenorm"}, "pre-norm"),
        ({"scaling": "gpt-2"}, "gpt2"),
        ({"activation": "swigl"}, "swiglu"),
        ({"mask": "casual"}, "causal"),
        ({"norm": "rmsnorm"}, "rms"),
        ({"experts": 4, "gates": "renormalized"}, "renormalised"),
        ({"init": "fanin"}, "fan-in"),
        ({"positions": "rotary"}, "rope"),
        ({"logit_scale": "linea"}, "linear"),
        ({"qk_norm_over": "heads"}, "head"),
        ({"placement": "siamese-norm(depth_scalin=True)"}, "depth_scaling"),
    ],
)
def test_unknown_names_suggest_the_nearest(changes: dict[str, str], near: str) -> None:
    with pytest.raises(UnknownNameError, match=near):
        Architecture(**{"placement": "post-norm", **changes})


def test_unknown_field_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean depth"):
        Architecture.from_dict({"placement": "post-norm", "dept": 3})


def test_unit_branch_gives_he_for_relu() -> None:
    gains = Architecture("post-norm", activation="relu", init="unit-branch").base_gains
    assert gains["ffn.up"] == rounded(2.0)
    assert gains["attn.value"] == 1.0


def test_as_many_key_heads_as_heads_is_the_default() -> None:
    assert Architecture("post-norm", kv_heads=8) == Architecture("post-norm")
    assert Architecture("post-norm", kv_heads=2).weights["attn.value"] == (256, 64)
    assert Architecture("hybrid-norm", qk_norm_over="width").qk_norm_over == "width"


def test_logit_variance_is_that_of_the_logits_however_they_are_scaled() -> None:
    free = Architecture("post-norm", logit_variance=16, logit_scale=0.5).base_gains
    assert free["attn.query"] * free["attn.key"] * 0.5**2 * 32 == rounded(16.0)
    arch = Architecture("post-norm", logit_variance=16, logit_scale="linear")
    gains = arch.base_gains
    assert gains["attn.query"] * gains["attn.key"] / arch.head_size == rounded(16.0)


def test_logit_variance_sets_query_and_key() -> None:
    gains = Architecture("post-norm", logit_variance=16).base_gains
    assert gains["attn.query"] * gains["attn.key"] == rounded(16.0)
