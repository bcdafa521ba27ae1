"""Reductions, against random networks of both designs and against definitions that differ in writing."""

from __future__ import annotations

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.spec.graph import Value
from spannorm_theory.spec.net import Net


def reduced(placement: str, scaling: str = "unit") -> dict[str, str]:
    return {each.placement: each.blocks for each in st.reduces_to(placement, scaling)}


@pytest.mark.reference
def test_the_catalogue() -> None:
    found = {name: reduced(name) for name in st.placements()}
    later, every = "every block but the first", "every block"
    assert {name: each for name, each in found.items() if each} == {
        "peri-ln": {"sandwich": later},
        "keel": {"post-norm": later},
        "gpas": {"pre-norm": every},
        "hybrid-norm-star": {"hybrid-norm": later},
        "hyper-connections": {"pre-norm": every},
        "mhc": {"pre-norm": every},
        "identity-hyper-connections": {"pre-norm": every},
        "denseformer": {"pre-norm": every},
        "mix-ln": {
            "post-norm": "the first 1/4 of the blocks",
            "pre-norm": "the blocks behind the first 1/4",
        },
    }


@pytest.mark.reference
def test_options_and_rules_count() -> None:
    assert reduced("peri-ln(embedding_norm=False)") == {"sandwich": "every block"}
    assert reduced("mix-ln(fraction=0.0)") == {"pre-norm": "every block"}
    assert reduced("mix-ln(fraction=1.0)") == {"post-norm": "every block"}
    assert reduced("pre-norm(branch=0.5)") == {}
    assert reduced("swin-v2(gain=1.0)") == {"olmo2": "every block"}
    assert reduced("keel", "keel") == {"post-norm": "every block but the first"}  # under one rule, too
    assert reduced("deepnorm", "depth-scaled-init") == {}  # its skip path has a factor of its own
    assert str(st.reduces_to("gpas")[0]) == "PreNorm in every block"


@pytest.mark.exact
@pytest.mark.parametrize("pair", [("gpas", "pre-norm"), ("swin-v2(gain=1.0)", "olmo2")])
def test_networks_of_both_are_the_same(pair: tuple[str, str]) -> None:
    size = {"depth": 3, "width": 32, "heads": 2, "tokens": 6}
    one, other = (
        st.simulate(st.Architecture(name, **size), networks=2, engine="explicit", dtype="float64")
        for name in pair
    )
    for key in set(one.samples) & set(other.samples):
        np.testing.assert_allclose(one.samples[key], other.samples[key], rtol=1e-9, atol=1e-9)


@pytest.mark.exact
def test_own_definitions(registries: None) -> None:
    def final(x: Value, net: Net) -> Value:
        return net.norm(x)

    @st.placement("my-post", title="Mine", source="here", readout=final)
    def my_post(x: Value, net: Net) -> Value:
        x = net.norm(net.norm(net.add(x, net.attention(x)) * 3) * 0.5)  # norms pass over norms and factors
        return net.norm(net.add(x, net.ffn(x)))

    @st.placement("my-pre", title="Mine", source="here", readout=final)
    def my_pre(x: Value, net: Net) -> Value:
        x = net.add(x, net.attention(-net.norm(x)))  # another sign is another function
        return net.add(x, net.ffn(net.norm(x)))

    @st.placement("my-raw", title="Mine", source="here")
    def my_raw(x: Value, net: Net) -> Value:
        x = net.add(x, net.attention(net.norm(x)))  # PreNorm's blocks, and no norm at the end
        return net.add(x, net.ffn(net.norm(x)))

    assert reduced("my-post") == {"post-norm": "every block"}
    assert reduced("my-pre") == {}
    assert reduced("my-raw") == {}


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean post-norm"):
        st.reduces_to("post-nrm")
    with pytest.raises(InputError, match="belongs to"):
        st.reduces_to("pre-norm", "deepnorm")
    with pytest.raises(InputError, match="expected the name of a placement"):
        st.reduces_to(st.Architecture("pre-norm"))  # type: ignore[arg-type]


def test_a_first_block_of_its_own_is_no_part_of_early_ones(registries: None) -> None:
    @st.placement("own-early", title="t", source="s", readout=lambda x, net: net.norm(x))
    def own_early(x: Value, net: Net) -> Value:
        if net.early(0.25):
            if net.first:
                return net.norm(net.add(x, net.ffn(net.attention(x))))
            y = net.norm(net.add(x, net.attention(x)))
            return net.norm(net.add(y, net.ffn(y)))
        y = net.add(x, net.attention(net.norm(x)))
        return net.add(y, net.ffn(net.norm(y)))

    assert not [one for one in st.reduces_to("own-early") if one.blocks == "the first 1/4 of the blocks"]
    assert "pre-norm" in {one.placement for one in st.reduces_to("own-early")}
