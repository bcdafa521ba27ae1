"""Laws of powers of ln L: blocks in bundles, second terms, and that wrong laws fail both."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest

from spannorm_theory import derive
from spannorm_theory.asymptotics.near_identity import differences_law, embedding_law
from spannorm_theory.atlases.check import DEPTHS, FAR, LOG_DEPTHS, deep, deep_mismatch, mismatch
from spannorm_theory.atlases.known import CHECK_GAINS, SMALL_INPUT
from spannorm_theory.atlases.trend import Trend, evaluate
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.derivation.iterated import Iteration
from spannorm_theory.moments.constant_gains import Gains

OTHER = (1.0, 0.8, 3.0, 2.5)


def changed(trend: Trend, **fields: float) -> Trend:
    """A law whose terms have other exponents by these."""
    moved = {name: getattr(trend, name) + value for name, value in fields.items()}
    return replace(trend, **moved, rivals=tuple(changed(rival, **fields) for rival in trend.rivals))


class TestTwoTerms:
    """f = 3 L^0.1 + 2 L^-0.05, whose second term fades too slowly for one term to settle."""

    law = Trend(power=0.1, rivals=(Trend(power=-0.05),))
    logs = tuple(log(3 * d**0.1 + 2 * d**-0.05) for d in DEPTHS)

    @pytest.mark.exact
    def test_both_terms_fit(self) -> None:
        assert mismatch(replace(self.law, rivals=()), DEPTHS, self.logs)
        assert not mismatch(self.law, DEPTHS, self.logs)

    @pytest.mark.exact
    @pytest.mark.parametrize("off", [{"power": 0.05}, {"power": -0.05}, {"log_power": 1.0}])
    def test_a_wrong_law_fails(self, off: dict[str, float]) -> None:
        assert mismatch(changed(self.law, **off), DEPTHS, self.logs)
        first = replace(self.law, **{name: getattr(self.law, name) + x for name, x in off.items()})
        assert mismatch(first, DEPTHS, self.logs)

    @pytest.mark.exact
    def test_a_first_term_that_takes_away_fails(self) -> None:
        logs = [log(9 - d**0.1) for d in DEPTHS]
        assert mismatch(replace(self.law, rivals=(Trend(),)), DEPTHS, logs)


@pytest.mark.law
def test_layerscale_of_siamese_norm_has_its_second_root() -> None:
    """With branches of variance 1/100 the cubic's two largest roots are close together."""
    recursion = derive("siamese-norm", "layerscale-18")
    law = evaluate(embedding_law(recursion), CHECK_GAINS)
    logs = [Iteration(recursion).ends(depth, CHECK_GAINS, SMALL_INPUT).gradient for depth in DEPTHS]
    assert mismatch(replace(law, rivals=()), DEPTHS, logs)
    assert not mismatch(law, DEPTHS, logs)
    for off in ({"power": 0.05}, {"power": -0.05}, {"log_power": 1.0}):
        assert mismatch(changed(law, **off), DEPTHS, logs)


class TestBundles:
    @pytest.mark.law
    @pytest.mark.parametrize("name", ["residual", "siamese-norm", "siamese-norm-post-pre"])
    def test_they_do_what_single_blocks_do(self, name: str) -> None:
        """From block 2560 on, to depths that can be iterated block by block; they leave out O(1/2560)."""
        iteration, depths = Iteration(derive(name, "mitchell")), (5120, 10240)
        found = iteration.deep_ends(np.log(depths).tolist(), OTHER)
        for depth, bundled in zip(depths, found, strict=True):
            single = iteration.ends(depth, OTHER)
            assert bundled.forward == pytest.approx(single.forward, abs=2e-3)
            assert bundled.gradient == pytest.approx(single.gradient, abs=2e-3)
            assert bundled.collapse == pytest.approx(single.collapse, abs=2e-3)

    def test_blocks_that_know_the_depth_are_refused(self) -> None:
        for name, scaling in (("siamese-norm", "depth-scaled-init"), ("hyper-connections", "unit")):
            with pytest.raises(AssumptionError, match="all the same but for their number"):
                Iteration(derive(name, scaling)).deep_ends(LOG_DEPTHS, OTHER)

    def test_blocks_that_do_not_fade_are_refused(self) -> None:
        with pytest.raises(AssumptionError, match="not the identity"):
            Iteration(derive("residual", "unit")).deep_ends(LOG_DEPTHS, OTHER)

    @pytest.mark.law
    @pytest.mark.parametrize(
        ("name", "scaling", "gains"),
        [
            ("siamese-norm", "layer-index", CHECK_GAINS),
            ("siamese-norm", "layer-index", OTHER),
            ("siamese-norm-hybrid-pre", "olmo-llama-depth", CHECK_GAINS),
            ("siamese-norm-post-pre", "lns", OTHER),
            ("residual", "mitchell", CHECK_GAINS),
        ],
    )
    def test_laws_hold_where_the_logarithm_is_large(self, name: str, scaling: str, gains: Gains) -> None:
        recursion = derive(name, scaling)
        laws = {"gradient": embedding_law(recursion), "collapse": differences_law(recursion, 1)}
        for which, law in laws.items():
            trend = evaluate(law, gains)
            places = deep(trend)
            if not places:  # one term: checked block by block
                assert not trend.rivals
                continue
            ends = Iteration(recursion).deep_ends(places, gains)
            logs = [e.gradient if which == "gradient" else e.collapse[1] for e in ends]
            assert deep_mismatch(trend, places, logs) == ""
            for off in ({"log_power": 0.05}, {"log_power": -0.05}, {"log_power": 1.0}, {"power": 0.05}):
                assert deep_mismatch(changed(trend, **off), places, logs), off


@pytest.mark.exact
def test_where_a_law_is_checked() -> None:
    constant, logarithm = Trend(), Trend(log_power=-1.0)
    assert deep(constant) == deep(logarithm) == ()
    assert deep(replace(constant, rivals=(logarithm,))) == FAR
    assert deep(Trend(power=0.2, rivals=(logarithm,))) == LOG_DEPTHS
    assert deep(Trend(power=0.2, rivals=(constant,))) == LOG_DEPTHS
    assert deep(Trend(rate=0.2, rivals=(logarithm,))) == ()
