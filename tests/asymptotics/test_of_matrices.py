"""Laws of streams whose blocks tend to a diagonal matrix as 1/l: exponents, rivals, and what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sympy import Expr, Integer, Matrix, Max, Symbol, ones, simplify, sqrt

from spannorm_theory import derive
from spannorm_theory.asymptotics.coupled_streams import coupled_law, differences_law
from spannorm_theory.asymptotics.eigenvalue import LargestEigenvalue
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.asymptotics.of_matrices import law_of_matrices
from spannorm_theory.atlases.check import DEPTHS, mismatch
from spannorm_theory.atlases.trend import evaluate
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm
from spannorm_theory.derivation.iteration import Iteration
from spannorm_theory.derivation.recurrence import Recurrence
from spannorm_theory.render.mathml import law_equation, theta

l, L = symbols.layer, symbols.depth
a, b = symbols.sigma_a2, symbols.sigma_f2
wa, wf = symbols.omega_a2, symbols.omega_f2
GAINS = ((0.3, 0.7, 0.4, 1.1), (1.0, 0.8, 3.0, 2.5), (1.2, 0.9, 0.4, 0.6))

SIAMESE = ("siamese-norm", "siamese-norm-hybrid-pre", "siamese-norm-post-pre")


def terms(law: Growth) -> set[tuple[Any, ...]]:
    """(base - 1, power) of a law and its rivals."""
    return {(simplify(one.base - 1), simplify(one.power)) for one in (law, *law.rivals)}


class TestLargestEigenvalue:
    matrix = Matrix([[-a, sqrt(a + b)], [wa / (sqrt(a + b) + 1), b]])
    law = Growth(power=LargestEigenvalue(*matrix))

    @pytest.mark.exact
    def test_as_a_number(self) -> None:
        values = {a: 0.3, b: 0.9, wa: 1.7}
        expected = max(np.linalg.eigvals(np.array(self.matrix.subs(values), dtype=float)).real)
        assert float(self.law.power.subs(values).evalf()) == pytest.approx(expected, rel=1e-12)
        assert evaluate(self.law, (0.3, 0.9, 1.7, 1.0)).power == pytest.approx(expected, rel=1e-12)
        assert pickle.loads(pickle.dumps(self.law)) == self.law

    def test_it_prints(self) -> None:
        law = Growth(power=LargestEigenvalue(-a, 1, b, wa))
        assert str(law.shape) == "L**LargestEigenvalue([[-sigma_a^2, 1], [sigma_f^2, omega_a^2]])"
        written = (
            "Theta(L**p), constant 1; p the largest eigenvalue of [[-sigma_a^2, 1], [sigma_f^2, omega_a^2]]"
        )
        assert str(law) == written
        rows = r"\begin{matrix}- \sigma_{a}^{2} & 1\\\sigma_{f}^{2} & \omega_{a}^{2}\end{matrix}"
        assert law.latex() == rf"L^{{p}},\quad p = \lambda_{{\max}}\left[{rows}\right]"
        assert law_equation(["q"], law).count("<mtr>") == 2
        assert "mtr" not in theta(law)


@pytest.mark.exact
def test_residual_has_an_exponential_or_a_power() -> None:
    """x <- N(x + o) twice, y <- y + o: the gradient comes back through x by lambda a block, or out of the
    readout's norm of y as 1/q_11 ~ 1/L; differences in x shrink by mu, those in y stay, over q_11."""
    recursion = derive("residual", "unit")
    norms = (1 + a) * (1 + b)
    rate = simplify((1 + wa) * (1 + wf) / norms - 1)
    assert terms(coupled_law(recursion)) == {(rate, 0), (0, -1)}
    law = differences_law(recursion, 1)
    shrunk = simplify((1 + wf) / norms - 1)
    assert terms(law) == {(shrunk, -1), (0, -1)}
    assert law.shape.func == Max
    # x hears nothing of y
    assert terms(differences_law(recursion, 0)) == {(shrunk, 0)}


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
    for law, which in ((coupled_law(recursion), (2, 3)), (differences_law(recursion, 1), (3,))):
        assert not law.rivals
        for gains in GAINS:
            values = {s: gains[0] + gains[1], w: sum(gains[i] for i in which)}
            expected = max(np.linalg.eigvals(np.array(matrix.subs(values).evalf(), dtype=float)).real)
            assert evaluate(law, gains).power == pytest.approx(expected, rel=1e-9)
    balanced = evaluate(coupled_law(recursion), (0.6, 0.9, 0.6, 0.9))
    assert balanced.power == pytest.approx(0, abs=1e-12)


@pytest.mark.law
@pytest.mark.parametrize(("name", "off"), [("residual", 0.1), *((name, 0.03) for name in SIAMESE)])
def test_powers_are_those_of_the_iterated_step(name: str, off: float) -> None:
    """residual's corrections fall as the root of the depth, so that a smaller error could pass."""
    recursion = derive(name, "unit")
    gradient, collapse = coupled_law(recursion), differences_law(recursion, 1)
    for gains in GAINS:
        ends = [Iteration(recursion).run(depth, gains).ends() for depth in DEPTHS]
        for law, logs in ((gradient, [e.gradient for e in ends]), (collapse, [e.collapse[1] for e in ends])):
            trend = evaluate(law, gains)
            assert mismatch(trend, DEPTHS, logs) == ""
            for wrong in (trend.power + off, trend.power - off):
                assert mismatch(replace(trend, power=wrong), DEPTHS, logs)


def of(matrix: list[list[Expr]], end: list[Expr]) -> Growth:
    """The law of matrices that are handed in, for streams that stay as they start."""
    return law_of_matrices(Recurrence.of("residual", "completep"), lambda _: Matrix(matrix), end)


class TestMatrices:
    """Of three pairs of streams whose moments tend to constants."""

    @pytest.mark.exact
    def test_pairs_with_one_limit_grow_together(self) -> None:
        block = [[1 - a / l, b / l, 0], [wa / l, 1, 0], [0, 0, Integer(1) / 2]]
        law = of(block, [1, 1, 1])
        assert not law.rivals
        assert law.base == 1
        assert law.power.subs(symbols.initial_variance, 1) == LargestEigenvalue(-a, b, wa, 0)

    @pytest.mark.exact
    def test_a_pair_that_is_not_read_is_seen_through_those_it_feeds(self) -> None:
        block = [[a, wa / l**2, 0], [0, 1 - b / l, 0], [0, 0, Integer(1) / 2]]
        assert terms(of(block, [0, 1, 0])) == {(a - 1, -2), (0, -b)}
        assert terms(of(block, [1, 0, 0])) == {(a - 1, 0)}

    @pytest.mark.exact
    def test_what_is_always_smaller_is_left_out(self) -> None:
        block = [[1 / (1 + a), wa / l, 0], [0, 1, 0], [0, 0, 1 / (1 + b) ** 2]]
        assert terms(of(block, [1, 1, 0])) == {(0, 0)}

    @pytest.mark.parametrize(
        ("entries", "word"),
        [
            ({(0, 0): 1 + a / sqrt(l + 1)}, "does not tend to a constant as 1/l"),
            ({(0, 1): wa / sqrt(l), (1, 0): wf}, "linked too strongly"),
            ({(0, 2): wa, (2, 0): wf / l}, "linked too strongly"),
            ({(0, 1): wa / l}, "do not all feed each other"),
            ({(0, 1): wa / l - wf / l, (1, 0): wa / l}, "may cancel"),
            ({(0, 1): wa**l, (1, 0): wa / l}, "no leading term"),
            ({(0, 1): wa / L, (1, 0): wa / l}, "both l and L"),
        ],
    )
    def test_what_is_refused(self, entries: dict[tuple[int, int], Expr], word: str) -> None:
        block = Matrix.diag(1, 1, Integer(1) / 2)
        for place, entry in entries.items():
            block[place] = entry
        with pytest.raises(NoClosedForm, match=word):
            of(block.tolist(), list(ones(3, 1)))


@pytest.mark.parametrize(
    ("name", "scaling", "word"),
    [
        ("mix-ln", "unit", "more than one way"),
        ("residual", "mitchell", "no power of the depth"),
        ("siamese-norm", "depth-scaled-init", "both l and L"),
    ],
)
def test_stacks_that_are_refused(name: str, scaling: str, word: str) -> None:
    recurrence = Recurrence.of(name, scaling)
    with pytest.raises(NoClosedForm, match=word):
        law_of_matrices(recurrence, lambda step: step.backward_terms, list(recurrence.readout.backward_terms))


@pytest.mark.exact
def test_rivals_through_sums_powers_and_values() -> None:
    law = Growth(power=a, rivals=(Growth(log_power=-b),))
    more = Growth(rate=wa) + law
    assert [one.rate for one in (more, *more.rivals)] == [wa] * 2
    assert law.times(Integer(2)).rivals[0].log_power == -2 * b
    assert law.subs({b: wf}).rivals[0].log_power == -wf
    assert "max" in law.latex()
    trend = evaluate(law, (0.5, 2.0, 1.0, 1.0))
    assert (trend.power, trend.log_power) == (0.5, 0)
    trend = evaluate(law.subs({a: -a}), (0.5, 2.0, 1.0, 1.0))
    assert (trend.power, trend.log_power) == (0, -2)
    for attempt in (lambda: law + law, lambda: law.times(Integer(-1)), lambda: law.compare(Growth())):
        with pytest.raises(NoClosedForm):
            attempt()
