"""What a user reads of a recursion, and that it travels."""

from __future__ import annotations

import pickle

import pytest

from spannorm_theory import Recursion, derive


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "activation"), [("pre-norm", None), ("siamese-norm", None), ("dyt", "gelu")]
)
def test_a_recursion_travels_after_it_was_read(placement: str, activation: str | None) -> None:
    recursion = derive(placement, activation=activation)
    read = recursion.text(), recursion.latex(), recursion.to_dict()
    arrived = pickle.loads(pickle.dumps(recursion))
    assert type(arrived) is Recursion
    assert arrived == recursion
    assert (arrived.text(), arrived.latex(), arrived.to_dict()) == read


@pytest.mark.exact
def test_the_recursion_of_early_blocks_is_one_too() -> None:
    before = derive("mix-ln").before
    assert isinstance(before, Recursion)
    assert "L" in str(before.asymptotics()["gradient_ratio"])
