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


@pytest.mark.exact
@pytest.mark.parametrize("placement", ["span-norm", "siamese-norm"])
def test_latex_says_what_every_letter_means(placement: str) -> None:
    where = derive(placement).latex().partition(r"\noindent ")[2]
    letters = [r"$q$: second moment", r"$\gamma$:", r"$q_{0}$:", "$L$:", r"$\rho$:"]
    letters += [rf"$\{gain}_{{{branch}}}^{{2}}$:" for gain in ("sigma", "omega") for branch in "af"]
    assert all(letter in where for letter in letters)
    assert "$d$:" not in where  # which does not occur


@pytest.mark.exact
def test_the_gamma_function_is_told_from_the_gradient() -> None:
    assert "Gamma(L" in derive("pre-norm").text()
    assert "gamma(" not in derive("pre-norm").text()
    assert "Gamma" not in derive("span-norm").text()
