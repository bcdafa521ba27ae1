"""Formulas in plain letters read as print, and words stay words."""

from __future__ import annotations

import pytest

from spannorm_theory.render.typeset import raised, typeset

FORMULAS = {
    "x < ``y_0 * sqrt(2)``": "x &lt; <code>y_0 * sqrt(2)</code>",
    "skips x sqrt(2L), value path x (8L)^(-1/4)": "skips × √(2L), value path × (8L)<sup>−1/4</sup>",
    "omega_i^2 = (n+1)/ln(n+1) - 1": "ω<sub>i</sub><sup>2</sup> = (n+1)/ln(n+1) − 1",
    "rates -log(sigma_f^2 + 1)/2": "rates −ln(σ<sub>f</sub><sup>2</sup> + 1)/2",
    "sqrt(q_00)*sqrt(q_11) <= q_0": "√(q<sub>00</sub>)·√(q<sub>11</sub>) ≤ q<sub>0</sub>",
    "std of fan-in^(-gamma), 1/sqrt(L)": "std of fan-in<sup>−γ</sup>, 1/√L",
    "x <- N(x_j), 10^-3, (base/L)^alpha": "x ← N(x<sub>j</sub>), 10<sup>−3</sup>, (base/L)<sup>α</sup>",
}

#: a sum is no product, a name of code or of a rule no letter, and a hyphen no minus
WORDS = (
    "omega x + F(x)",
    "r x + m x0, then PreNorm",
    "gamma-init",
    "scale_emb and attn.output",
    "non-normed, 16-bit",
    "the log of q",
)


@pytest.mark.exact
@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_set(text: str) -> None:
    assert typeset(text) == FORMULAS[text]


@pytest.mark.exact
@pytest.mark.parametrize("text", WORDS)
def test_words_stay(text: str) -> None:
    assert typeset(text) == text.replace("omega", "ω")


@pytest.mark.exact
def test_what_is_html_stays_text() -> None:
    assert typeset("<b>2^2</b>") == "&lt;b&gt;2<sup>2</sup>&lt;/b&gt;"
    assert raised("e^(-0.2 L^0.5) & L^-1.07") == "e<sup>−0.2 L<sup>0.5</sup></sup> &amp; L<sup>−1.07</sup>"
