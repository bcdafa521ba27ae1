"""Blocks that differ by their place in the stack."""

from __future__ import annotations

from typing import Any

import pytest

from spannorm_theory import Architecture
from spannorm_theory.base.errors import InputError

MIXED: dict[str, Any] = {"depth": 5, "experts": 8, "top_k": 2, "ffn_width": 64, "dense_layers": 2}


@pytest.mark.exact
def test_the_first_blocks_are_dense() -> None:
    arch = Architecture("pre-norm", **MIXED, dense_ffn_width=300)
    (dense, routed), order = arch.wirings
    assert order == (0, 0, 1, 1, 1)
    assert dense[0] == routed[0]
    assert dense[1] == Architecture("pre-norm", depth=5, ffn_width=300) == arch.at(1)
    assert routed[1] == arch == arch.at(2)
    assert "ffn.router" not in dense[1].weights
    assert Architecture.parse(str(arch)) == arch


@pytest.mark.exact
def test_dense_blocks_beside_those_of_a_placement() -> None:
    arch = Architecture("peri-ln", **MIXED)
    wirings, order = arch.wirings
    assert order == (0, 1, 2, 2, 2)
    assert [own.experts for _, own in wirings] == [1, 1, 8]
    assert wirings[0][0] != wirings[1][0] == wirings[2][0]


@pytest.mark.exact
def test_a_dense_width_of_an_expert_is_none_of_its_own() -> None:
    same = Architecture("pre-norm", **MIXED, dense_ffn_width=64)
    assert same == Architecture("pre-norm", **MIXED)
    assert "dense_ffn_width" not in str(same)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts": 1, "top_k": 1}, "dense_layers=2 needs experts of at least 2"),
        ({"depth": 2}, "leave no block to experts; use experts=1"),
        ({"dense_layers": 0, "dense_ffn_width": 64}, "has no effect without dense blocks"),
        ({"dense_layers": -1}, "dense_layers must be"),
    ],
)
def test_what_is_no_stack_of_both(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Architecture("pre-norm", **{**MIXED, **changes})
