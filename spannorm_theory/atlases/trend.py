"""Laws as numbers: a law at given gains, and a fit of one where none was derived."""

from __future__ import annotations

import cmath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isfinite, log, prod

import mpmath  # type: ignore[import-untyped]
import numpy as np
from scipy.special import digamma, loggamma
from scipy.special import gamma as gamma_of
from sympy import Expr, gamma, harmonic, lambdify
from sympy import exp as sympy_exp
from sympy import log as sympy_log

from ..asymptotics import eigenvalue
from ..asymptotics.eigenvalue import LargestEigenvalue
from ..asymptotics.growth import Growth
from ..base import symbols
from ..moments.constant_gains import GAINS

_NAMES = (*GAINS, symbols.initial_variance, symbols.width)

#: arguments beyond which logarithms of gamma functions cancel to less than double precision keeps, and digits
#: for these
HUGE, DIGITS = 1e6, 60

#: of its values, by which these are moved where an expression is 0/0; what it then loses the digits keep
NUDGE = mpmath.mpf("1e-20")

#: local exponents below this are no growth
FLAT = 0.02

#: exponents below this are zero: gains that still change with depth are known no better
NO_POWER = 1e-3


@dataclass(frozen=True)
class Trend:
    """ln f(L) = factorial L ln L + rate L^root + power ln L + log_power ln ln L + ln constant.

    Attributes:
        root: 1, or the exponent of a stretched exponential.
        further: (rate, root) of what more of these there are.
        constant: NaN where the first blocks decide it.
        fitted: found by iterating the step, not derived.
    """

    factorial: float = 0.0
    rate: float = 0.0
    power: float = 0.0
    log_power: float = 0.0
    constant: float = float("nan")
    root: float = 1.0
    fitted: bool = False
    further: tuple[tuple[float, float], ...] = ()

    @property
    def exponentials(self) -> list[tuple[float, float]]:
        """(rate, root) of every term rate L^root, the fastest first."""
        return [(rate, root) for rate, root in ((self.rate, self.root), *self.further) if rate]

    def log_shape(self, L: float) -> float:
        """ln f(L) without the constant."""
        exponential = sum(rate * L**root for rate, root in self.exponentials)
        return float(self.factorial * L * log(L) + exponential + self.power * log(L))

    def log_at(self, L: float) -> float:
        """ln f(L); the constant counts as one where it is open or beyond float64's range."""
        known = isfinite(self.constant) and self.constant > 0
        return self.log_shape(L) + self.log_power * log(log(L)) + (log(self.constant) if known else 0.0)

    @property
    def order(self) -> tuple[float, ...]:
        """Coefficients to compare growth by, of the fastest term first."""
        rate = self.rate * (1e-9 if self.root < 1 else 1)
        return (self.factorial, rate, self.power, self.log_power)

    def __str__(self) -> str:
        parts = []
        grows = self.factorial or self.rate or self.power or self.log_power
        if isfinite(self.constant) and not (grows and _short(self.constant) == "1"):
            parts.append(_short(self.constant))
        if self.factorial:
            parts.append(f"e^({_short(self.factorial)} L ln L)")
        for rate, root in self.exponentials:
            parts.append(f"e^({_short(rate)} L" + ("" if root == 1 else f"^{root:.2g}") + ")")
        if self.power:
            parts.append("L" if self.power == 1 else f"L^{_short(self.power)}")
        if self.log_power:
            parts.append("ln L" if self.log_power == 1 else f"(ln L)^{_short(self.log_power)}")
        return " ".join(parts) or "constant"


def _short(x: float) -> str:
    return f"{x:.3g}"


def evaluate(law: Growth, gains: Sequence[float], q0: float = 1.0) -> Trend:
    """A law at gains (sigma_a^2, sigma_f^2, omega_a^2, omega_f^2); d counts as one, as in iterations. Of
    rivals the largest there."""
    if law.rivals:
        found = [evaluate(one, gains, q0) for one in (replace(law, rivals=()), *law.rivals)]
        return max(found, key=lambda trend: trend.order)
    orders = law.orders
    free = symbols.constant in orders[4].free_symbols
    names = dict(zip(_NAMES, (*map(float, gains), q0, 1.0), strict=True))
    known: dict[Expr, complex] = {**names, symbols.constant: 1.0}
    values: list[complex] = []
    for order in (*orders, *(c for _, c in law.stretched)):
        try:
            value = complex(_value(order, known))
        except (OverflowError, ZeroDivisionError, ValueError):
            value = complex("nan")
        if not isfinite(abs(value)):
            value = _precise(order, {**names, symbols.constant: 1.0})
        values.append(value)
    factorial, rate = (0.0 if abs(v) < 1e-15 else v.real for v in values[:2])
    power, log_power = (0.0 if abs(v) < NO_POWER else v.real for v in values[2:4])
    constant = float("nan") if free else exp(values[4].real) if values[4].real < 700 else inf
    terms = [(v.real, float(p)) for v, (p, _) in zip(values[5:], law.stretched, strict=True)]
    (rate, root), *further = [row for row in [(rate, 1.0), *terms] if row[0]] or [(0.0, 1.0)]
    return Trend(factorial, rate, power, log_power, constant, root, further=tuple(further))


def _precise(e: Expr, values: Mapping[Expr, float]) -> complex:
    """An expression with many digits, a little beside its values, which may be where it is 0/0."""
    with mpmath.workdps(DIGITS):
        beside = (mpmath.mpf(v) * (1 + k * NUDGE) for k, v in enumerate(values.values(), 1))
        return complex(lambdify(list(values), e, "mpmath")(*beside))


def _value(e: Expr, known: dict[Expr, complex]) -> complex:
    """An expression in floating point, where compiling it would cost more; ``known`` keeps its parts."""
    if e not in known:
        known[e] = _compute(e, known)
    return known[e]


def _compute(e: Expr, known: dict[Expr, complex]) -> complex:
    if e.is_Number:
        return float(e)
    # the logarithm of a large gamma function is in range where the function is not
    if isinstance(e, sympy_log) and isinstance(e.args[0], gamma):
        argument = complex(_value(e.args[0].args[0], known))
        if abs(argument) > HUGE:
            raise OverflowError("what such logarithms leave of each other is lost in rounding")
        return complex(loggamma(argument))
    parts = [_value(part, known) for part in e.args]
    if e.is_Add:
        return sum(parts)
    if e.is_Mul:
        return prod(parts)
    if e.is_Pow:
        return complex(parts[0] ** parts[1])
    if isinstance(e, sympy_log):
        return cmath.log(parts[0])
    if isinstance(e, sympy_exp):
        return cmath.exp(parts[0])
    if isinstance(e, LargestEigenvalue):
        return complex(eigenvalue.number(parts))
    if isinstance(e, gamma):
        return complex(gamma_of(complex(parts[0])))
    if isinstance(e, harmonic):
        return complex(digamma(parts[0] + 1)) + np.euler_gamma
    return complex(e.evalf())


def fit(depths: Sequence[int], logs: Sequence[float]) -> Trend:
    """A trend through ln f at three depths, each a factor r deeper than the one before (T12.10).

    The two differences D_1, D_2 of ln f grow as r^p for an exponential of L^p and are equal for a power;
    the exponent p = log_r(D_2/D_1) decides which it is.
    """
    shallow, middle, deep = logs
    one, two = middle - shallow, deep - middle
    ratio = depths[2] / depths[1]
    if abs(two) < FLAT * log(ratio):
        return Trend(constant=exp(deep) if abs(deep) < 700 else float("nan"), fitted=True)
    curvature = log(two / one) / log(ratio) if two * one > 0 else inf
    if 1.08 < curvature < 1.3:
        grown = depths[2] * log(depths[2]) - depths[1] * log(depths[1])
        return Trend(factorial=two / grown, fitted=True)
    if 0.9 < curvature <= 1.08:
        return Trend(rate=two / (depths[2] - depths[1]), fitted=True)
    if 0.25 < curvature <= 0.9:
        span = depths[2] ** curvature - depths[1] ** curvature
        return Trend(rate=two / span, root=curvature, fitted=True)
    if curvature < -0.5:
        limit = deep + two * ratio**curvature / (1 - ratio**curvature)
        return Trend(constant=exp(limit) if abs(limit) < 700 else float("nan"), fitted=True)
    return Trend(power=two / log(ratio), fitted=True)
