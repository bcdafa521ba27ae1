r"""Large-L behaviour of closed forms: ln f ~ a L ln L + b L + c ln L + e ln ln L + k (and L^p, p < 1).

Closed forms of the recursions are sums and products of powers, gamma functions and harmonic numbers.
Each factor has such an expansion; products add them; in a sum the largest term wins. Far faster and
more robust here than general limits, and it gives exponent and constant together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

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
    expand_log,
    factor,
    gamma,
    harmonic,
    lerchphi,
    log,
    logcombine,
    pi,
    powsimp,
    rf,
    simplify,
    together,
)

from .. import symbols
from ..errors import NoClosedForm

ZERO = Integer(0)


@dataclass(frozen=True)
class Growth:
    """ln f ~ ``factorial`` L ln L + ``rate`` L + ``power`` ln L + ``log_power`` ln ln L + ``constant``.

    Attributes:
        stretched: (p, c) for each further term c L^p of ln f with 0 < p < 1, the largest power first.
    """

    factorial: Expr = ZERO
    rate: Expr = ZERO
    power: Expr = ZERO
    log_power: Expr = ZERO
    constant: Expr = ZERO
    stretched: tuple[tuple[Expr, Expr], ...] = ()

    def __add__(self, other: Growth) -> Growth:
        orders = (
            a if b == 0 else b if a == 0 else expand(a + b)
            for a, b in zip(self.orders, other.orders, strict=True)
        )
        terms = dict(self.stretched)
        for p, c in other.stretched:
            terms[p] = terms.get(p, ZERO) + c
        return replace(Growth(*orders), stretched=_largest_first(terms))

    def times(self, exponent: Expr) -> Growth:
        """The growth of f^exponent."""
        terms = {p: expand(exponent * c) for p, c in self.stretched}
        orders = (expand(exponent * a) for a in self.orders)
        return replace(Growth(*orders), stretched=_largest_first(terms))

    def subs(self, values: Mapping[Expr, Expr]) -> Growth:
        """The growth with expressions in the place of symbols."""
        orders = (a.subs(values, simultaneous=True) for a in self.orders)
        terms = {p: c.subs(values, simultaneous=True) for p, c in self.stretched}
        return replace(Growth(*orders), stretched=_largest_first(terms))

    @property
    def orders(self) -> tuple[Expr, ...]:
        """All five coefficients, fastest first."""
        return (self.factorial, self.rate, self.power, self.log_power, self.constant)

    def compare(self, other: Growth) -> int:
        """1, 0 or -1 as this grows faster than, like, or slower than ``other``."""
        if self.stretched or other.stretched:
            raise NoClosedForm("cannot decide which of several stretched exponentials dominates")
        for mine, theirs in zip(self.orders[:4], other.orders[:4], strict=True):
            gap = simplify(mine - theirs)
            if gap.is_positive:
                return 1
            if gap.is_negative:
                return -1
            if not gap.is_zero:
                raise NoClosedForm(f"cannot decide which term dominates: the sign of {gap} is open")
        return 0

    @property
    def base(self) -> Expr:
        """Growth factor per block, exp(rate)."""
        return factor(powsimp(exp(logcombine(self.rate, force=True))))

    @cached_property  # goes with the law to other processes
    def prefactor(self) -> Expr:
        """The constant of the law."""
        return _prefactor(self.constant)

    @cached_property
    def shape(self) -> Expr:
        """The law without its constant, as an expression in L."""
        return _shape(self)

    def latex(self) -> str:
        """Constant times shape in LaTeX."""
        shape, constant = self.shape, self.prefactor
        if shape == 1:
            return symbols.latex(constant)
        if constant == 1:
            return symbols.latex(shape)
        front = symbols.latex(constant)
        if isinstance(constant, Add):
            front = rf"\left({front}\right)"
        return rf"{front} \cdot {symbols.latex(shape)}"

    def __str__(self) -> str:
        return f"Theta({self.shape}), constant {self.prefactor}"


@lru_cache(maxsize=1 << 13)  # many stacks have the same laws
def _prefactor(constant: Expr) -> Expr:
    combined = powsimp(exp(logcombine(expand(constant), force=True)), force=True)
    return powsimp(combined.replace(lambda e: isinstance(e, Add), lambda e: factor(together(e))))


@lru_cache(maxsize=1 << 13)
def _shape(law: Growth) -> Expr:
    L = symbols.depth
    result: Any = Pow(L, factor(simplify(law.power))) * log(L) ** factor(simplify(law.log_power))
    if law.stretched:
        result *= exp(Add(*(factor(c) * L**p for p, c in law.stretched)))
    rate = simplify(expand_log(law.rate, force=True))
    if rate != 0:
        result *= Pow(law.base, L)
    return result


def _largest_first(terms: Mapping[Expr, Expr]) -> tuple[tuple[Expr, Expr], ...]:
    kept = ((p, c) for p, c in terms.items() if c != 0)
    return tuple(sorted(kept, key=lambda row: float(row[0]), reverse=True))


def growth(expression: Expr, L: Symbol) -> Growth:
    """The large-L expansion of a positive closed form.

    Raises:
        NoClosedForm: the expression has a part whose expansion is not known here.
    """
    expression = expression.replace(rf, lambda x, k: gamma(x + k) / gamma(x))
    return _growth(expression, L)


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
