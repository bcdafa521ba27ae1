"""Laws of several streams: a common ratio, blocks near the identity, and what is refused."""

from __future__ import annotations

import pytest
from helpers import GAINS, equal
from sympy import Integer, Rational, Symbol, sqrt

from spannorm_theory import derive
from spannorm_theory.asymptotics.coupled_streams import coupled_law, differences_law
from spannorm_theory.asymptotics.laws import (
    balanced_law,
    collapse_law,
    embedding_law,
    moment_law,
    ratio_law,
)
from spannorm_theory.asymptotics.magnitude import ONE, Order, Orders, Power, require_summable
from spannorm_theory.atlases.check import DEPTHS, mismatch
from spannorm_theory.atlases.trend import evaluate
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm
from spannorm_theory.base.formulas import COLLAPSE, EMBEDDING, RATIO
from spannorm_theory.derivation.iteration import Iteration

l, L = symbols.layer, symbols.depth
a, b = symbols.sigma_a2, symbols.sigma_f2
wa, wf = symbols.omega_a2, symbols.omega_f2
q0 = symbols.initial_variance

q = Symbol("q", positive=True)
CROSS = Symbol("q_01", positive=True)


def powers(*pairs: tuple[int, int]) -> frozenset[Power]:
    return frozenset((Integer(x), Integer(y)) for x, y in pairs)


class TestOrders:
    orders = Orders({q: ONE, CROSS: Order(ONE.high)})

    @pytest.mark.exact
    def test_sums_products_and_powers(self) -> None:
        assert self.orders.of(2 * l + 1 + L).high == powers((0, 1))
        assert self.orders.of(1 / (L * (2 * l + 1) + a)).high == powers((-1, -1))
        assert self.orders.of(sqrt(q + l)).low == (Rational(1, 2), 0)
        assert self.orders.of(L * l + l**3).high == powers((1, 1), (3, 0))
        assert self.orders.of(2 * L * l + b - 2 * l).low == (1, 1)

    @pytest.mark.exact
    def test_what_has_no_bound_from_below(self) -> None:
        for unbounded in (1 / CROSS, 1 / (l - a), 1 / (L - l), 1 / (L - CROSS * L)):
            with pytest.raises(NoClosedForm, match="from below"):
                self.orders.of(unbounded)
        with pytest.raises(NoClosedForm, match="no order of magnitude"):
            self.orders.of(a**l)
        assert self.orders.of(1 / (q + CROSS)).settled

    @pytest.mark.exact
    def test_how_far_a_formula_moves_without_its_gains(self) -> None:
        small = frozenset({a, wa})
        assert self.orders.drift((2 * l + 1) / (2 * l + 1 + a), small)[1] == powers((-1, 0))
        assert self.orders.drift(sqrt(q + a / L) * (CROSS + wa / l), small)[1] == powers((-1, 0))
        assert self.orders.drift(q * L, small) == (self.orders.of(q * L), frozenset())

    @pytest.mark.exact
    def test_sums_over_blocks(self) -> None:
        assert not require_summable(powers((0, -1)))
        assert not require_summable(powers((-2, 0)))
        assert require_summable(powers((-1, -1)))
        for diverging, word in (((-1, 0), "logarithm"), ((0, 0), "power"), ((1, -1), "power")):
            with pytest.raises(NoClosedForm, match=word):
                require_summable(powers(diverging))


@pytest.mark.exact
@pytest.mark.parametrize("scaling", ["unit", "layer-index", "depth-scaled-init"])
def test_equal_streams_have_the_laws_of_one(scaling: str) -> None:
    """Static hyper-connections: g = sum of the gradients obeys g_l = rho g_{l+1} with PreNorm's rho, the
    readout norms the sum of four equal streams, and all differences grow by PreNorm's factor."""
    several, one = derive("hyper-connections", scaling), derive("pre-norm", scaling)
    # per unit gradient at the output: gamma_L = 1/q_L behind the readout's norm
    expected = embedding_law(one)
    assert expected.orders[:4] == (ratio_law(one) + moment_law(one, (0, 0)).times(-1)).orders[:4]
    law = coupled_law(several)
    for found, wanted in zip(law.orders[:4], expected.orders[:4], strict=True):
        assert equal(found, wanted)
    assert equal(law.prefactor / expected.prefactor, 1)
    if scaling != "layer-index":
        collapse = collapse_law(one)
        assert equal(differences_law(several, 2).power, collapse.power)
        found, wanted = (evaluate(law, GAINS) for law in (differences_law(several, 2), collapse))
        assert found.constant == pytest.approx(wanted.constant, rel=1e-12)
    else:  # rho = 1 + omega_f^2/(2 l q_l) with q_l = (sigma_a^2 + sigma_f^2)/2 ln l
        assert equal(differences_law(several, 2).log_power, wf / (a + b) - 1)


@pytest.mark.exact
def test_blocks_that_fade_leave_the_first_norm_and_the_readout() -> None:
    """With branches of variance 1/L^2, ResiDual is x <- N(x), y <- y: the output N(x) + N(y) is twice
    x/sqrt(q_0), and the embedding's gradient 4/q_0."""
    for name in ("residual", "siamese-norm"):
        law = coupled_law(derive(name, "completep"))
        assert law.prefactor == 4 / q0
        assert law.shape == 1
        assert differences_law(derive(name, "completep"), 1).prefactor == 1
    # N(N(x) + N(y)) has variance one again
    assert coupled_law(derive("siamese-norm-post-pre", "completep")).prefactor == 1 / q0


@pytest.mark.law
@pytest.mark.parametrize(
    ("name", "scaling"),
    [
        ("siamese-norm", "depth-scaled-init"),
        ("siamese-norm(depth_scaling=False)", "completep"),
        ("siamese-norm-hybrid-pre", "gpt2"),
        ("siamese-norm-post-pre", "deepscalelm"),
        ("residual", "ds-init"),
        ("hyper-connections", "mitchell"),
    ],
)
def test_laws_are_those_of_the_iterated_step(name: str, scaling: str) -> None:
    recursion = derive(name, scaling)
    ends = [Iteration(recursion).run(depth, GAINS).ends() for depth in DEPTHS]
    stream = len(recursion.block.trace.streams) - 1
    assert mismatch(evaluate(coupled_law(recursion), GAINS), DEPTHS, [e.gradient for e in ends]) == ""
    law = differences_law(recursion, stream)
    assert mismatch(evaluate(law, GAINS), DEPTHS, [e.collapse[stream] for e in ends]) == ""


@pytest.mark.law
@pytest.mark.parametrize("name", ["residual", "hyper-connections"])
def test_balanced_gains_leave_the_gradient_of_the_iterated_step(name: str) -> None:
    gains = (0.5, 0.8, 0.5, 0.8)
    recursion = derive(name)
    ends = [Iteration(recursion).run(depth, gains).ends().gradient for depth in DEPTHS]
    assert mismatch(evaluate(balanced_law(recursion), gains), DEPTHS, ends) == ""


@pytest.mark.law
@pytest.mark.parametrize(
    ("name", "scaling", "word"),
    [
        ("siamese-norm(depth_scaling=False)", "unit", "may cancel"),
        ("siamese-norm(depth_scaling=False)", "mitchell", "no power of the depth"),
        ("siamese-norm-hybrid-pre", "deepnorm-init", "on both l and L"),
    ],
)
def test_what_grows_is_refused(name: str, scaling: str, word: str) -> None:
    recursion = derive(name, scaling)
    with pytest.raises(NoClosedForm, match=word):
        coupled_law(recursion)
    with pytest.raises(NoClosedForm, match=word):
        differences_law(recursion, 1)


def test_their_names_among_the_laws() -> None:
    found = derive("residual", "depth-scaled-init").asymptotics()
    assert str(found[EMBEDDING]) == "Theta(1), constant C"
    assert {f"{COLLAPSE}_0", f"{COLLAPSE}_1"} <= set(found)
    assert RATIO not in found
    assert "of stream 1" in derive("residual", "completep").latex()
