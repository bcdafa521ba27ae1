"""Second moments of element-wise functions against direct integration."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.gaussian.activations import ACTIVATIONS
from spannorm_theory.gaussian.elementwise import one_token


@pytest.mark.exact
@pytest.mark.parametrize("q", [1e-20, 1e-3, 1.0, 4.0, 100.0, 1e4])
def test_tanh_at_all_sizes(q: float) -> None:
    def integral(power: int) -> float:
        def density(u: float) -> float:
            slope = 1 / np.cosh(min(abs(u), 300.0)) ** 2
            value = np.tanh(u) ** 2 if power == 0 else slope**2
            return float(value * np.exp(-u * u / (2 * q)) / np.sqrt(2 * np.pi * q))

        ends = [0.0, *(x for x in (1.0, 5.0, 20.0) if x < 12 * np.sqrt(q)), 12 * np.sqrt(q)]
        return 2 * sum(quad(density, *pair, epsabs=0, epsrel=1e-12, limit=200)[0] for pair in pairwise(ends))

    known = one_token("tanh")
    assert known.value(q) == pytest.approx(integral(0), rel=1e-9, abs=0)
    assert known.slope(q) == pytest.approx(integral(1), rel=1e-9, abs=0)


@pytest.mark.exact
def test_numbers_arrays_and_closed_forms_agree() -> None:
    q = np.array([1e-6, 0.3, 7.0, 1e5])
    known, kernel = one_token("erf"), ACTIVATIONS["erf"].kernel
    assert known.value(q) == pytest.approx([known.value(float(x)) for x in q], rel=1e-14)
    assert known.value(q) == pytest.approx(kernel.value(q, q, q), rel=1e-9)
    assert known.slope(q) == pytest.approx(kernel.slope(q, q, q), rel=1e-9)


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(AssumptionError, match="tanh"):
        one_token("tanh").value(1e40)
