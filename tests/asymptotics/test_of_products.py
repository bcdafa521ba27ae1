"""Laws of products over blocks whose factor depends on the share of the depth."""

from __future__ import annotations

import pytest
from helpers import equal
from sympy import Integer, Rational, exp, log, sqrt

from spannorm_theory import derive
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.asymptotics.of_closed_forms import growth
from spannorm_theory.asymptotics.of_profiles import profile_law
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm
from spannorm_theory.derivation.closed_forms import product_of_ratios

l, L = symbols.layer, symbols.depth
a, b = symbols.sigma_a2, symbols.sigma_f2
wa, wf = symbols.omega_a2, symbols.omega_f2


@pytest.mark.exact
def test_profile_of_a_known_product() -> None:
    law = profile_law(1 + a / (b * L + l), Integer(0))
    assert law.shape == 1
    assert equal(law.prefactor, ((1 + b) / b) ** a)
    late = profile_law(1 + a / (b * L + l), L / 4)
    assert equal(late.prefactor, ((1 + b) / (b + Rational(1, 4))) ** a)


@pytest.mark.exact
def test_profiles_that_vanish_and_that_are_refused() -> None:
    assert profile_law(1 + a / (L**2 + l), Integer(0)) == Growth()
    for ratio in (1 + a / (l + 1), 1 + a / (2 * l - L), 1 + a, 1 + a / sqrt(L)):
        with pytest.raises(NoClosedForm):
            profile_law(ratio, Integer(0))


@pytest.mark.exact
def test_an_excess_of_log_over_depth_compounds_to_a_power() -> None:
    law = growth((1 + a * log(L) / (2 * L)) ** L, L)
    assert law.power == a / 2
    assert symbols.constant in law.prefactor.free_symbols
    assert equal(growth((1 + a / L) ** (2 * L), L).prefactor, exp(2 * a))


def test_factorials_of_huge_numbers_are_declined_at_once() -> None:
    with pytest.raises(NoClosedForm, match="more than 1000"):
        product_of_ratios((l + 10**10 + a) / (l + 10**10), Integer(0))


@pytest.mark.law
@pytest.mark.parametrize(
    ("name", "scaling", "power", "constant"),
    [
        ("admin", "unit", (wa + wf - a - b) / 2, None),
        ("post-norm", "admin", (wa + wf - a - b) / 2, None),
        ("pre-norm", "b2t-code", Integer(0), Integer(1)),
        ("mix-ln", "unit", (wa + wf) / (a + b), None),
    ],
)
def test_gradient_laws_that_need_them(name: str, scaling: str, power: object, constant: object) -> None:
    law = derive(name, scaling).asymptotics()["gradient_ratio"]
    assert isinstance(law, Growth)
    assert equal(law.power, power)
    if constant is not None:
        assert law.prefactor == constant
