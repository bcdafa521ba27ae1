"""Definitions are traced once, refuse misuse, and can be registered by a user."""

from __future__ import annotations

import pytest
from sympy import Integer, sqrt

import spannorm_theory as st
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import InputError
from spannorm_theory.gaussian.activations import ACTIVATIONS, require_numbers
from spannorm_theory.spec.placements import PLACEMENTS
from spannorm_theory.spec.scalings import SCALINGS, Multipliers

pytestmark = pytest.mark.exact


BLOCKS = {
    "no-norm": "x0 + attention(x0) + ffn(x0 + attention(x0))",
    "pre-norm": "x0 + attention(norm(x0)) + ffn(norm(x0 + attention(norm(x0))))",
    "post-norm": "norm(norm(x0 + attention(x0)) + ffn(norm(x0 + attention(x0))))",
    "span-norm": "norm(x0 + ffn(norm(x0 + attention(x0))))",
    "hybrid-norm": "norm(x0 + attention[qkv-norm](x0)) + ffn(norm(x0 + attention[qkv-norm](x0)))",
}


@pytest.mark.parametrize("name", BLOCKS)
def test_published_equations(name: str) -> None:
    assert str(PLACEMENTS[name].trace("unit")) == BLOCKS[name]


def test_what_the_package_defines_passes_what_is_asked_of_users() -> None:
    for placement in PLACEMENTS.values():
        placement.require_block()
    for rule in SCALINGS.values():
        rule.require_numbers()
    for activation in ACTIVATIONS.values():
        require_numbers(activation.name, activation.function, activation.kernel)
    assert PLACEMENTS.trying
    assert SCALINGS.trying
    assert ACTIVATIONS.trying


def test_first_blocks() -> None:
    first = PLACEMENTS["span-norm"].trace("unit", first=True)
    assert str(first) == "norm(x0 + ffn(norm(x0 + attention(norm(x0)))))"
    star = PLACEMENTS["hybrid-norm-star"].trace("unit", first=True)
    assert str(star).startswith("x0 + attention[qkv-norm](norm(x0)) + ffn(norm(")


def test_siamese_norm_writes_the_scaled_branch_to_one_stream_only() -> None:
    x, y = PLACEMENTS["siamese-norm"].trace("unit").outputs
    assert "1/sqrt(2*l + 1)*attention" in str(x)
    assert "1/sqrt(2*l + 2)*ffn" in str(x)
    assert str(y).startswith("x1 + attention(norm(x0 + norm(x1))) + ffn(")


def test_scaling_multiplies_branches_and_weights() -> None:
    trace = PLACEMENTS["pre-norm"].trace("branch-sqrt-depth")
    assert 1 / sqrt(2 * symbols.depth) in trace.multipliers
    gains = PLACEMENTS["pre-norm"].trace("gpt2").branches[0].gains
    assert gains == {"attn.output": 1 / sqrt(2 * symbols.depth), "ffn.down": 1 / sqrt(2 * symbols.depth)}


@pytest.mark.usefixtures("registries")
def test_a_users_placement_and_rule_work_everywhere_at_once() -> None:
    @st.placement("my-b2t", title="B2T", source="arXiv:2206.00330", year=2022)
    def b2t(x, net):  # type: ignore[no-untyped-def]
        y = net.norm(net.add(x, net.attention(x)))
        return net.norm(net.add(y, net.ffn(y)) + x)

    @st.scaling("half", title="branches / 2", source="user")
    def half(sublayer, l, L, d):  # type: ignore[no-untyped-def]
        return Multipliers(branch=Integer(1) / 2)

    r = st.derive("my-b2t", "half")
    assert r.moment_at((0, 0), symbols.layer) == 1
    arch = st.Architecture("my-b2t", "half", depth=3, width=64, heads=4, tokens=16)
    assert st.verify(arch, networks=32, progress=False).passed
    with pytest.raises(InputError, match="exists already"):
        st.placement("b2t", title="", source="")(b2t)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (lambda x, net: (x, x), "takes 1 stream"),
        (lambda x, net: net.add(x, x), "add two streams with a plain"),
        (lambda x, net: net.norm(3), "works on the streams it is given"),
        (lambda x, net: None, "must return the stream that it gets"),
    ],
)
def test_broken_definitions_are_refused(definition: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.placement("broken", title="broken", source="user")(definition)  # type: ignore[arg-type]
    assert "broken" not in PLACEMENTS


def test_unknown_weight_in_a_rule_is_refused() -> None:
    with pytest.raises(InputError, match="unknown weight matrix"):
        Multipliers(gains={"attn.out": Integer(2)})


def test_every_entry_has_title_source_and_words() -> None:
    for entry in (*PLACEMENTS.values(), *SCALINGS.values()):
        assert entry.title
        assert entry.source
        assert entry.doc
