"""Laws of one stream without a closed form: of its blocks' factors, or near the identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import GAINS, equal
from sympy import Integer, Rational, sqrt

import spannorm_theory as st
from spannorm_theory import derive
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.asymptotics.laws import (
    collapse_law,
    embedding_law,
    identity_law,
    moment_law,
    ratio_law,
)
from spannorm_theory.asymptotics.near_identity import NearIdentity
from spannorm_theory.asymptotics.of_products import layer_law, product_of_blocks
from spannorm_theory.atlases.check import DEPTHS, mismatch
from spannorm_theory.atlases.trend import evaluate
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm
from spannorm_theory.derivation.iteration import Iteration
from spannorm_theory.derivation.recurrence import Recurrence

l, L = symbols.layer, symbols.depth
a, b = symbols.sigma_a2, symbols.sigma_f2
wa, wf = symbols.omega_a2, symbols.omega_f2
q0 = symbols.initial_variance
OPEN = symbols.constant


class TestNearIdentity:
    @pytest.mark.exact
    def test_the_constant_is_open_unless_the_branches_vanish(self) -> None:
        for name in ("dyt", "derf"):
            some, none = derive(name, "gpt2"), derive(name, "completep")
            laws = [moment_law(some, (0, 0)), ratio_law(some), collapse_law(some)]
            assert {str(law) for law in laws} == {"Theta(1), constant C"}
            assert moment_law(none, (0, 0)).prefactor == q0
            assert ratio_law(none).prefactor == collapse_law(none).prefactor == 1

    @pytest.mark.parametrize(
        ("name", "scaling", "word"),
        [
            ("dyt", "unit", "power of the depth"),
            ("derf", "lns", "logarithm of the depth"),
            ("mix-ln", "gpt2", "early blocks differ"),
        ],
    )
    def test_what_grows_is_refused(self, name: str, scaling: str, word: str) -> None:
        with pytest.raises(NoClosedForm, match=word):
            NearIdentity(derive(name, scaling))

    @pytest.mark.usefixtures("registries")
    def test_a_function_that_grows_faster_than_its_input_is_refused(self) -> None:
        st.activation("square", np.square, lambda x: x.square())

        @st.placement("square-pre", title="squares for norms", source="test")
        def square_pre(x: Any, net: Any) -> Any:
            """Squares in front of both branches."""
            x = net.add(x, net.attention(net.pointwise(x, "square")))
            return net.add(x, net.ffn(net.pointwise(x, "square")))

        with pytest.raises(NoClosedForm, match="square grows faster"):
            moment_law(derive("square-pre", "completep"), (0, 0))

    @pytest.mark.exact
    def test_gains_that_norms_divide_by_are_no_obstacle(self) -> None:
        near = NearIdentity(derive("output-norm", "deepscalelm"))
        assert near.product(lambda step: step.backward_terms[0, 0]).prefactor == OPEN


class TestProducts:
    @pytest.mark.exact
    def test_factors_by_layer_alone(self) -> None:
        """ln(1 + a/sqrt(l)) = a/sqrt(l) - a^2/(2 l) + ..., with l + 1 for l."""
        law = layer_law(1 + a / sqrt(l + 1))
        assert law.stretched == ((Rational(1, 2), 2 * a),)
        assert law.power == -(a**2) / 2
        assert law.prefactor == OPEN
        assert layer_law(sqrt(1 + 2 * a / (l + 1))).power == a

    @pytest.mark.exact
    def test_a_refusal_has_all_reasons(self) -> None:
        with pytest.raises(NoClosedForm) as caught:
            product_of_blocks(1 + a ** sqrt(l / L), Integer(0))
        assert len(str(caught.value).split("; ")) > 2
        with pytest.raises(NoClosedForm, match="do not tend to one"):
            layer_law(2 + sqrt(l))


@pytest.mark.law
@pytest.mark.parametrize(
    ("name", "scaling"),
    [
        ("dyt", "depth-mup"),
        ("derf", "deepscalelm"),
        ("ln-scaling", "deepscalelm"),
        ("olmo2", "deepscalelm"),
        ("hybrid-norm", "ds-init-code"),
        ("normformer", "deepnorm-init"),
        ("mix-ln", "olmo-llama"),
        ("b2t", "layer-index"),
    ],
)
def test_laws_are_those_of_the_iterated_step(name: str, scaling: str) -> None:
    recursion = derive(name, scaling)
    ends = [Iteration(recursion).run(depth, GAINS).ends() for depth in DEPTHS]
    found = {
        "forward": (moment_law(recursion, (0, 0)), [e.forward[0] for e in ends]),
        "ratio": (ratio_law(recursion), [e.ratio for e in ends]),
        "gradient": (embedding_law(recursion), [e.gradient for e in ends]),
        "collapse": (collapse_law(recursion), [e.collapse[0] for e in ends]),
        "identity": (identity_law(recursion, 0), [e.identity[0] for e in ends]),
    }
    for law, logs in found.values():
        trend = evaluate(law, GAINS)
        assert mismatch(trend, DEPTHS, logs) == ""
        for power in (0.03, -0.03):
            off = law + Growth(power=Rational(power).limit_denominator(100))
            assert mismatch(evaluate(off, GAINS), DEPTHS, logs)


@pytest.mark.parametrize(("law", "word"), [(ratio_law, "product of matrices"), (collapse_law, "its own law")])
def test_several_streams_are_refused(law: Callable[[Recurrence], Growth], word: str) -> None:
    with pytest.raises(NoClosedForm, match=word):
        law(derive("residual", "gpt2"))


@pytest.mark.exact
def test_powers_of_hybrid_norm() -> None:
    gradient = ratio_law(derive("hybrid-norm", "ds-init-code"))
    assert equal(gradient.stretched[0][1], 2 * (wa - a))
    assert equal(gradient.power, wf - b + (a**2 - wa**2) / 2)


@pytest.mark.exact
def test_decimal_gains_give_laws_or_reasons() -> None:
    """Of an activation without a closed form; sympy fails to factor some formulas with decimals."""
    found = derive("normformer", "deepscalelm", activation="swiglu").asymptotics()
    assert isinstance(found["gradient_ratio"], Growth)
    assert isinstance(found["collapse"], Growth)
