"""docs/extending.md does what it says, and what a definition cannot mean is refused in clear words."""

from __future__ import annotations

import contextlib
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sympy import Symbol

import spannorm_theory as st
from spannorm_theory.base.errors import AssumptionError, InputError, SpannormError
from spannorm_theory.spec.placements import PLACEMENTS
from spannorm_theory.spec.scalings import SCALINGS, Multipliers
from spannorm_theory.spec.scalings.initialisation import matrices

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\nprints\n\n((?:    [^\n]*\n)+))?", re.S)

pytestmark = pytest.mark.usefixtures("registries")


@pytest.mark.statistical
def test_the_page_prints_what_it_says() -> None:
    namespace: dict[str, Any] = {}
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == PAGE.count("```python") == 4
    for code, shown in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "extending.md", "exec"), namespace)
        assert printed.getvalue() == "".join(line[4:] + "\n" for line in shown.splitlines())


def _mine(x: Any, net: Any) -> Any:
    return net.add(x, net.ffn(x))


def _required(x: Any, net: Any, *, strength: float) -> Any:
    return net.add(x, net.ffn(x) * strength)


PLACEMENT_ERRORS: dict[str, tuple[Callable[..., Any], str]] = {
    "other streams": (
        lambda x, net: (x, x),
        r"takes 1 stream\(s\) and returns 2; a block must return as many",
    ),
    "norm of zero": (lambda x, net: net.add(x, net.ffn(net.norm(x - x))), "norms .*, which is always zero"),
    "norm of hidden zero": (
        lambda x, net: net.add(x, net.ffn(net.norm((x + x) / 2 - x))),
        "norms .*, which is always zero",
    ),
    "weight used twice": (
        lambda x, net: net.add(net.add(x, net.ffn(x)), net.ffn(x)),
        "applies the ffn branch twice in one block.*each weight is used once",
    ),
    "no branch": (lambda x, net: net.norm(x), r"uses neither net.attention nor net.ffn"),
    "pointwise value in a stream": (
        lambda x, net: net.add(x, net.ffn(x)) + net.pointwise(x, "tanh"),
        "in a norm's place may be read by a branch, or be the output of the model, but .* adds or norms it",
    ),
    "pointwise value as a branch": (
        lambda x, net: net.add(x, net.pointwise(x, "tanh")),
        r"net.add\(stream, branch\) needs a branch",
    ),
    "unknown function": (lambda x, net: net.add(x, net.ffn(net.pointwise(x, "tanhh"))), "did you mean tanh"),
    "gated function": (lambda x, net: net.add(x, net.ffn(net.pointwise(x, "swiglu"))), "swiglu is gated"),
    "product of streams": (
        lambda x, net: net.add(x, net.ffn(x)) * x,
        "a factor is a number or a sympy express",
    ),
    "foreign symbol": (
        lambda x, net: net.add(x, net.ffn(x) / Symbol("k")),
        r"expression in \(l, L, d\), got 1/k with \['k'\]; take l",
    ),
    "division by zero": (lambda x, net: net.add(x, net.ffn(x) / 0), "a factor must be finite, got zoo"),
    "crash": (lambda x, net: net.add(x, net.mlp(x)), "failed on a stream: AttributeError: .*'mlp'"),
    "option without default": (
        _required,
        "every keyword-only option of the placement 'mine' needs a default",
    ),
}


@pytest.mark.exact
@pytest.mark.parametrize("case", PLACEMENT_ERRORS)
def test_what_is_no_placement_is_refused_when_it_is_registered(case: str) -> None:
    definition, message = PLACEMENT_ERRORS[case]
    with pytest.raises(InputError, match=message):
        st.placement("mine", title="", source="user")(definition)
    assert "mine" not in PLACEMENTS


@pytest.mark.exact
def test_two_streams_need_a_readout() -> None:
    with pytest.raises(InputError, match=r"must return one value, got 2; .* names its own with readout="):
        st.placement("mine", title="", source="user", streams=2)(
            lambda s, net: (net.add(s[0], net.ffn(s[0])), s[1])
        )


@pytest.mark.exact
def test_names_that_are_taken() -> None:
    message = "exists already; choose another name or pass replace=True"
    with pytest.raises(InputError, match=f"the placement 'pre-norm' {message}"):
        st.placement("pre-norm", title="", source="user")(_mine)
    with pytest.raises(InputError, match=f"the scaling rule 'gpt2' {message}"):
        st.scaling("gpt2", title="", source="user")(lambda sublayer, l, L, d: Multipliers())
    with pytest.raises(InputError, match=f"the activation 'relu' {message}"):
        st.activation("relu", abs, abs)
    before = PLACEMENTS["pre-norm"]
    st.placement("pre-norm", title="", source="user", replace=True)(_mine)
    assert PLACEMENTS["pre-norm"] is not before


@pytest.mark.exact
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "peri-ln(embeding_norm=False)",
            "unknown option of peri-ln 'embeding_norm'; did you mean embedding_norm",
        ),
        ("post-norm(gain=1)", "post-norm has no options, got gain=1"),
        ("peri-ln(embedding_norm=0)", "embedding_norm of peri-ln must be True or False, got 0"),
        ("mix-ln(fraction=1.5)", r"a fraction in \[0, 1\] of all, got 1.5"),
        ("mix-ln(fraction)", "expected option=value"),
    ],
)
def test_options(text: str, message: str) -> None:
    with pytest.raises(SpannormError, match=message):
        st.Architecture(text, depth=4).wirings  # noqa: B018


@pytest.mark.exact
def test_a_whole_number_is_a_number() -> None:
    assert st.Architecture("mix-ln(fraction=1)") == st.Architecture("mix-ln(fraction=1.0)")


@pytest.mark.exact
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda sublayer, l, L, d: 0.5, r"must return Multipliers\(...\), got 0.5"),
        (lambda sublayer, l, L, d: Multipliers(branch="L"), "a factor is a number or a sympy expression"),
        (lambda sublayer, l, L, d: Multipliers(branch=1 / Symbol("n")), r"got 1/n with \['n'\]"),
        (
            lambda sublayer, l, L, d: Multipliers(gains={"ffn.dwn": 1}),
            "unknown weight matrix .*ffn.down",
        ),
        (
            lambda sublayer, l, L, d: Multipliers(branch=math.sqrt(L)),
            "three of them sympy symbols: TypeError",
        ),
        (lambda l, L: Multipliers(), "failed on .sublayer, l, L, d."),
    ],
)
def test_what_is_no_rule_is_refused(rule: Callable[..., Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.scaling("mine", title="", source="user")(rule)
    assert "mine" not in SCALINGS


@pytest.mark.exact
def test_plain_numbers_are_multipliers() -> None:
    st.scaling("half", title="", source="user")(lambda sublayer, l, L, d: Multipliers(branch=0.5))
    assert str(st.derive("pre-norm", "half").block.forward[0, 0]) == "(4*q + sigma_a^2 + sigma_f^2)/4"


@pytest.mark.exact
def test_a_rule_that_belongs_to_others_says_to_whom() -> None:
    def mine(sublayer: str, l: Any, L: Any, d: Any) -> Multipliers:
        """It holds a norm that is not there."""
        return Multipliers(branch=1 / L)

    st.scaling("mine", title="", source="user", only=("sub-ln", "keel"))(mine)
    with pytest.raises(
        InputError, match="'mine' belongs to sub-ln and keel, not to pre-norm: It holds a norm"
    ):
        st.Architecture("pre-norm", "mine")
    assert st.Architecture("keel", "mine").scaling == "mine"


@pytest.mark.exact
def test_a_norm_of_a_branch_that_starts_at_zero_is_refused_everywhere() -> None:
    arch = st.Architecture("sandwich", "fixup", depth=2, width=32, heads=2, tokens=4)
    message = r"norms attention\(norm\(x0\)\), which is always zero under the scaling rule fixup; take"
    for asked in (arch, arch.with_(mask="causal")):
        for ask in (st.predict, lambda a: st.simulate(a, networks=2), lambda a: st.verify(a, networks=4)):
            with pytest.raises(InputError, match=message):
                ask(asked)
    with pytest.raises(InputError, match=message):
        st.derive("sandwich", "fixup").gradient_ratio()
    assert st.predict(st.Architecture("post-norm", "fixup", depth=2))["value"].notna().any()


@pytest.mark.exact
def test_a_branch_that_is_zero_at_one_layer_is_refused_there() -> None:
    def late(sublayer: str, l: Any, L: Any, d: Any) -> Multipliers:
        """Silent in the fourth block."""
        return matrices(("attn.output", "ffn.down"), l - 3)

    st.scaling("late", title="", source="user")(late)
    for mask in ("none", "causal"):
        sizes = {"depth": 4, "width": 32, "heads": 2, "tokens": 4, "mask": mask}
        table = st.predict(st.Architecture("pre-norm", "late", **sizes))
        variance = table[table["quantity"] == "variance"]["value"].to_numpy()
        assert variance[2] < variance[3] == variance[4]
        with pytest.raises(AssumptionError, match="a norm at layer 3 reads what is always zero there"):
            st.predict(st.Architecture("sandwich", "late", **sizes))
