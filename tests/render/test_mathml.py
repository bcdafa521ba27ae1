"""Formulas as MathML: the names of the symbols come out as they are written on paper."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from sympy import Expr, exp, gamma, harmonic, sqrt

from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.base import symbols as s
from spannorm_theory.render import mathml
from spannorm_theory.render.recursion import derive
from spannorm_theory.spec.placements import STANDARD

SIGMA_A = "<msubsup><mi>σ</mi><mi>a</mi><mn>2</mn></msubsup>"
PLUS_ONE = f"<mrow>{SIGMA_A}<mo>+</mo><mn>1</mn></mrow>"


@pytest.mark.exact
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (s.sigma_a2, SIGMA_A),
        (s.sigma_a2**2, SIGMA_A.replace("<mn>2", "<mn>4")),
        (s.initial_variance, "<msub><mi>q</mi><mn>0</mn></msub>"),
        (s.stream_moment(s.variance, 0, 1, 2), "<msub><mi>q</mi><mn>01</mn></msub>"),
        (s.after(s.variance), "<msup><mi>q</mi><mo>′</mo></msup>"),
        (
            s.after(s.stream_moment(s.grad_variance, 0, 1, 2)),
            "<msubsup><mi>γ</mi><mn>01</mn><mo>′</mo></msubsup>",
        ),
        (s.variance * s.sigma_a2, f"<mrow><mi>q</mi><mo>\u2062</mo>{SIGMA_A}</mrow>"),
        (1 / s.variance, "<mfrac><mn>1</mn><mi>q</mi></mfrac>"),
        (sqrt(s.variance), "<msqrt><mi>q</mi></msqrt>"),
        (-s.layer, "<mrow><mo>−</mo><mi>l</mi></mrow>"),
        (s.depth - 1, "<mrow><mi>L</mi><mo>−</mo><mn>1</mn></mrow>"),
        (gamma(s.depth), "<mrow><mi>Γ</mi><mo>\u2061</mo><mrow><mo>(</mo><mi>L</mi><mo>)</mo></mrow></mrow>"),
        (harmonic(s.layer), "<msub><mi>H</mi><mi>l</mi></msub>"),
        (exp(s.sigma_a2), f"<msup><mi>e</mi>{SIGMA_A}</msup>"),
        (
            (s.sigma_a2 + 1) ** (-s.depth / 2),
            f"<msup><mrow><mo>(</mo>{PLUS_ONE}<mo>)</mo></mrow>"
            "<mrow><mo>−</mo><mrow><mi>L</mi><mo>/</mo><mn>2</mn></mrow></mrow></msup>",
        ),
    ],
)
def test_names_and_forms(expression: Expr, expected: str) -> None:
    assert mathml.markup(expression) == expected


@pytest.mark.exact
@pytest.mark.parametrize("name", list(STANDARD))
def test_everything_derived_prints_as_well_formed_mathml(name: str) -> None:
    recursion = derive(name, "depth-scaled-init")
    formulas = [mathml.equation(equation) for equation in (*recursion.forward, *recursion.backward)]
    formulas += [
        mathml.display(mathml.quantity(key), "=", mathml.markup(value))
        for key, value in recursion.closed_form().found.items()
    ]
    for key, law in recursion.asymptotics().items():
        if isinstance(law, Growth):
            formulas += [mathml.theta(law), mathml.law_equation([key], law)]
    for formula in formulas:
        root = ElementTree.fromstring(formula)
        words = {element.text for element in root.iter("mi")}
        assert not {word for word in words if word and ("_" in word or "^" in word or len(word) > 1)}


@pytest.mark.exact
def test_names_of_quantities() -> None:
    assert mathml.quantity("q") == "<msub><mi>q</mi><mi>l</mi></msub>"
    assert mathml.quantity("q", "L") == "<msub><mi>q</mi><mi>L</mi></msub>"
    assert "<mn>01</mn><mo>,</mo><mi>L</mi>" in mathml.quantity("q_01", "L")
    assert mathml.quantity("identity_gain_1") == "<mtext>identity gain 1</mtext>"
    assert mathml.quantity("gradient_ratio").count("<mi>γ</mi>") == 2
    assert mathml.quantity("collapse_1").count("<mn>1</mn><mo>,</mo>") == 2
