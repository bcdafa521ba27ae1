"""What a user reads of a recursion, and that it travels."""

from __future__ import annotations

import pickle
import re

import pytest

from spannorm_theory import Recursion, derive
from spannorm_theory.render.equations import stages


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
    where = derive(placement).latex().rpartition(r"\noindent ")[2]
    letters = [r"$q$: second moment", r"$\gamma$:", r"$q_{0}$:", "$L$:", r"$\rho$ their cosine"]
    letters += [rf"$\{gain}_{{{branch}}}^{{2}}$:" for gain in ("sigma", "omega") for branch in "af"]
    assert all(letter in where for letter in letters)
    assert "$d$:" not in where  # which does not occur


@pytest.mark.exact
@pytest.mark.parametrize(
    ("placement", "titles", "formulas"),
    [
        ("span-norm", ["First block", "Every other block"], ["\\gamma &= 1"]),
        ("mix-ln", ["The first L/4 blocks", "The blocks behind them"], [r"\gamma &= \frac{1}{q}"]),
        ("hyper-connections", ["Blocks 0, 2, ...", "Blocks 1, 3, ..."], ["$n_k$: second moment"]),
        ("pre-norm", ["One block"], [r"q_{l} &="]),
        ("dyt", ["One block"], [r"$M_\varphi(q)$"]),
    ],
)
def test_latex_has_every_kind_of_block_and_the_readout(
    placement: str, titles: list[str], formulas: list[str]
) -> None:
    text = derive(placement).latex()
    found = re.findall(r"\\noindent (.*):\n", text)
    assert found[: len(titles) + 1] == [*titles, "Behind the last block, for a gradient of 1 at the output"]
    assert all(formula in text for formula in formulas)


@pytest.mark.exact
def test_the_recursion_of_the_first_block_is_its_own() -> None:
    """SpanNorm's first block norms what attention reads: x/|x| + a, then + f, by hand, at numbers."""
    first, other = (stage.backward[0].rhs for stage in stages(derive("span-norm")))
    q, a, f, alpha, phi = 2.0, 0.3, 0.5, 0.4, 0.7
    known = {"q": q, "sigma_a^2": a, "sigma_f^2": f, "omega_a^2": alpha, "omega_f^2": phi, "gamma'": 1}
    # x -> y = x + a(norm x), norm y -> f; z = x + f, norm z
    back_y = phi / (q + a)  # from f's input to y, for 1 at f's output
    expected = (1 + back_y * (1 + alpha / q)) / (q + f)
    numbers = {symbol: known[symbol.name] for symbol in first.free_symbols}
    assert float(first.subs(numbers)) == pytest.approx(expected)
    back_y = phi / (q * (1 + a))  # attention reads x itself
    expected = (1 + back_y * (1 + alpha)) / (q + f)
    assert float(other.subs({symbol: known[symbol.name] for symbol in other.free_symbols})) == pytest.approx(
        expected
    )


@pytest.mark.exact
def test_one_law_is_written_once_with_all_its_names() -> None:
    text, plain = derive("span-norm").latex(), derive("span-norm").text()
    assert r"\gamma_0 = \gamma_0/\gamma_L &\sim" in text
    assert "gradient at the embedding = gamma_0/gamma_L: Theta(" in plain
    assert (
        "q_00 at l=L: Theta(1), constant 1" in derive("siamese-norm").text()
    )  # as another kind of formula is
    assert r"\gamma_0 &\sim" in derive("pre-norm").latex()  # which the final norm tells apart


@pytest.mark.exact
def test_the_gamma_function_is_told_from_the_gradient() -> None:
    assert "Gamma(L" in derive("pre-norm").text()
    assert "gamma(" not in derive("pre-norm").text()
    assert "Gamma" not in derive("span-norm").text()


@pytest.mark.exact
def test_a_notebook_shows_every_kind_of_block_without_a_network() -> None:
    page = derive("span-norm")._repr_html_()
    assert page.count('<math displaystyle="true">') == 4
    assert "<p>first block:</p>" in page
    assert "<p>every other block:</p>" in page
    assert r"&\text{first block:}" in derive("span-norm")._repr_latex_()
