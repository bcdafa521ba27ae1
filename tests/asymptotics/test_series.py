"""Laws of products from an expansion of one block's factor in the depth."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import equal
from sympy import Expr, Integer, exp, harmonic, log, sqrt

from spannorm_theory import derive
from spannorm_theory.asymptotics import laws
from spannorm_theory.asymptotics.of_closed_forms import growth
from spannorm_theory.asymptotics.of_products import limit_law
from spannorm_theory.asymptotics.of_profiles import share_law
from spannorm_theory.asymptotics.series import SHARE, expand_at_share
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import NoClosedForm

l, L = symbols.layer, symbols.depth
a, b = symbols.sigma_a2, symbols.sigma_f2


@pytest.mark.exact
@pytest.mark.parametrize(
    ("expression", "leading"),
    [
        (sqrt(L**2 + a) - L, {-1: a / 2}),
        ((1 - 1 / L) ** l, {0: exp(-SHARE)}),
        (harmonic(l + 1) - log(l + 1) - harmonic(L) + log(L), {}),
        ((L + a) / (L + l), {0: 1 / (1 + SHARE)}),
    ],
)
def test_leading_terms(expression: Expr, leading: dict[int, Expr]) -> None:
    found = expand_at_share(expression, 3)
    if not leading:
        assert found.terms.get(Integer(0), 0) == 0
    for power, coefficient in leading.items():
        assert found.top == power
        assert equal(found.terms[Integer(power)], coefficient)


@pytest.mark.exact
def test_a_factor_that_falls_as_the_root_of_the_depth_has_a_stretched_exponential() -> None:
    law = share_law(1 + a / sqrt(L), Integer(0))
    (power, rate), *rest = law.stretched
    assert (float(power), rate, rest) == (0.5, a, [])
    assert equal(law.prefactor, exp(-(a**2) / 2))


@pytest.mark.exact
@pytest.mark.parametrize("ratio", [1 + a / (l + 1), 1 + a / (l + 1) ** 2, 2 + l / L, 1 + sqrt(l) / L])
def test_factors_that_are_refused(ratio: Expr) -> None:
    with pytest.raises(NoClosedForm):
        share_law(ratio, Integer(0))


@pytest.mark.law
def test_nothing_has_no_order() -> None:
    """inkling-2 takes its first stream anew in the first block, so that its identity gain is zero."""
    with pytest.raises(NoClosedForm, match="zero at every depth"):
        growth(Integer(0), L)


@pytest.mark.exact
def test_a_profile_with_powers_of_a_constant() -> None:
    ratio, depth = 1 + a / (L * (1 + (1 - 1 / L) ** l)), 20000
    value = float(share_law(ratio, Integer(0)).prefactor.subs(a, 0.7))
    blocks = np.arange(depth)
    assert value == pytest.approx(np.prod(1 + 0.7 / (depth * (1 + (1 - 1 / depth) ** blocks))), rel=1e-4)


@pytest.mark.law
def test_early_blocks_leave_a_power_and_an_open_constant() -> None:
    law = limit_law(1 + a / (b * (l + 1) + 1 / L), Integer(0))
    assert equal(law.power, a / b)
    assert symbols.constant in law.prefactor.free_symbols


@pytest.mark.law
@pytest.mark.parametrize(
    ("name", "scaling", "power", "log_power"),
    [
        ("deepnorm", "unit", 0, 0),
        ("sub-ln", "sub-ln", (symbols.omega_a2 + symbols.omega_f2) / (a + b), 1),
        ("ln-scaling", "gpt2", 0, 0),
        ("normformer", "gpt2", symbols.omega_a2 / a, 0),
    ],
)
def test_gradients_without_closed_form(name: str, scaling: str, power: Expr, log_power: int) -> None:
    law = laws.ratio_law(derive(name, scaling))
    assert equal(law.power, power)
    assert law.log_power == log_power
    assert bool(law.stretched) == (name == "deepnorm")
