"""Options of scaling rules: numbers by hand, one text for one meaning, refusals that name the nearest."""

from __future__ import annotations

import math

import pytest
from helpers import equal
from sympy import Rational, sqrt

import spannorm_theory as st
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.cli.main import main
from spannorm_theory.spec.scaling import WEIGHTS
from spannorm_theory.spec.scalings import SCALINGS

pytestmark = [pytest.mark.exact, pytest.mark.usefixtures("registries")]

L, l, d = symbols.depth, symbols.layer, symbols.width
OUTPUTS = ("attn.output", "ffn.down")

#: at l = 2, L = 8: branch, and gains, by hand
BY_HAND = {
    "span-scale-init(power=0.25)": (1, dict.fromkeys(OUTPUTS, 8**-0.25)),
    "span-scale-init(on=all, constant=2)": (1, dict.fromkeys(WEIGHTS, 2 / math.sqrt(8))),
    "looped-residual(loops=4)": (1 / (4 * math.sqrt(2)), {}),  # two blocks, four times
    "looped-residual(loops=1)": (1 / math.sqrt(8), {}),
    "completep(alpha=0.5)": (math.sqrt(2 / 8), {}),
    "completep(base=4)": (0.5, {}),
    "esm-c(as_printed=True)": (math.sqrt(8), {}),
    "torchtitan(on=all)": (1, dict.fromkeys(WEIGHTS, 1 / math.sqrt(6))),
    "megatron-depth-mup(base=8)": (1, dict.fromkeys(OUTPUTS, 1 / 4)),  # Megatron's own, at its base depth
    "granite(residual=0.5)": (0.5, {}),
    "minicpm(depth=2)": (2 / math.sqrt(8), {}),
    "gpt2(on=attention)": (1, {"attn.output": 1 / 4}),
    "gpt2(on=ffn)": (1, {"ffn.down": 1 / 4}),
}


@pytest.mark.parametrize("text", BY_HAND)
def test_options_by_hand(text: str) -> None:
    branch, gains = BY_HAND[text]
    found = SCALINGS[text].multipliers("ffn")
    at = {L: 8, l: 2, d: 100}
    assert float(found.branch.subs(at)) == pytest.approx(branch, rel=1e-12)
    assert {name: float(g.subs(at)) for name, g in found.gains.items()} == pytest.approx(gains, rel=1e-12)


def test_a_standard_deviation_of_the_fan_in() -> None:
    std = SCALINGS["gamma-init(gamma=0.75, hidden=2.0)"].multipliers("ffn").std
    assert std["ffn.up"] == d ** Rational(-3, 4)
    assert float(std["ffn.down"].subs(d, 8)) == pytest.approx(1 / 8, rel=1e-12)  # 16^(-3/4)


def test_options_of_the_embedding_and_of_one_kind_of_branch() -> None:
    arch = st.Architecture("pre-norm", "granite(embedding=3)", input_variance=2.0)
    assert arch.input_second_moment == pytest.approx(18.0, rel=1e-12)
    both = [SCALINGS["complete-d-p(attention=3)"].multipliers(kind).branch for kind in ("attention", "ffn")]
    assert both == [6 / L, 2 / L]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("span-scale-init( on = all , power = 0.25 )", "span-scale-init(on='all', power=0.25)"),
        ("span-scale-init(power=1e0,on='output')", "span-scale-init(power=1.0)"),
        ("span-scale-init(power=0.5)", "span-scale-init"),
        ("lns + completep( alpha=0.5 )", "lns+completep(alpha=0.5)"),
        ("completep(base=1e+2)+lns", "completep(base=100.0)+lns"),
    ],
)
def test_one_meaning_is_one_text(text: str, plain: str) -> None:
    arch = st.Architecture("pre-norm", text, depth=3)
    assert arch.scaling == plain
    assert arch == st.Architecture("pre-norm", plain, depth=3)
    assert " " not in str(arch).split("pre-norm ")[1].partition(" ")[0]
    assert st.Architecture.parse(str(arch)) == arch
    assert st.Architecture.parse(f"pre-norm {text} depth=3") == arch
    assert plain in st.scalings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("span-scale-init(powr=1)", "unknown option of span-scale-init 'powr'; did you mean power"),
        ("span-scale-init(on=outptu)", "did you mean output"),
        ("gamma-init(gamma=x)", "option gamma of gamma-init must be a number, got 'x'"),
        ("looped-residual(loops=0.5)", "option loops of looped-residual must be an integer"),
        ("looped-residual(loops=0)", "must be finite"),
        ("mitchell(power=1)", "mitchell has no options, got power=1"),
        ("gama-init(gamma=1)", "unknown scaling rule 'gama-init'; did you mean gamma-init"),
        ("gamma-init(gamma=1", "expected a scaling rule such as 'gpt2'"),
        ("gpt2+", "expected a scaling rule such as 'gpt2'"),
    ],
)
def test_refusals_name_what_was_expected(text: str, message: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message) as caught:
        st.Architecture("pre-norm", text)
    assert "\n" not in str(caught.value)
    assert text not in st.scalings()


def test_a_rule_of_ones_own_takes_options() -> None:
    @st.scaling("mine", title="branches x c", source="here")
    def mine(sublayer, l, L, d, *, c: float = 0.5, kind: str = "root"):  # type: ignore[no-untyped-def]
        return st.Multipliers(branch=c / sqrt(L) if kind == "root" else c)

    found = st.derive("pre-norm", "mine(c=0.25)").closed_form()["q"]
    assert equal(found, symbols.initial_variance + (symbols.sigma_a2 + symbols.sigma_f2) * l / (16 * L))
    with pytest.raises(InputError, match="every keyword-only option of the scaling rule 'other' needs"):
        st.scaling("other", title="", source="")(lambda sublayer, l, L, d, *, c: st.Multipliers())


def test_equal_rules_have_equal_multipliers() -> None:
    for one, other in (
        ("span-scale-init", "depth-scaled-init"),
        ("span-scale-init(on=all)", "b2t-code"),
        ("torchtitan", "olmo-llama-depth"),
        ("complete-d-p", "completep"),
        ("looped-residual(loops=1)", "depth-mup"),
        ("minicpm(depth=1.0, embedding=1.0)", "esm-c"),
    ):
        a, b = SCALINGS[one].multipliers("ffn"), SCALINGS[other].multipliers("ffn")
        assert (a.branch, a.gains, a.std) == (b.branch, b.gains, b.std), one


def test_command_line_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    words = "predict pre-norm --depth 2 --width 32 --heads 2 --tokens 8 --json --scaling"
    assert main([*words.split(), "span-scale-init(power=0.25, on=all)"]) == 0
    assert "span-scale-init(on='all', power=0.25)" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "power=0.5, on=output, constant=1.0" in capsys.readouterr().out
    assert main([*words.split(), "span-scale-init(powr=0.25)"]) == 2
    assert "did you mean power" in capsys.readouterr().err
