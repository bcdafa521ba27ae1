"""Laws in ln L alone: as formulas and numbers, how they travel and read, and what they are held against."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import exp, log, sqrt

import numpy as np
import pytest
from sympy import Integer, Rational

import spannorm_theory as st
from spannorm_theory.asymptotics import laws
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.atlases import known, latex, page
from spannorm_theory.atlases.beyond import ends_beyond
from spannorm_theory.atlases.check import DEEPER, DEPTHS, mismatch
from spannorm_theory.atlases.records import FAILED, OK, Found
from spannorm_theory.atlases.trend import Trend, evaluate
from spannorm_theory.atlases.verdict import regime
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import AssumptionError, NoClosedForm
from spannorm_theory.derivation.iterated import Iteration

a, w = symbols.sigma_a2, symbols.omega_a2
HALF = Rational(1, 2)
GAINS = (0.3, 0.7, 0.4, 1.1)
LAW = Growth(log_power=w, log_stretched=((HALF, a),))


class TestGrowth:
    @pytest.mark.exact
    def test_sums_powers_and_substitution(self) -> None:
        double = LAW + Growth(log_stretched=((HALF, a), (Rational(1, 3), w)))
        assert double.log_stretched == ((HALF, 2 * a), (Rational(1, 3), w))
        assert (LAW + LAW.times(Integer(-1))).log_stretched == ()
        assert LAW.subs({a: 4 * a, w: a}) == Growth(log_power=a, log_stretched=((HALF, 4 * a),))
        with pytest.raises(NoClosedForm, match="dominates"):
            LAW.compare(Growth())

    @pytest.mark.exact
    def test_an_open_constant_takes_others_in(self) -> None:
        free = Growth(constant=symbols.constant)
        assert str(free + Growth(constant=a)) == "Theta(1), constant C"
        assert free.times(HALF).prefactor == symbols.constant

    def test_as_text(self) -> None:
        assert str(LAW) == "Theta(exp(sigma_a^2*sqrt(log(L)))*log(L)**omega_a^2), constant 1"
        assert r"\sqrt{\log{\left(L \right)}}" in LAW.latex()
        assert str(pickle.loads(pickle.dumps(LAW))) == str(LAW)


class TestTrend:
    trend = evaluate(LAW, GAINS)

    def test_numbers(self) -> None:
        assert self.trend.slow == ((0.3, 0.5),)
        assert (self.trend.log_rate, self.trend.log_root) == (0.3, 0.5)
        assert (Trend().log_rate, Trend().log_root) == (0.0, 1.0)
        assert self.trend.log_shape(100) == pytest.approx(0.3 * sqrt(log(100)))
        assert self.trend.in_log == Trend(rate=0.3, root=0.5, power=0.4, constant=1.0)
        assert self.trend.in_log_alone
        assert not replace(self.trend, power=1.0).in_log_alone
        assert not Trend(constant=2.0).in_log_alone

    def test_words(self) -> None:
        assert str(self.trend) == "e^(0.3 (ln L)^0.5) (ln L)^0.4"
        assert page.numbers(self.trend) == "e<sup>0.3 (ln L)<sup>0.5</sup></sup> (ln L)<sup>0.4</sup>"
        assert page.raised("e^(-0.3 (ln L)^0.5) L") == "e<sup>−0.3 (ln L)<sup>0.5</sup></sup> L"
        assert latex._numbers(self.trend) == r"e^{0.3 (\ln L)^{0.5}} \, (\ln L)^{0.4}"
        assert regime(Found(LAW, "", self.trend)) == "log"


class TestBeyond:
    def test_it_goes_on_as_the_stack_does(self) -> None:
        iteration = Iteration(st.derive("derf", "mitchell"))
        start = iteration.ends(DEPTHS[-1], GAINS, 2.0)
        for depth in (40960, 163840):
            (carried,) = ends_beyond(iteration, GAINS, start, 2.0, [log(depth)])
            whole = iteration.ends(depth, GAINS, 2.0)
            for name in ("forward", "collapse", "identity"):
                assert getattr(carried, name)[0] == pytest.approx(getattr(whole, name)[0], abs=2e-5)
            assert carried.gradient == pytest.approx(whole.gradient, abs=2e-5)

    @pytest.mark.parametrize(
        ("name", "scaling", "word"),
        [
            ("dyt", "gpt2", "depend on the depth"),
            ("mix-ln", "mitchell", "differ"),
            ("siamese-norm", "mitchell", "several streams"),
            ("dyt", "unit", "do not add 1/l"),
            ("post-norm", "mitchell", "do not add 1/l"),
        ],
    )
    def test_other_stacks_are_refused(self, name: str, scaling: str, word: str) -> None:
        iteration = Iteration(st.derive(name, scaling))
        with pytest.raises(AssumptionError, match=word):
            ends_beyond(iteration, GAINS, iteration.ends(DEPTHS[-1], GAINS), 1.0, [20.0])

    def test_a_second_moment_that_leaves_the_grid_is_refused(self) -> None:
        iteration = Iteration(st.derive("derf", "mitchell"))
        with pytest.raises(AssumptionError, match="exceeds"):
            ends_beyond(iteration, GAINS, iteration.ends(DEPTHS[-1], GAINS), 1.0, [1e8])


class TestCheck:
    @pytest.mark.law
    @pytest.mark.parametrize("scaling", ["mitchell", "lns", "olmo-llama-depth"])
    def test_a_law_that_is_a_little_off_does_not_fit(self, scaling: str) -> None:
        recursion = st.derive("dyt", scaling)
        iteration = Iteration(recursion)
        ends = ends_beyond(iteration, GAINS, iteration.ends(DEPTHS[-1], GAINS), 1.0, DEEPER)
        found = {
            "gradient": (laws.gradient_law(recursion), [e.gradient for e in ends]),
            "collapse": (laws.collapse_law(recursion), [e.collapse[0] for e in ends]),
            "forward": (laws.moment_law(recursion, (0, 0)), [e.forward[0] for e in ends]),
        }
        for law, logs in found.values():
            trend = evaluate(law, GAINS).in_log
            assert mismatch(trend, DEEPER, logs) == ""
            wrong = [{"power": trend.power + 0.06}, {"power": trend.power - 0.06}]
            wrong += [{"rate": trend.rate * x} for x in (0.995, 1.005) if trend.rate]
            wrong += [{"constant": trend.constant * x} for x in (0.95, 1.05) if np.isfinite(trend.constant)]
            for change in wrong:
                assert mismatch(replace(trend, **change), DEEPER, logs), change

    @pytest.mark.parametrize(
        ("placement", "scaling", "name"),
        [
            ("dyt", "mitchell", "gradient"),
            ("derf", "lns", "forward"),
            ("dyt", "layerscale-18", "collapse"),
        ],
    )
    def test_a_wrong_law_fails_its_cell(
        self, placement: str, scaling: str, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name_of in ("_known", "_laws"):  # neither reads nor keeps other laws
            monkeypatch.setattr(known, name_of, getattr(known, name_of).__wrapped__)
        derived = known._Laws._derived

        def wrong(self: known._Laws, quantity: str, stream: int) -> Growth:
            law = derived(self, quantity, stream)
            return law + Growth(log_power=Integer(1)) if quantity == name else law

        monkeypatch.setattr(known._Laws, "_derived", wrong)
        found = known.known(st.derive(placement, scaling), GAINS, GAINS)[0][name]
        assert found.status == FAILED
        assert found.detail

    def test_a_law_in_ln_L_of_another_stack_cannot_pass_unseen(self) -> None:
        checks = known._Runs(Iteration(st.derive("pre-norm", "gpt2")), GAINS)
        law = Trend(slow=((0.1, 0.5),))
        assert "not checked deeper" in known._mismatch(law, "gradient", 0, checks, late=False)
        assert "not settled" in known._mismatch(law, "gradient", 0, checks, late=True)

    def test_a_law_that_sets_in_late_is_checked_at_other_gains(self) -> None:
        found = known.known(st.derive("dyt", "layerscale-36"), GAINS, GAINS)[0]
        fading = known.known(st.derive("dyt", "layerscale-36+mitchell"), GAINS, GAINS)[0]
        for name in ("forward", "gradient", "collapse"):
            for law in (found[name], fading[name]):
                assert law.late
                assert law.status == OK
        assert found["forward"].trend is not None
        assert found["forward"].trend.constant < exp(-20)
