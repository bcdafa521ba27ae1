"""Laws of streams whose blocks tend to a diagonal matrix: exponents, rivals, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sympy import Integer, Matrix, Max, Rational, Symbol, log, simplify, sqrt

from spannorm_theory import derive
from spannorm_theory.asymptotics import leading_terms as lead
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.asymptotics.laws import moment_law
from spannorm_theory.asymptotics.leading_terms import Leading
from spannorm_theory.asymptotics.near_identity import differences_law, embedding_law
from spannorm_theory.asymptotics.roots import LargestRoot, largest_eigenvalue, real_roots
from spannorm_theory.atlases.check import DEPTHS, mismatch
from spannorm_theory.atlases.trend import evaluate
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm
from spannorm_theory.derivation.iterated import Iteration
from spannorm_theory.render.mathml import law_equation, theta

l, L = symbols.layer, symbols.depth
a, b = symbols.sigma_a2, symbols.sigma_f2
wa, wf = symbols.omega_a2, symbols.omega_f2
GAINS = ((0.3, 0.7, 0.4, 1.1), (1.0, 0.8, 3.0, 2.5), (1.2, 0.9, 0.4, 0.6))

SIAMESE = ("siamese-norm", "siamese-norm-hybrid-pre", "siamese-norm-post-pre")


def terms(law: Growth) -> set[tuple[Any, ...]]:
    """(base, power, log_power) of a law and its rivals."""
    return {(one.base, *map(simplify, (one.power, one.log_power))) for one in (law, *law.rivals)}


class TestLeading:
    @pytest.mark.exact
    def test_sums_products_and_powers(self) -> None:
        q = Symbol("q", positive=True)
        known = {q: Leading(a, (Integer(0), Integer(1)), exact=False)}
        found = lead.leading(wa / (sqrt(q + 1) * (2 * l + 1)), known)
        assert found == Leading(wa / (2 * sqrt(a)), (Integer(-1), Rational(-1, 2)), exact=False)
        found = lead.leading(3 * l**2 + l + sqrt(l), {})
        assert found == Leading(Integer(3), (Integer(2), Integer(0)))
        assert lead.leading(Integer(0), {}) is None

    @pytest.mark.exact
    def test_what_cancels_is_refused(self) -> None:
        with pytest.raises(NoClosedForm, match="cancel"):
            lead.leading(a * l - b * l, {})

    @pytest.mark.exact
    def test_sums_over_blocks(self) -> None:
        minus, zero = Integer(-1), Integer(0)
        assert lead.summable((minus, Rational(-3, 2)))
        assert not lead.summable((minus, minus))
        assert lead.summed((Rational(-1, 2), zero)) == (Rational(1, 2), 0)
        assert lead.summed((minus, zero)) == (0, 1)
        assert lead.summed((Rational(-3, 2), zero)) == (0, 0)
        with pytest.raises(NoClosedForm, match="ln ln"):
            lead.summed((minus, minus))


class TestRoots:
    @pytest.mark.exact
    def test_the_largest_root_as_a_number(self) -> None:
        root = LargestRoot(1, -a - b, a * b)
        assert root.subs({a: 2, b: 5}).evalf() == pytest.approx(5)
        assert real_roots([1, -6, 11, -6]) == pytest.approx([3, 2, 1])
        assert pickle.loads(pickle.dumps(root)) == root

    @pytest.mark.exact
    def test_roots_of_gains_stay_short(self) -> None:
        """A matrix with sqrt(2 (a + b)): the polynomial holds this root at most to the first power."""
        r = sqrt(a + b)
        matrix = Matrix([[-a - b, sqrt(2) * r], [wa / (sqrt(2) * r + 1), 0]])
        root = largest_eigenvalue(matrix)
        values = {a: 0.3, b: 0.9, wa: 1.7}
        expected = max(np.linalg.eigvals(np.array(matrix.subs(values), dtype=float)).real)
        assert float(root.subs(values).evalf()) == pytest.approx(expected, rel=1e-12)

    def test_it_prints(self) -> None:
        law = Growth(power=LargestRoot(1, a, -b))
        assert str(law.shape) == "L**LargestRoot(sigma_a^2*x - sigma_f^2 + x**2)"
        assert str(law) == "Theta(L**p), constant 1; p the largest root of sigma_a^2*x - sigma_f^2 + x**2"
        assert law.latex() == r"L^{p},\quad p = \max\{x : \sigma_{a}^{2} x - \sigma_{f}^{2} + x^{2} = 0\}"
        assert "<mi>max</mi>" in law_equation("q at l=L", law)
        assert "max" not in theta(law)


@pytest.mark.exact
def test_residual_has_an_exponential_or_a_power() -> None:
    """x <- N(x + o) twice, y <- y + o: the gradient comes back through x by lambda a block, or out of the
    readout's norm of y as 1/q_11 ~ 1/L; differences in x shrink by mu, those in y stay, over q_11."""
    recursion = derive("residual", "unit")
    norms = (1 + a) * (1 + b)
    rate = (1 + wa) * (1 + wf) / norms
    assert {(simplify(x - 1), p, e) for x, p, e in terms(embedding_law(recursion))} == {
        (simplify(rate - 1), 0, 0),
        (0, -1, 0),
    }
    law = differences_law(recursion, 1)
    assert {(simplify(x - 1), p, e) for x, p, e in terms(law)} == {
        (simplify((1 + wf) / norms - 1), -1, 0),
        (0, -1, 0),
    }
    assert law.shape.func == Max


@pytest.mark.exact
def test_residual_with_blocks_that_fade() -> None:
    """Variances 1/(l + 1): powers in the place of exponentials, ln L in that of L."""
    recursion = derive("residual", "ds-init-code")
    assert terms(embedding_law(recursion)) == {(1, simplify(wa + wf - a - b), 0), (1, 0, -1)}
    assert terms(differences_law(recursion, 1)) == {(1, simplify(wf - a - b), -1), (1, 0, -1)}


@pytest.mark.exact
@pytest.mark.parametrize("name", SIAMESE)
def test_siamese_norm_has_one_power(name: str) -> None:
    """The matrices of all three tend to one: diagonal -(s/2, (s + 2)/4, 1) and, with the correlation
    1 + r = (sqrt s + sqrt 2)^2/(s + 2), equal rows w/(2 + 2r) (1/2, sqrt(2/s), 1/s) added; s and w are the
    sums of both branches' gains. For omega = sigma the largest eigenvalue is zero: K is conserved."""
    s, w = Symbol("s", positive=True), Symbol("w", positive=True)
    front = w * (s + 2) / (2 * (sqrt(s) + sqrt(2)) ** 2)
    row = [front / 2, front * sqrt(2 / s), front / s]
    diagonal = [-s / 2, -(s + 2) / 4, -1]
    matrix = Matrix(3, 3, lambda i, j: row[j] + (diagonal[i] if i == j else 0))
    recursion = derive(name, "unit")
    for law, which in ((embedding_law(recursion), (2, 3)), (differences_law(recursion, 1), (3,))):
        assert not law.rivals
        for gains in GAINS:
            values = {s: gains[0] + gains[1], w: sum(gains[i] for i in which)}
            expected = max(np.linalg.eigvals(np.array(matrix.subs(values).evalf(), dtype=float)).real)
            assert evaluate(law, gains).power == pytest.approx(expected, rel=1e-9)
    balanced = evaluate(embedding_law(recursion), (0.6, 0.9, 0.6, 0.9))
    assert balanced.power == pytest.approx(0, abs=1e-12)


@pytest.mark.exact
@pytest.mark.parametrize("name", SIAMESE)
def test_siamese_norm_with_blocks_that_fade_has_powers_of_a_logarithm(name: str) -> None:
    """Streams decorrelate, so half of a branch's gradient goes to y, which grows by w/(2 s l ln l), s ln l
    being its second moment."""
    recursion = derive(name, "mitchell")
    law = embedding_law(recursion)
    assert terms(law) == {(1, 0, 0), (1, 0, simplify((wa + wf) / (2 * (a + b)) - 1))}
    law = differences_law(recursion, 1)
    assert terms(law) == {(1, 0, 0), (1, 0, simplify(wf / (2 * (a + b)) - 1))}


@pytest.mark.exact
def test_a_branch_that_fades_faster_does_not_count() -> None:
    """The feed-forward branch falls as 1/l^2: it leaves gradients and differences as they are."""
    recursion = derive("siamese-norm", "olmo-llama-depth")
    assert terms(embedding_law(recursion)) == {(1, 0, 0), (1, 0, simplify(wa / (2 * a) - 1))}
    assert terms(differences_law(recursion, 1)) == {(1, 0, -1)}


@pytest.mark.exact
def test_a_moment_whose_blocks_are_not_rational() -> None:
    """y <- y + o with variances sigma_a^2/sqrt(l) and sigma_f^2/l."""
    recursion = derive("siamese-norm-hybrid-pre", "ds-init-code")
    law = moment_law(recursion, (1, 1))
    assert (law.power, law.prefactor) == (Rational(1, 2), 2 * a)
    assert terms(embedding_law(recursion)) == {(1, 0, 0), (1, simplify(wa / (4 * a) - Rational(1, 2)), 0)}
    with pytest.raises(NoClosedForm, match="the same for two"):
        differences_law(recursion, 1)


@pytest.mark.law
@pytest.mark.parametrize("name", ["residual", "siamese-norm"])
def test_powers_are_those_of_the_iterated_step(name: str) -> None:
    recursion = derive(name, "unit")
    gradient, collapse = embedding_law(recursion), differences_law(recursion, 1)
    for gains in GAINS:
        ends = [Iteration(recursion).ends(depth, gains) for depth in DEPTHS]
        assert mismatch(evaluate(gradient, gains), DEPTHS, [e.gradient for e in ends]) == ""
        assert mismatch(evaluate(collapse, gains), DEPTHS, [e.collapse[1] for e in ends]) == ""


@pytest.mark.exact
def test_rivals_through_sums_powers_and_values() -> None:
    law = Growth(power=a, rivals=(Growth(log_power=-b),))
    more = Growth(rate=log(wa)) + law
    assert [one.rate for one in (more, *more.rivals)] == [log(wa)] * 2
    assert law.times(Integer(2)).rivals[0].log_power == -2 * b
    assert law.subs({b: wf}).rivals[0].log_power == -wf
    assert "max" in law.latex()
    trend = evaluate(law, (0.0, 1.0, 1.0, 1.0))
    assert (trend.power, trend.log_power, len(trend.rivals)) == (0, 0, 1)
    for attempt in (lambda: law + law, lambda: law.times(Integer(-1)), lambda: law.compare(Growth())):
        with pytest.raises(NoClosedForm):
            attempt()
