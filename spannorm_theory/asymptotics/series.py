r"""Expansions of one block's factor at a share t of the depth.

With l = t L every factor is a sum of powers of L, whose coefficients depend on t, the gains and ln L.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import add, mul
from typing import TYPE_CHECKING

from sympy import (
    EulerGamma,
    Expr,
    Integer,
    Mul,
    Rational,
    binomial,
    cancel,
    exp,
    expand,
    factor,
    factorial,
    harmonic,
    log,
    oo,
    together,
)

from ..base import symbols
from ..base.errors import NoClosedForm

if TYPE_CHECKING:
    Terms = dict[Rational, Expr]

L, LAYER = symbols.depth, symbols.layer

#: a share of the depth, and ln L
SHARE, LOG = symbols.positive("t"), symbols.positive("ell")

#: powers of L that are kept below the leading one, tried in turn
KEPT = (1, 2, 3)

#: operations in a coefficient; to normalise longer ones takes seconds
LONGEST = 150

ZERO = Integer(0)


class Series:
    """A sum of powers of L with coefficients in t and ln L, known down to the power ``cut``."""

    def __init__(self, terms: Mapping[Expr, Expr], kept: int, cut: Expr = -oo) -> None:
        plain = {p: normal_form(c) for p, c in terms.items() if p >= cut}
        known = {p: c for p, c in plain.items() if c != 0}
        self.top = max(known, default=ZERO)
        lowest = self.top - kept
        self.cut = cut if cut >= lowest or not any(p < lowest for p in known) else lowest
        self.terms: Terms = {p: c for p, c in known.items() if p >= self.cut}
        self.kept = kept

    def __add__(self, other: Series) -> Series:
        terms = dict(self.terms)
        for p, c in other.terms.items():
            terms[p] = terms.get(p, ZERO) + c
        return Series(terms, self.kept, max(self.cut, other.cut))

    def __mul__(self, other: Series) -> Series:
        cut = max(self.top + other.cut, other.top + self.cut)
        lowest = max(cut, self.top + other.top - self.kept)
        terms: Terms = {}
        for p, a in self.terms.items():
            for q, b in other.terms.items():
                if p + q >= lowest:
                    terms[p + q] = terms.get(p + q, ZERO) + a * b
                else:
                    cut = lowest
        return Series(terms, self.kept, cut)

    def shifted(self, power: Expr, factor_: Expr) -> Series:
        """factor L^power times this."""
        terms = {p + power: factor_ * c for p, c in self.terms.items()}
        return Series(terms, self.kept, self.cut + power)

    def normal(self) -> tuple[Expr, Series]:
        """(a, x) with this = a L^top (1 + x)."""
        if not self.terms:
            raise NoClosedForm("the leading terms cancel")
        leading = self.terms[self.top]
        rest = {p - self.top: c / leading for p, c in self.terms.items() if p != self.top}
        return leading, Series(rest, self.kept, self.cut - self.top)

    def _sum_of_powers(self, x: Series, start: Expr, factors: Callable[[int], Expr]) -> Series:
        """start + sum_k factors(k) x^k, to the power that is kept."""
        total, now = self._constant(start), self._constant(Integer(1))
        steps = int(self.kept / -x.top) if x.terms else 0
        for k in range(1, steps + 1):
            now = now * x
            total = total + now.shifted(ZERO, factors(k))
        return Series(total.terms, self.kept, max(total.cut, (steps + 1) * x.top if x.terms else x.cut))

    def _constant(self, value: Expr) -> Series:
        return Series({ZERO: value}, self.kept)

    def power(self, exponent: Expr) -> Series:
        """The series to a power without L."""
        leading, x = self.normal()
        total = self._sum_of_powers(x, Integer(1), lambda k: binomial(exponent, k))
        return total.shifted(exponent * self.top, leading**exponent)

    def log(self) -> Series:
        """ln of this."""
        leading, x = self.normal()
        start = log(factor(leading)) + self.top * LOG
        return self._sum_of_powers(x, start, lambda k: Rational((-1) ** (k + 1), k))

    def exp(self) -> Series:
        """e to this, which must not grow."""
        if self.top > 0 or self.cut > 0:
            raise NoClosedForm("a power of a block's number grows faster than a power of L")
        constant = expand(self.terms.get(ZERO, ZERO))
        slope = constant.coeff(LOG, 1)
        front = exp(expand(constant - slope * LOG))
        if front.has(LOG) or slope.has(SHARE):
            raise NoClosedForm("a power of a block's number is no power of L")
        x = Series({p: c for p, c in self.terms.items() if p != 0}, self.kept, self.cut)
        return self._sum_of_powers(x, Integer(1), lambda k: 1 / factorial(k)).shifted(slope, front)


def normal_form(coefficient: Expr) -> Expr:
    """A coefficient in normal form.

    Raises:
        NoClosedForm: it is too long.
    """
    expanded = expand(coefficient)
    if not expanded.is_Add:
        return expanded
    if expanded.count_ops() > LONGEST:
        raise NoClosedForm(f"the coefficients of its expansion have more than {LONGEST} operations")
    return cancel(together(expanded))


def expand_at_share(expression: Expr, kept: int) -> Series:
    """An expression in (l, L) with l = t L, to ``kept`` powers of L below the leading one.

    Raises:
        NoClosedForm: it holds a function that is not expanded here.
    """
    one = Series({ZERO: Integer(1)}, kept)
    if not expression.has(L, LAYER):
        return Series({ZERO: expression}, kept)
    if expression == L:
        return Series({Integer(1): Integer(1)}, kept)
    if expression == LAYER:
        return Series({Integer(1): SHARE}, kept)
    if expression.is_Add:
        return reduce(add, (expand_at_share(part, kept) for part in expression.args))
    if expression.is_Mul:
        return reduce(mul, (expand_at_share(part, kept) for part in expression.args), one)
    if isinstance(expression, log):
        return expand_at_share(expression.args[0], kept).log()
    if expression.is_Pow or isinstance(expression, exp):
        base, exponent = expression.as_base_exp()
        if not exponent.has(L, LAYER):
            return expand_at_share(base, kept).power(exponent)
        return (expand_at_share(exponent, kept) * expand_at_share(base, kept).log()).exp()
    if isinstance(expression, harmonic) and len(expression.args) == 1:
        n = expand_at_share(expression.args[0], kept)
        half = n.power(Integer(-1)).shifted(ZERO, Rational(1, 2))
        return n.log() + Series({ZERO: EulerGamma}, kept) + Series(half.terms, kept, Integer(-2))
    raise NoClosedForm(f"no expansion in the depth is known for {expression.func.__name__}")


def logarithms(ratio: Expr) -> list[Series]:
    """ln of the parts that a ratio is a product of, with l = t L, known to order 1/L."""
    for kept in KEPT:
        parts = []
        for part in Mul.make_args(ratio):
            base, exponent = part.as_base_exp()
            fixed = not exponent.has(L, LAYER)
            logs = expand_at_share(base if fixed else part, kept).log()
            parts.append(logs.shifted(ZERO, exponent if fixed else Integer(1)))
        if all(part.cut <= -1 for part in parts):
            return parts
    raise NoClosedForm("its leading terms cancel too far down")
