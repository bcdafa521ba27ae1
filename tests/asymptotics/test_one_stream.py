"""Laws of one stream without a closed form: bounded, by layer, by shares of the depth, and in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sympy import Expr, Integer, Rational, exp, log, simplify, sqrt

from spannorm_theory import derive
from spannorm_theory.asymptotics.blockwise import product_of_blocks, root_law
from spannorm_theory.asymptotics.bounded import Bounded
from spannorm_theory.asymptotics.by_layer import layer_law
from spannorm_theory.asymptotics.by_share import ByShare
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.asymptotics.laws import collapse_law, gradient_law, identity_law, moment_law
from spannorm_theory.asymptotics.leading import Leading
from spannorm_theory.asymptotics.of_closed_forms import growth
from spannorm_theory.atlases.check import DEPTHS, mismatch
from spannorm_theory.atlases.trend import evaluate
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm
from spannorm_theory.derivation.iterated import Iteration
from spannorm_theory.derivation.rank_collapse import opening_factor
from spannorm_theory.derivation.recurrence import Recurrence

l, L = symbols.layer, symbols.depth
a, b = symbols.sigma_a2, symbols.sigma_f2
wa, wf = symbols.omega_a2, symbols.omega_f2
q0 = symbols.initial_variance
GAINS = (0.3, 0.7, 0.4, 1.1)
OPEN = symbols.constant


class TestBounded:
    @pytest.mark.exact
    def test_the_constant_is_open_unless_the_branches_vanish(self) -> None:
        for name in ("dyt", "derf"):
            some, none = Bounded(derive(name, "gpt2")), Bounded(derive(name, "completep"))
            assert {str(law) for law in (some.forward(), some.gradient(), some.collapse())} == {
                "Theta(1), constant C"
            }
            assert (none.forward().prefactor, none.gradient().prefactor) == (q0, 1)
            assert none.collapse().prefactor == 1

    @pytest.mark.parametrize(
        ("name", "scaling", "word"),
        [
            ("dyt", "unit", "power of the depth"),
            ("derf", "lns", "logarithm of the depth"),
            ("mix-ln", "gpt2", "early blocks differ"),
            ("residual", "gpt2", "several streams"),
        ],
    )
    def test_what_grows_is_refused(self, name: str, scaling: str, word: str) -> None:
        with pytest.raises(NoClosedForm, match=word):
            Bounded(derive(name, scaling))

    @pytest.mark.exact
    def test_gains_that_norms_divide_by_are_no_obstacle(self) -> None:
        laws = Bounded(derive("output-norm", "deepscalelm"))
        assert laws.gradient().prefactor == laws.collapse().prefactor == OPEN


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
    def test_factors_on_the_scale_of_the_root_of_the_depth(self) -> None:
        """prod (l + K + a)/(l + K) with K = b sqrt(L): Gamma(L + K + a)/Gamma(L + K) over
        Gamma(K + a)/Gamma(K), that is (L/K)^a."""
        law = root_law(1 + a / (l + b * sqrt(L)), Integer(0))
        assert law.power == a / 2
        assert simplify(law.prefactor - b**-a) == 0
        with pytest.raises(NoClosedForm, match="pole"):
            root_law(1 + a / (l - b * sqrt(L)), Integer(0))
        with pytest.raises(NoClosedForm, match="as 1/sqrt"):
            root_law(1 + a / (l + b * sqrt(L)) ** 2, Integer(0))
        with pytest.raises(NoClosedForm, match="simple poles"):
            root_law(1 + a * sqrt(L) / (l + b * sqrt(L)) ** 2, Integer(0))

    @pytest.mark.exact
    def test_a_refusal_has_all_reasons(self) -> None:
        with pytest.raises(NoClosedForm) as caught:
            product_of_blocks(1 + a ** sqrt(l / L), Integer(0))
        assert len(str(caught.value).split("; ")) > 2
        with pytest.raises(NoClosedForm, match="do not tend to one"):
            layer_law(2 + sqrt(l))

    @pytest.mark.exact
    def test_a_second_moment_of_known_order(self) -> None:
        """sub-ln under 1/sqrt(l): q ~ 2 (sigma_a^2 + sigma_f^2) sqrt(l)."""
        laws = Leading(derive("sub-ln", "ds-init-code"))
        assert simplify(laws.forward().prefactor - 2 * (a + b)) == 0
        assert simplify(laws.gradient().power - (wa + wf) / (2 * (a + b))) == 0
        assert simplify(laws.collapse().power - (wf / (a + b) - 1) / 2) == 0
        with pytest.raises(NoClosedForm):
            Leading(derive("pre-norm", "deepscalelm"))
        with pytest.raises(NoClosedForm, match="its blocks differ"):
            Leading(derive("mix-ln", "gpt2"))


class TestShares:
    @pytest.mark.exact
    def test_late_blocks_whose_branches_fade(self) -> None:
        """q = 1 + s ln(4 t), s = (sigma_a^2 + sigma_f^2)/2, from a quarter of the depth on."""
        recursion = derive("mix-ln", "mitchell")
        laws, grown = ByShare(recursion), 1 + (a + b) * log(2)
        assert simplify(laws.forward().prefactor - grown) == 0
        early = growth(recursion.opening_ratio, L), growth(opening_factor(recursion), L)
        powers = (wa + wf) / (a + b), wf / (a + b) - 1
        for law, before, power in zip((laws.gradient(), laws.collapse()), early, powers, strict=True):
            assert law.power == before.power
            assert simplify(law.constant - before.constant - power * log(grown)) == 0

    @pytest.mark.exact
    def test_an_exponential_approach_from_the_start(self) -> None:
        """dq/dt = s - 2 q: q = s/2 + (q_0 - s/2) exp(-2 t); the gradient grows by exp int (w/q - 2) dt."""
        laws, s, w = ByShare(derive("pre-norm", "deepscalelm")), a + b, wa + wf
        last = s / 2 + (q0 - s / 2) * exp(-2)
        numbers = {a: Rational(3, 10), b: Rational(7, 10), wa: Rational(2, 5), wf: Rational(11, 10), q0: 2}
        expected = (last / q0) ** (w / s) * exp(2 * w / s - 2)
        assert abs((laws.forward().prefactor - last).subs(numbers).evalf()) < 1e-12
        assert abs((laws.gradient().prefactor - expected).subs(numbers).evalf()) < 1e-12

    @pytest.mark.parametrize(
        ("name", "scaling", "word"),
        [
            ("pre-norm", "unit", "does not change its stream by 1/L"),
            ("pre-norm", "layer-index", "first blocks decide"),
            ("post-norm", "gpt2", "a norm fixes"),
            ("derf", "gpt2", "not rational in l and L"),
        ],
    )
    def test_what_is_refused(self, name: str, scaling: str, word: str) -> None:
        with pytest.raises(NoClosedForm, match=word):
            ByShare(derive(name, scaling)).forward()


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
        ("sub-ln", "deepnorm-init"),
        ("mix-ln", "olmo-llama-depth"),
        ("mix-ln", "ds-init"),
        ("b2t", "layer-index"),
    ],
)
def test_laws_are_those_of_the_iterated_step(name: str, scaling: str) -> None:
    recursion = derive(name, scaling)
    ends = [Iteration(recursion).ends(depth, GAINS) for depth in DEPTHS]
    found = {
        "forward": (moment_law(recursion, (0, 0)), [e.forward[0] for e in ends]),
        "gradient": (gradient_law(recursion), [e.gradient for e in ends]),
        "collapse": (collapse_law(recursion), [e.collapse[0] for e in ends]),
        "identity": (identity_law(recursion, 0), [e.identity[0] for e in ends]),
    }
    for law, logs in found.values():
        trend = evaluate(law, GAINS)
        assert mismatch(trend, DEPTHS, logs) == ""
        for power in (0.03, -0.03):
            off = law + Growth(power=Rational(power).limit_denominator(100))
            assert mismatch(evaluate(off, GAINS), DEPTHS, logs)


@pytest.mark.parametrize(
    ("law", "word"), [(gradient_law, "product of matrices"), (collapse_law, "its own law")]
)
def test_several_streams_are_refused(law: Callable[[Recurrence], Growth], word: str) -> None:
    with pytest.raises(NoClosedForm, match=word):
        law(derive("residual", "gpt2"))


@pytest.mark.exact
def test_powers_of_hybrid_norm_and_of_sub_ln() -> None:
    gradient = gradient_law(derive("hybrid-norm", "ds-init-code"))
    assert simplify(gradient.stretched[0][1] - 2 * (wa - a)) == 0
    assert simplify(gradient.power - (wf - b + (a**2 - wa**2) / 2)) == 0
    power: Expr = gradient_law(derive("sub-ln", "deepnorm-init")).power
    assert simplify(power - (wa + wf) / (2 * (a + b))) == 0


@pytest.mark.exact
def test_decimal_gains_give_laws_or_reasons() -> None:
    """Of an activation without a closed form; sympy fails to factor some formulas with decimals."""
    found = derive("normformer", "deepscalelm", activation="swiglu").asymptotics()
    assert isinstance(found["gamma_0/gamma_L"], Growth)
    assert isinstance(found["(1-rho_L)/(1-rho_0)"], Growth)
