"""Published and hand-derived results must come out of the derivation engine."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import NAMED, SYMBOLS, UNIT, equal, rounded
from sympy import E, Expr, Rational, exp, gamma, lambdify, sqrt

from spannorm_theory import derive
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm, UnknownNameError
from spannorm_theory.derivation.rank_collapse import collapse_factor
from spannorm_theory.spec.placements import PLACEMENTS, STANDARD
from spannorm_theory.spec.scalings import SCALINGS

L, l, q, q0 = symbols.depth, symbols.layer, symbols.variance, symbols.initial_variance
sa, sf, wa, wf = symbols.sigma_a2, symbols.sigma_f2, symbols.omega_a2, symbols.omega_f2
BALANCED = {wa: sa, wf: sf}
SINGLE = [name for name in STANDARD if PLACEMENTS[name].streams == 1]
DOUBLE = [name for name, p in PLACEMENTS.items() if p.streams == 2]
RULES = ["unit", "gpt2", "depth-scaled-init", "branch-sqrt-depth", "layer-index"]

#: a rule with the width in its factors, which constant gains do not say
OF_WIDTH = "gamma-init"

#: every standard placement under five rules, every placement under its own, every rule somewhere
PAIRS = dict.fromkeys(
    [(name, rule) for name in STANDARD for rule in RULES]
    + [(name, rule) for name, p in PLACEMENTS.items() for rule in ("unit", p.scaling)]
    + [((rule.only or ("pre-norm",))[0], name) for name, rule in SCALINGS.items() if name != OF_WIDTH]
)

pytestmark = pytest.mark.exact


@pytest.mark.parametrize("scaling", ["unit", "gpt2", "layer-index"])
@pytest.mark.parametrize("name", SINGLE)
def test_variance_times_gradient_is_conserved_when_gains_balance(name: str, scaling: str) -> None:
    _, drift = derive(name, scaling).conserved()
    assert equal(drift.subs(BALANCED), 0)
    assert not equal(drift, 0)


@pytest.mark.parametrize("name", [*DOUBLE, "siamese-norm(depth_scaling=False, normalised_input=False)"])
def test_the_two_stream_form_is_conserved(name: str) -> None:
    _, drift = derive(name).conserved()
    # nested radicals: a proof by simplification is slow, so the identity is checked at many points
    free = sorted(drift.free_symbols - {sa, sf, wa, wf}, key=str)
    at = lambdify([sa, sf, wa, wf, *free], drift)
    rng = np.random.default_rng(0)
    for _ in range(100):
        a, f, *point = rng.uniform(0.2, 3.0, 2 + len(free))
        point = [rng.integers(0, 9) if s == l else v for s, v in zip(free, point, strict=True)]
        assert abs(at(a, f, a, f, *point)) < 1e-11
        assert at(a, f, 2 * a, 2 * f, *point) > 1e-6


def test_two_stream_conserved_quantity_is_pa_rb_2sc() -> None:
    r = derive("siamese-norm")
    before, _ = r.conserved()
    b = r.block
    expected = sum(
        factor * b.moment(*p) * b.backward[p] for factor, p in ((1, (0, 0)), (1, (1, 1)), (2, (0, 1)))
    )
    assert equal(before, expected)


class TestPreNorm:
    def test_variance_adds_the_branches(self) -> None:
        assert equal(derive("pre-norm").moment_at((0, 0), l), q0 + l * (sa + sf))

    def test_variance_is_constant_in_depth_under_gpt2(self) -> None:
        assert equal(derive("pre-norm", "gpt2").moment_at((0, 0), L), q0 + (sa + sf) / 2)
        law = derive("pre-norm", "gpt2").asymptotics()["q"]
        assert isinstance(law, Growth)
        assert law.shape == 1

    def test_gradient_ratio_telescopes_when_gains_balance(self) -> None:
        r = derive("pre-norm")
        ratio = r.gradient_ratio().subs(BALANCED).subs({sa: 1, sf: 2, q0: 3})
        assert equal(ratio.subs(L, 7), (r.moment_at((0, 0), L) / q0).subs({sa: 1, sf: 2, q0: 3, L: 7}))

    def test_gradient_ratio_is_a_power_with_exponent_omega_over_sigma(self) -> None:
        r = derive("pre-norm")
        assert r.gradient_ratio().has(gamma)
        law = r.asymptotics()["gradient_ratio"]
        assert isinstance(law, Growth)
        assert equal(law.power, (wa + wf) / (sa + sf))
        values = {sa: Rational(1, 2), sf: Rational(1, 3), wa: 1, wf: Rational(1, 5), q0: 1}
        depth = 10**5
        exact = float(r.gradient_ratio().subs(values).subs(L, depth))
        leading = float((law.prefactor * law.shape).subs(values).subs(L, depth))  # the next term is 1/L of it
        assert exact == pytest.approx(leading, rel=5 / depth)

    def test_layer_index_scaling_grows_logarithmically(self) -> None:
        laws = derive("pre-norm", "layer-index").asymptotics()
        variance, gradient = laws["q"], laws["gradient_ratio"]
        assert isinstance(variance, Growth)
        assert isinstance(gradient, Growth)
        assert variance.log_power == 1
        assert equal(gradient.log_power, (wa + wf) / (sa + sf))


class TestIdentityGain:
    @pytest.mark.parametrize(
        ("name", "expected"), [("post-norm", Rational(1, 2) ** L), ("span-norm", Rational(1, 2) ** (L / 2))]
    )
    def test_unit_branches(self, name: str, expected: Expr) -> None:
        assert equal(derive(name).identity_gain().subs(UNIT), expected)

    def test_span_norm_has_half_the_exponent_of_post_norm(self) -> None:
        span, post = (derive(n).asymptotics()["identity_gain"] for n in ("span-norm", "post-norm"))
        assert isinstance(span, Growth)
        assert isinstance(post, Growth)
        assert equal(2 * span.rate, post.rate.subs(sa, sf))

    @pytest.mark.parametrize(
        ("name", "expected"), [("post-norm", 1 / E), ("span-norm", exp(Rational(-1, 2)))]
    )
    def test_limit_with_branch_variance_one_over_depth(self, name: str, expected: Expr) -> None:
        gain, depth = derive(name, "depth-scaled-init").identity_gain().subs(UNIT), 10.0**6
        assert float(gain.subs(L, depth)) == pytest.approx(float(expected), rel=1 / depth)  # the next term
        law = derive(name, "depth-scaled-init").asymptotics()["identity_gain"]
        assert isinstance(law, Growth)
        assert law.shape == 1
        assert equal(law.prefactor.subs(UNIT), expected)

    @pytest.mark.parametrize("name", ["post-norm", "span-norm"])
    def test_whole_gradient_does_not_decay_when_gains_balance(self, name: str) -> None:
        r = derive(name)
        assert equal(r.gradient_ratio().subs(BALANCED), 1 / q0)
        assert float(r.identity_gain().subs(UNIT).subs(L, 64)) < 1e-9


class TestHybridNorm:
    def test_variance_from_block_one_on(self) -> None:
        r = derive("hybrid-norm")
        assert r.start == 1
        assert equal(r.moment_at((0, 0), l), 1 + sf)

    def test_star_takes_one_block_longer(self) -> None:
        r = derive("hybrid-norm-star")
        assert r.start == 2
        assert equal(r.initial[1][0, 0], q0 + sa + sf)
        assert equal(r.initial[2][0, 0], 1 + sf)

    def test_backward_ratio(self) -> None:
        expected = (1 + wf) * (1 + sf + wa) / ((1 + sf) * (1 + sf + sa))
        assert equal(derive("hybrid-norm").ratio, expected)

    def test_first_block_jumps_by_the_embedding_variance(self) -> None:
        first = derive("hybrid-norm").first.backward_matrix[0, 0]
        assert equal(first, (1 + wf) * (q + wa) / (q * (q + sa)))


class TestSiameseNorm:
    def test_one_stream_bounded_one_linear(self) -> None:
        r = derive("siamese-norm")
        assert r.moment_at((0, 0), l) == 1
        assert equal(r.moment_at((1, 1), l), q0 + l * (sa + sf))

    def test_step_of_algorithm_one(self) -> None:
        r = derive("siamese-norm(depth_scaling=False)")
        c1 = (symbols.positive("q_01") + sa) / sqrt(1 + sa)
        assert equal(r.step.forward[0, 1], (c1 + sf) / sqrt(1 + sf))
        fixed = r.moment_at((0, 1), l)
        assert float(fixed.subs({**UNIT, l: 60})) == rounded(float(fixed.subs({**UNIT, l: 90})))

    def test_published_code_divides_by_sqrt_two_l_plus_two(self) -> None:
        r = derive("siamese-norm-hybrid-pre")
        assert equal(r.fixed[0, 0], 1 + sf / (2 * (l + 1)))

    def test_gradient_ratio_has_no_closed_form_and_says_so(self) -> None:
        with pytest.raises(NoClosedForm, match="streams"):
            derive("siamese-norm").gradient_ratio()
        assert "gradient_ratio" in derive("siamese-norm").closed_form().missing


def test_no_norm_multiplies() -> None:
    r = derive("no-norm")
    assert equal(r.moment_at((0, 0), l), q0 * ((1 + sa) * (1 + sf)) ** l)
    assert equal(r.gradient_ratio(), ((1 + wa) * (1 + wf)) ** L)


def test_post_norm_backward_ratio() -> None:
    assert equal(derive("post-norm").ratio, (1 + wa) * (1 + wf) / ((1 + sa) * (1 + sf)))


def test_span_norm_is_not_b2t() -> None:
    """B2T's skip also spans the block, but its norm sees x + y + ffn(y)."""
    assert str(PLACEMENTS["span-norm"].trace("unit")) == "norm(x0 + ffn(norm(x0 + attention(x0))))"


def test_gelu_fills_in_its_exact_moments() -> None:
    r = derive("pre-norm", activation="gelu")
    step = r.moment_at((0, 0), l).subs({sa: 0, q0: 0, l: 1})
    assert float(step) == pytest.approx(0.4252214825702987, abs=1e-15)


@pytest.mark.parametrize(("name", "scaling"), PAIRS)
def test_closed_forms_agree_with_iterating_the_step(name: str, scaling: str) -> None:
    r = derive(name, scaling)
    values = {**SYMBOLS, q0: 1.3}
    depth = 40
    table = r.iterate(depth, **NAMED, q0=1.3).set_index(["quantity", "stream", "layer"])["log_value"]
    closed = r.closed_form()
    for pair in r.block.pairs:
        symbol = str(r.block.moment(*pair))
        if symbol in closed.found:
            stream = str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}{pair[1]}"
            for layer in (int(r.start.subs(L, depth)), 20, depth):
                expected = float(closed[symbol].subs({**values, L: depth, l: layer}).evalf())
                assert table["variance", stream, layer] == pytest.approx(np.log(expected), abs=1e-9)
    if "gradient_ratio" in closed.found:
        ratio = table["grad_variance", "0", 0] - table["grad_variance", "0", depth]
        expected = abs(complex(closed["gradient_ratio"].subs({**values, L: depth}).evalf()))
        assert ratio == pytest.approx(np.log(expected), abs=1e-9)
    for stream in range(PLACEMENTS[name].streams):
        title = "identity_gain" if PLACEMENTS[name].streams == 1 else f"identity_gain_{stream}"
        if title in closed.found:
            expected = abs(complex(closed[title].subs({**values, L: depth}).evalf()))
            with np.errstate(divide="ignore"):  # a stream that others replace keeps nothing of itself
                logarithm = np.log(expected)
            assert table["identity_gain", str(stream), 0] == pytest.approx(logarithm, abs=1e-9)


@pytest.mark.law
@pytest.mark.parametrize("scaling", RULES)
@pytest.mark.parametrize("name", SINGLE)
def test_laws_agree_with_iterating_to_great_depth(name: str, scaling: str) -> None:
    r = derive(name, scaling)
    values = {**SYMBOLS, q0: 1.0}
    law = r.asymptotics()["gradient_ratio"]
    assert isinstance(law, Growth)

    def at(depth: int) -> tuple[float, float]:
        t = r.iterate(depth, **NAMED).set_index(["quantity", "stream", "layer"])["log_value"]
        ratio = t["grad_variance", "0", 0] - t["grad_variance", "0", depth]
        rate, power, log_power = (float(x.subs(values)) for x in law.orders[1:4])
        # q grows like ln L where ln L appears, with corrections that fall only as 1/ln L: use q itself
        clock = t["variance", "0", depth] if log_power else 0.0
        return ratio, rate * depth + power * np.log(depth) + log_power * clock

    (near, near_law), (far, far_law) = at(1000), at(4000)
    assert far - near == pytest.approx(far_law - near_law, rel=1e-3, abs=2e-3)


@pytest.mark.parametrize("name", STANDARD)
def test_depth_ten_thousand_gives_finite_logarithms(name: str) -> None:
    table = derive(name).iterate(10_000, sigma_a2=1, sigma_f2=1, omega_a2=1.5, omega_f2=0.5)
    assert np.isfinite(table["log_value"]).all()
    gain = table[(table["quantity"] == "identity_gain") & (table["layer"] == 0)]["log_value"].min()
    if name == "post-norm":
        assert gain == rounded(-10_000 * np.log(2))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean post-norm"):
        derive("postnorm")
    with pytest.raises(UnknownNameError, match="gpt2"):
        derive("post-norm", "gpt-2")


def test_bounds_hold_for_gains_that_change_from_layer_to_layer() -> None:
    rng = np.random.default_rng(1)
    for name in ("pre-norm", "post-norm", "span-norm", "hybrid-norm"):
        r = derive(name)
        largest = {sa: 1.0, sf: 0.5, wa: 1.4, wf: 0.8, q0: 1.0}
        low, high = (float(b.subs({**largest, L: 12}).evalf()) for b in r.bounds()["gradient_ratio"])
        first, later = (
            lambdify([q, sa, wa, sf, wf], [step.backward_matrix[0, 0], step.forward[0, 0]])
            for step in (r.first, r.block)
        )
        for _ in range(100):
            state, ratio = 1.0, 1.0
            for layer in range(12):
                step = later if layer else first
                change, state = step(state, rng.uniform(0, 1), rng.uniform(0, 1.4), 0.5, 0.8)
                ratio *= change
            assert low <= ratio <= high


class TestCollapse:
    def test_post_norm_factor_is_the_published_one(self) -> None:
        """(1 + s sigma_f^2) / ((1 + sigma_a^2)(1 + sigma_f^2)) with s sigma_f^2 = omega_f^2."""
        factor = collapse_factor(derive("post-norm").step)
        assert equal(factor, (1 + wf) / ((1 + sa) * (1 + sf)))

    def test_pre_norm_exponent(self) -> None:
        law = derive("pre-norm").asymptotics()["collapse"]
        assert isinstance(law, Growth)
        assert equal(law.power, -(sa - (wf - sf)) / (sa + sf))

    @pytest.mark.parametrize("scaling", ["gpt2", "depth-scaled-init", "branch-sqrt-depth"])
    @pytest.mark.parametrize("name", SINGLE)
    def test_total_collapse_is_bounded_under_inverse_root_depth(self, name: str, scaling: str) -> None:
        law = derive(name, scaling).asymptotics()["collapse"]
        assert isinstance(law, Growth)
        assert law.shape == 1

    def test_span_norm_collapses_more_slowly_than_post_norm(self) -> None:
        """Attention reaches SpanNorm's stream only through the ffn."""
        span, post = (collapse_factor(derive(n).step) for n in ("span-norm", "post-norm"))
        assert float((span / post).subs({sa: 1, sf: 1, wf: 1})) > 1
        assert equal(span, (1 + sa + wf) / ((1 + sa) * (1 + sf)))


def test_cross_moment_of_siamese_streams_grows_as_the_square_root() -> None:
    law = derive("siamese-norm").asymptotics()["q_01"]
    assert isinstance(law, Growth)
    s = sa + sf
    assert equal(law.power, Rational(1, 2))
    assert equal(law.prefactor, 2 * sqrt(2) * s / (s + 2))
    table = derive("siamese-norm").iterate(40_000, sigma_a2=0.5, sigma_f2=0.4, omega_a2=1, omega_f2=1)
    at = table[(table["stream"] == "01") & (table["quantity"] == "variance") & (table["layer"] == 40_000)]
    expected = float((law.prefactor * law.shape).subs({sa: 0.5, sf: 0.4, L: 40_000}))
    # the next term is smaller by a root of the depth
    assert float(at["value"].iloc[0]) == pytest.approx(expected, rel=0.2 / 40_000**0.5)


@pytest.mark.parametrize("name", SINGLE)
def test_gradient_at_the_embedding_for_balanced_gains(name: str) -> None:
    law = derive(name).asymptotics()["balanced_gradient"]
    assert isinstance(law, Growth)
    gains = {"sigma_a2": 0.5, "sigma_f2": 0.8, "omega_a2": 0.5, "omega_f2": 0.8}
    table = derive(name).iterate(50, **gains, q0=2.0)
    first = table[(table["quantity"] == "grad_variance") & (table["layer"] == 0)]["log_value"].iloc[0]
    expected = (law.prefactor * law.shape).subs({sa: 0.5, sf: 0.8, q0: 2.0, L: 50})
    assert float(first) == pytest.approx(float(np.log(float(expected))), abs=1e-9)


def test_a_norm_behind_a_vanishing_branch_has_no_upper_gradient_bound() -> None:
    """The bound would divide by the branch's variance; what is left out is not infinite but unknown."""
    assert set(derive("peri-ln").bounds()) == {"q"}
    assert set(derive("pre-norm").bounds()) == {"q", "gradient_ratio"}
