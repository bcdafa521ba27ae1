"""The large-depth law of a closed form (T12.2).

Closed forms of the recurrences are sums and products of powers, gamma functions and harmonic numbers.
Each factor has such an expansion; products add them; in a sum the largest term wins. Far faster and
more robust here than general limits, and it gives exponent and constant together.
"""

from __future__ import annotations

from dataclasses import replace

from sympy import (
    Add,
    Expr,
    Integer,
    Mul,
    Pow,
    Rational,
    Symbol,
    cancel,
    exp,
    expand,
    factor,
    gamma,
    harmonic,
    lerchphi,
    log,
    pi,
    rf,
    together,
)

from ..base import symbols
from ..base.errors import NoClosedForm
from .growth import Growth


def growth(expression: Expr, L: Symbol) -> Growth:
    """The large-L expansion of a positive closed form.

    Raises:
        NoClosedForm: the expression has a part whose expansion is not known here, or is zero.
    """
    if expression.is_zero:
        raise NoClosedForm("zero at every depth")
    expression = expression.replace(rf, lambda x, k: gamma(x + k) / gamma(x))
    return _growth(expression, L)


def order_of(expression: Expr, l: Symbol) -> Growth:
    """Growth of a rational expression, numerator over denominator."""
    top, bottom = factor(expression).as_numer_denom()
    return growth(expand(top), l) + growth(expand(bottom), l).times(Integer(-1))


def _growth(f: Expr, L: Symbol) -> Growth:
    if not f.has(L):
        return Growth(constant=log(f))
    if f == L:
        return Growth(power=Integer(1))
    if isinstance(f, Mul):
        total = Growth()
        for part in f.args:
            total += _growth(part, L)
        return total
    if isinstance(f, (Pow, exp)):
        base, exponent = f.as_base_exp()
        return _power(base, exponent, L)
    if isinstance(f, gamma):
        return _gamma(f.args[0], L)
    if isinstance(f, log):
        inner = _growth(f.args[0], L)
        if inner.power.is_positive and inner.rate.is_zero and inner.factorial.is_zero:
            return Growth(log_power=Integer(1), constant=log(inner.power))
    if isinstance(f, harmonic) and len(f.args) == 1:
        return _growth(log(f.args[0]), L)
    if isinstance(f, lerchphi) and f.args[0] == 1 and (f.args[1] - 1).is_positive:
        # the rest of a sum of 1/k^s behind its first terms: x^(1 - s) / (s - 1)
        order = f.args[1]
        return _growth(f.args[2], L).times(1 - order) + Growth(constant=-log(order - 1))
    if isinstance(f, Add):
        return _sum(f, L)
    raise NoClosedForm(f"no large-depth expansion is known for {f}")


def _sum(f: Add, L: Symbol) -> Growth:
    best: list[Growth] = []
    for part in f.args:
        candidate = _growth(part if not part.could_extract_minus_sign() else -part, L)
        order = candidate.compare(best[0]) if best else 1
        if order > 0:
            best, kept = [candidate], [part]
        elif order == 0:
            best.append(candidate)
            kept.append(part)
    # terms of one order: their constants add, with their signs
    signs = [-1 if part.could_extract_minus_sign() else 1 for part in kept]
    constant = sum(s * exp(g.constant) for s, g in zip(signs, best, strict=True))
    constant = cancel(constant)
    if constant.is_zero:
        raise NoClosedForm(f"the leading terms of {f} cancel")
    return replace(best[0], constant=log(constant))


def _power(base: Expr, exponent: Expr, L: Symbol) -> Growth:
    if not exponent.has(L):
        return _growth(base, L).times(exponent)
    if isinstance(base, Mul):
        total = Growth()
        for part in base.args:
            total += _power(part, exponent, L)
        return total
    if isinstance(base, Pow) and not base.exp.has(L):
        return _power(base.base, base.exp * exponent, L)
    slope, offset = _linear(exponent, L)
    inner = _growth(base, L)
    if inner.factorial != 0 or inner.rate != 0 or inner.log_power != 0:
        raise NoClosedForm(f"no large-depth expansion is known for {base}**({exponent})")
    # base = b L^p (1 + c/L + ...): base^(slope L + offset) = (b L^p)^(slope L + offset) e^(c slope)
    return Growth(
        factorial=expand(slope * inner.power),
        rate=expand(slope * inner.constant),
        power=expand(offset * inner.power),
        constant=expand(offset * inner.constant),
    ) + _compounded(base / (exp(inner.constant) * L**inner.power) - 1, slope, L)


def _compounded(excess: Expr, slope: Expr, L: Symbol) -> Growth:
    """(1 + excess)^(slope L) for an excess c/L or smaller: e^(c slope); and for c ln L / L: L^(c slope),
    whose constant, which terms of order 1/L decide, stays open."""
    excess = cancel(together(excess))
    if excess.is_zero:
        return Growth()
    top, bottom = excess.as_numer_denom()
    order = _growth(expand(top), L) + _growth(expand(bottom), L).times(Integer(-1))
    size = slope * exp(order.constant)
    if order.power == -1 and order.log_power == 0:
        return Growth(constant=size)
    if order.power == -1 and order.log_power == 1:
        return Growth(power=factor(size), constant=log(symbols.constant))
    if (order.power + 1).is_negative or (order.power == -1 and order.log_power.is_negative):
        return Growth()
    raise NoClosedForm(f"{excess} does not fall as 1/L")


def _gamma(argument: Expr, L: Symbol) -> Growth:
    # Stirling: Gamma(cL + a) ~ sqrt(2 pi) (cL)^(cL + a - 1/2) e^(-cL)
    c, a = _linear(argument, L)
    if c.is_zero and a.is_positive:
        return Growth(constant=log(gamma(a)))
    if not c.is_positive:
        raise NoClosedForm(f"gamma({argument}) is not on the side where Stirling's formula holds")
    return Growth(
        factorial=c,
        rate=expand(c * log(c) - c),
        power=a - Rational(1, 2),
        constant=log(2 * pi) / 2 + (a - Rational(1, 2)) * log(c),
    )


def _linear(expression: Expr, L: Symbol) -> tuple[Expr, Expr]:
    """(slope, offset) of an expression that is slope L + offset, up to terms that vanish."""
    expression = expand(cancel(together(expression)))
    slope = expression.coeff(L, 1)
    rest = expand(expression - slope * L)
    slope = cancel(together(slope))  # its parts may add up to nothing
    offset = rest.subs(L, Integer(0)) if rest.is_polynomial(L) else None
    if offset is None or rest.has(L):
        raise NoClosedForm(f"{expression} is not linear in {L}")
    return slope, offset
