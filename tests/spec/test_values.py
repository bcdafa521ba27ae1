"""Fields, options and text forms have one plain value each, or are refused by name."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as draw

import spannorm_theory as st
from spannorm_theory.base.errors import InputError, SpannormError
from spannorm_theory.spec.text import placement_text

pytestmark = [pytest.mark.exact, pytest.mark.usefixtures("registries")]

SMALL: dict[str, Any] = {"depth": 3, "width": 16, "heads": 4, "tokens": 8}


def block(x: Any, net: Any) -> Any:
    return net.add(x, net.ffn(net.norm(x)))


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"depth": np.int64(3)}, {"depth": 3}),
        ({"dropout": -0.0, "input_cosine": np.float64(-0.0)}, {}),
        ({"dropout": np.float32(0.5)}, {"dropout": 0.5}),
        ({"ffn_ratio": 4, "input_variance": np.int8(1)}, {}),
        ({"input_variance": Fraction(1, 4)}, {"input_variance": 0.25}),
        ({"qk_norm": np.True_}, {"qk_norm": True}),
        ({"mask": np.str_("causal"), "window": np.uint8(4)}, {"mask": "causal", "window": 4}),
        ({"head_width": np.int64(32)}, {}),
        ({"logit_scale": 32**-0.5}, {}),
        ({"attention_pattern": "full , full"}, {}),
        ({"attention_pattern": "window", "window": 9}, {"window": 9}),
        (
            {"attention_pattern": "full, window,full,window", "window": 9},
            {"attention_pattern": "full,window", "window": 9},
        ),
        ({"logit_scale": 1, "width": 8}, {"width": 8}),
        ({"logit_scale": 1 / 32}, {"logit_scale": "linear"}),
        ({"logit_scale": np.float32(0.0625)}, {"logit_scale": 0.0625}),
        ({"scaling": "unit + gpt2"}, {"scaling": "unit+gpt2"}),
        ({"placement": "mix-ln( fraction = 1 )"}, {"placement": "mix-ln(fraction=1.0)"}),
    ],
)
def test_one_meaning_is_one_value(given: dict[str, Any], plain: dict[str, Any]) -> None:
    one, other = (st.Architecture(**{"placement": "mix-ln", **fields}) for fields in (given, plain))
    assert one == other
    assert (one.key, str(one)) == (other.key, str(other))
    assert [type(v) for v in one.to_dict().values()] == [type(v) for v in other.to_dict().values()]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 10**400}, r"depth must be at most 2\^53"),
        ({"input_variance": 10**400}, "input_variance must be a positive number, got 1000"),
        ({"dropout": True}, r"dropout must be a probability in \[0, 1\), got True"),
        ({"input_variance": 1e-300}, "input_variance must lie between 1e-60 and 1e\\+60.*got 1e-300"),
        ({"logit_scale": 0}, "logit_scale must be a positive number, got 0"),
        ({"rotary_base": 0.5}, "rotary_base must be a number of at least 1, got 0.5"),
        ({"rotary_share": 0}, r"rotary_share must be a share in \(0, 1\], got 0"),
        ({"init": 1e-300}, "init must lie between 1e-30 and 1e\\+30"),
        ({"logit_variance": 1e-300}, "logit_variance must lie between .* or be 0"),
        ({"ffn_ratio": 1e60}, r"ffn_ratio \* width must be a whole number up to 2\^53"),
        ({"norm": "layer", "width": 1, "heads": 1}, "norm='layer' of width=1 is always zero"),
        ({"placement": None}, "expected a placement such as 'post-norm'.*got None"),
        ({"scaling": None}, "unknown scaling rule None"),
        ({"input_cosine": 1j}, "input_cosine must be a number, got 1j"),
    ],
)
def test_values_that_no_architecture_has(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.Architecture(**{"placement": "pre-norm", **fields})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: st.Architecture(), "Architecture needs placement; its fields are placement, scaling"),
        (lambda: st.Architecture(*["pre-norm"] * 400), r"has \d+ fields, got 400 values without a name"),
        (lambda: st.Architecture("pre-norm", "unit", scaling="unit"), "got scaling twice"),
        (lambda: st.Architecture.from_dict(3), "expected the fields of an Architecture by name, got 3"),
        (lambda: st.Architecture("pre-norm").with_(options={}), "unknown field of Architecture 'options'"),
        (lambda: st.Multipliers(gain={}), "unknown field of Multipliers 'gain'; did you mean gains"),
        (lambda: st.Multipliers(gains=3), "gains must be a mapping"),
        (lambda: st.Multipliers(learnt=1), "learnt must be True or False, got 1"),
    ],
)
def test_what_a_record_is_made_of(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected the text form of an Architecture, such as 'pre-norm gpt2 depth=24', got None"),
        ("", "expected the text form"),
        ("mix-ln(fraction=0.5", "expected the text form"),
        ("mix-ln (fraction=0.5", "expected the text form"),
        ("pre-norm unit 24", "expected field=value behind placement and scaling in .*, got '24'"),
        ("pre-norm unit depth=3 depth=4", "depth is given twice"),
        ("pre-norm unit scaling=unit", "scaling is given twice"),
        ("mix-ln(fraction=0.5, fraction=0.4)", "the option fraction is given twice"),
        ("mix-ln(fraction=[0.5])", "expected option=value"),
        ("pre-norm unit depth=" + "9" * 5000, "depth must be an integer of at least 1, got inf"),
        ("mix-ln" + "(" * 100_000, "expected the text form"),
        ("pre-norm@ depth=3", "expected a scaling rule such as 'gpt2'.* behind the @"),
        ("pre-norm@gpt2@lns", "expected a scaling rule"),
        ("pre-norm unit sinks=yes", "sinks must be True or False, got 'yes'"),
    ],
)
def test_text_that_is_no_architecture(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        st.Architecture.parse(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("pre-norm depth=3", "pre-norm unit depth=3"),
        (" pre-norm unit + gpt2  depth=3", "pre-norm unit+gpt2 depth=3"),
        ("mix-ln( fraction = 0.5, ) gpt2", "mix-ln(fraction=0.5) gpt2"),
        ("pre-norm@gpt2", "pre-norm gpt2"),
        ("mix-ln(fraction=0.5) @ gpt2+lns depth=3", "mix-ln(fraction=0.5) gpt2+lns depth=3"),
        ("pre-norm qk_norm=true sinks=false", "pre-norm unit qk_norm=True"),
        ("siamese-norm(depth_scaling=false)", "siamese-norm(depth_scaling=False) unit"),
    ],
)
def test_blanks_and_what_is_left_out(text: str, form: str) -> None:
    assert str(st.Architecture.parse(text)) == form


def test_options_cannot_be_changed_behind_the_text_form() -> None:
    arch = st.Architecture("mix-ln(fraction=0.5)")
    with pytest.raises(TypeError, match="does not support item assignment"):
        arch.options["fraction"] = 0.25  # type: ignore[index]
    for copied in (pickle.loads(pickle.dumps(arch)), copy.deepcopy(arch), copy.copy(arch)):
        assert (copied, copied.options) == (arch, arch.options)


@pytest.mark.parametrize("name", ["é", "日本", "None", "True", "nan", "a.b", "a_b-", "x" * 60])
def test_names_that_text_forms_hold(name: str) -> None:
    st.activation(name, np.tanh, lambda x: x.tanh())
    st.scaling(name, title="", source="")(lambda sublayer, l, L, d: st.Multipliers())
    st.placement(name, title="", source="")(block)
    arch = st.Architecture(name, f"{name} + gpt2", activation=name)
    assert st.Architecture.parse(str(arch)) == arch


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a+b", "a@b", "a:b", "a,b", "-a", "12", "1e5", "a=b", "a/b", "a(b", "a\n", "x" * 61, 5, None],
)
def test_names_that_no_text_form_holds(name: Any) -> None:
    for register in (
        lambda: st.activation(name, np.tanh, lambda x: x.tanh()),
        lambda: st.scaling(name, title="", source="")(lambda sublayer, l, L, d: st.Multipliers()),
        lambda: st.placement(name, title="", source="")(block),
    ):
        with pytest.raises(InputError, match="name must be a letter and up to 59 letters, digits"):
            register()


def test_names_that_mean_something_else() -> None:
    with pytest.raises(InputError, match="the activation cannot be called 'ffn', which a block's branch is"):
        st.activation("ffn", np.tanh, lambda x: x.tanh())
    with pytest.raises(InputError, match="an option cannot be called 'turn'"):
        st.placement("mine", title="", source="")(lambda x, net, *, turn=1: block(x, net))
    with pytest.raises(InputError, match="unknown scaling rule 'gpt3'; did you mean gpt2"):
        st.placement("mine", title="", source="", scaling="gpt3")(block)


@pytest.mark.parametrize("default", [None, [1], (1,), {}, 1j, float("nan"), float("inf"), 10**400])
def test_options_that_no_text_form_holds(default: Any) -> None:
    with pytest.raises(InputError, match="the default of option odd of mine must be"):
        st.placement("mine", title="", source="")(lambda x, net, *, odd=default: block(x, net))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=draw.floats(allow_nan=False, allow_infinity=False),
    whole=draw.integers(-(2**53), 2**53),
    yes=draw.booleans(),
    text=draw.text(),
)
def test_every_option_has_a_text_form(number: float, whole: int, yes: bool, text: str) -> None:
    def mine(x: Any, net: Any, *, a: float = 0.5, b: int = 1, c: bool = False, d: str = "'x y'") -> Any:
        return block(x, net)

    st.placement("mine", title="", source="", replace=True)(mine)
    options = {"a": number, "b": whole, "c": yes, "d": text}
    arch = st.Architecture(placement_text("mine", options), **SMALL)
    assert arch.options == options
    assert st.Architecture.parse(str(arch)) == arch
    assert st.Architecture.from_dict(arch.to_dict()) == arch


ANYTHING = draw.one_of(
    draw.none(),
    draw.booleans(),
    draw.integers(),
    draw.floats(),
    draw.complex_numbers(),
    draw.text(max_size=5),
    draw.sampled_from(["causal", "rope", "layer", "zipf", "mean", "softmax", "swiglu", "gpt2", "linear"]),
    draw.integers(1, 40),
    draw.integers(-100, 100).map(np.int8),
    draw.floats(0, 1).map(np.float32),
    draw.lists(draw.integers(), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(
    draw.dictionaries(draw.sampled_from(list(st.Architecture("pre-norm").to_dict())), ANYTHING, max_size=4)
)
def test_every_field_is_plain_or_refused(fields: dict[str, Any]) -> None:
    arch, refusal = None, ""
    try:
        arch = st.Architecture(**{"placement": "pre-norm", **fields})
    except SpannormError as error:
        refusal = str(error)
    if arch is None:
        assert "\n" not in refusal
        assert 0 < len(refusal) < 1000
        return
    assert st.Architecture.parse(str(arch)) == arch
    assert {type(value) for value in arch.to_dict().values()} <= {str, int, float, bool, type(None)}


def test_a_pattern_longer_than_the_stack_is_cut() -> None:
    sizes = {"width": 64, "heads": 4, "tokens": 16, "mask": "causal", "window": 4}
    long = st.Architecture("pre-norm", depth=2, attention_pattern="full,window,full", **sizes)
    assert long == st.Architecture("pre-norm", depth=2, attention_pattern="full,window", **sizes)
    with pytest.raises(InputError, match="window=4 has no effect"):
        st.Architecture("pre-norm", depth=2, attention_pattern="full,full,window", **sizes)
