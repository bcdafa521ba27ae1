"""Laws of streams whose branches read a saturating function: constants, formulas, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from sympy import Expr, Integer, Rational, pi, simplify, sqrt

from spannorm_theory import derive
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.asymptotics.laws import COLLAPSE, collapse_law, gradient_law, moment_law
from spannorm_theory.asymptotics.levelled import levelled, saturation
from spannorm_theory.asymptotics.saturating import Saturating
from spannorm_theory.atlases.check import DEEPER, mismatch
from spannorm_theory.atlases.trend import evaluate
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm
from spannorm_theory.derivation.iterated import Iteration
from spannorm_theory.gaussian.activations import ACTIVATIONS
from spannorm_theory.gaussian.elementwise import one_token

a, b = symbols.sigma_a2, symbols.sigma_f2
wa, wf = symbols.omega_a2, symbols.omega_f2
GAINS = (0.3, 0.7, 0.4, 1.1)


@pytest.mark.exact
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_constants_are_integrals_over_the_line_and_limits_of_the_moments(name: str) -> None:
    entry, found = ACTIVATIONS[name], ACTIVATIONS[name].saturation
    assert found is not None
    limit, step = float(found.limit), 1e-4

    def deficit(x: float) -> float:
        return limit - float(entry.function(np.array(x))) ** 2

    def slope(x: float) -> float:
        near = entry.function(np.array(x + step)) - entry.function(np.array(x - step))
        return float(near / (2 * step)) ** 2

    assert quad(deficit, -30, 30)[0] == pytest.approx(float(found.deficit), rel=1e-9)
    assert quad(slope, -30, 30)[0] == pytest.approx(float(found.slope), rel=1e-6)
    table = one_token(name)
    for q in (1e4, 1e6):
        value, slopes = (float(x) for x in found.moments(Integer(int(q)) ** Rational(-1, 2)))
        assert abs(table.value(q) - value) < 0.4 * q**-1.5
        assert abs(table.slope(q) - slopes) < 0.1 * q**-1.5


def _is(law: Growth, **expected: Expr) -> bool:
    return all(simplify(getattr(law, name) - value) == 0 for name, value in expected.items())


@pytest.mark.exact
def test_derf_without_scaling() -> None:
    """M = 1 - (4/pi)/sqrt(q) and S/4 = 1/(pi sqrt(q)) of erf(x/2): with s = sigma_a^2 + sigma_f^2, alpha is
    (omega_a^2 + omega_f^2)/pi, beta is -(omega_a^4 + omega_f^4)/(2 pi^2) and kappa is 4 s/pi."""
    recursion, s = derive("derf", "unit"), a + b
    forward, gradient = moment_law(recursion, (0, 0)), gradient_law(recursion)
    assert _is(forward, power=Integer(1), rate=Integer(0))
    assert simplify(forward.prefactor - s) == 0
    assert _is(gradient, power=(4 * (wa + wf) / pi**2 - (wa**2 + wf**2) / (2 * pi**2)) / s)
    ((root, rate),) = gradient.stretched
    assert root == Rational(1, 2)
    assert simplify(rate - 2 * (wa + wf) / (pi * sqrt(s))) == 0
    assert gradient.prefactor == symbols.constant
    # 1 - rho keeps the feed-forward part, and is divided by q
    collapse = collapse_law(recursion)
    assert _is(collapse, power=(4 * wf / pi**2 - wf**2 / (2 * pi**2)) / s - 1)
    assert simplify(collapse.stretched[0][1] - 2 * wf / (pi * sqrt(s))) == 0


@pytest.mark.exact
def test_dyt_with_branches_that_fade_as_one_over_the_index() -> None:
    """With half of every gain, alpha = (1/3) (omega_a^2 + omega_f^2)/sqrt(2 pi) and kappa = 4 s/sqrt(2 pi),
    in ln L; squares of omega fade as 1/l^2."""
    recursion, s = derive("dyt", "mitchell"), (a + b) / 2
    forward, gradient = moment_law(recursion, (0, 0)), gradient_law(recursion)
    assert _is(forward, power=Integer(0), log_power=Integer(1))
    assert simplify(forward.prefactor - s) == 0
    alpha = Rational(1, 3) / sqrt(2 * pi) * (wa + wf)
    assert _is(gradient, power=Integer(0), log_power=alpha * 4 / sqrt(2 * pi) / s)
    ((root, rate),) = gradient.log_stretched
    assert root == Rational(1, 2)
    assert simplify(rate - 2 * alpha / sqrt(s)) == 0
    assert gradient.stretched == ()
    # of the branches of olmo-llama-depth only attention adds as much as 1/l, and it levels tokens
    assert _is(collapse_law(derive("dyt", "olmo-llama-depth")), log_power=Integer(-1))


@pytest.mark.law
def test_a_law_that_is_a_little_off_does_not_fit_the_iterated_step() -> None:
    recursion = derive("derf", "unit")
    ends = [Iteration(recursion).ends(depth, GAINS) for depth in DEEPER]
    logs = {"gradient": [e.gradient for e in ends], "collapse": [e.collapse[0] for e in ends]}
    for quantity, law in (("gradient", gradient_law), ("collapse", collapse_law)):
        trend = evaluate(law(recursion), GAINS)
        assert mismatch(trend, DEEPER, logs[quantity]) == ""
        for wrong in (
            {"power": trend.power + 0.05},
            {"power": trend.power - 0.05},
            {"rate": trend.rate * 1.005},
            {"rate": trend.rate * 0.995},
            {"root": 0.49},
        ):
            assert mismatch(replace(trend, **wrong), DEEPER, logs[quantity])


@pytest.mark.exact
def test_moments_by_name_leave_a_linear_step() -> None:
    step = levelled(derive("dyt", "gpt2")).step
    (q,) = (s for s in step.forward[0, 0].free_symbols if s == symbols.variance)
    assert step.forward[0, 0].diff(q) == 1
    assert {str(s) for s in step.forward[0, 0].free_symbols} >= {"m_2", "m_6"}
    recursion = derive("pre-norm")
    assert levelled(recursion) is recursion


@pytest.mark.parametrize(
    ("name", "scaling", "word"),
    [
        ("siamese-norm", "unit", "several streams"),
        ("pre-norm", "unit", "no branch reads"),
        ("dyt", "gpt2", "not rational in l"),
        ("dyt", "ds-init", "behaves as l\\^-2"),
    ],
)
def test_what_is_refused(name: str, scaling: str, word: str) -> None:
    with pytest.raises(NoClosedForm, match=word):
        Saturating(derive(name, scaling))


def test_a_function_that_does_not_level_off_is_refused() -> None:
    branch = derive("dyt").block.trace.branches[0]
    assert saturation(branch) is ACTIVATIONS["tanh"].saturation
    with pytest.raises(NoClosedForm, match="gelu is not registered with a saturation"):
        saturation(replace(branch, kind="gelu"))


def test_their_names_among_the_laws() -> None:
    found = derive("dyt", "lns").asymptotics()
    assert "sqrt(log(L))" in str(found["gamma_0/gamma_L"])
    assert isinstance(found[COLLAPSE], Growth)
    assert r"\sqrt{\log{\left(L \right)}}" in derive("dyt", "lns").latex()
