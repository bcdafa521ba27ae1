r"""Leading terms of algebraic formulas at large l: c l^a (ln l)^b (1 + o(1)).

Sums take the largest of their terms, products add exponents, powers multiply them. Of a sum the coefficients
of the largest terms must add up to something positive: where they cancel, nothing is known of what is left.
A term is *exact* if its relative correction falls as a power of l; else it falls as 1/sqrt(ln l) or faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sympy import Add, Expr, Integer, Rational, S, Symbol

from ..base import symbols
from ..base.errors import NoClosedForm
from .growth import Growth

LAYER = symbols.layer

Order = tuple[Expr, Expr]

#: orders (a, b) of 1, 1/l and 1/(l ln l)
ONE: Order = (Integer(0), Integer(0))
INVERSE: Order = (Integer(-1), Integer(0))
SLOW: Order = (Integer(-1), Integer(-1))


@dataclass(frozen=True)
class Leading:
    """c l^a (ln l)^b with c > 0, for (a, b) = ``order``."""

    c: Expr = S.One
    order: Order = ONE
    exact: bool = True

    def __mul__(self, other: Leading) -> Leading:
        order = self.order[0] + other.order[0], self.order[1] + other.order[1]
        return Leading(self.c * other.c, order, self.exact and other.exact)

    def __pow__(self, exponent: Expr) -> Leading:
        order = self.order[0] * exponent, self.order[1] * exponent
        return replace(self, c=self.c**exponent, order=order)


def of_law(law: Growth) -> Leading:
    """The leading term of what has a law.

    Raises:
        NoClosedForm: the law is no product of powers of l and ln l with a constant that is known.
    """
    plain = law.factorial == 0 and law.rate == 0 and not law.stretched
    if not (plain and law.power.is_Rational and law.log_power.is_Rational):
        raise NoClosedForm("a stream's moment does not grow as a power of the depth")
    if law.prefactor.has(symbols.constant):
        raise NoClosedForm("early blocks decide a stream's moment")
    return Leading(law.prefactor, (law.power, law.log_power), bool(law.log_power == 0))


def leading(f: Expr, known: Mapping[Symbol, Leading]) -> Leading | None:
    """The leading term of a non-negative formula in l; None for zero.

    Args:
        known: leading terms of stream moments; other symbols are constants.

    Raises:
        NoClosedForm: it has none here.
    """
    if f == 0:
        return None
    if not f.free_symbols & {LAYER, *known}:
        return Leading(f)
    if f == LAYER:
        return Leading(order=(Integer(1), Integer(0)))
    if isinstance(f, Symbol):
        return known[f]
    if f.is_Add:
        return total([leading(part, known) for part in f.args])
    if f.is_Mul:
        product = Leading()
        for part in f.args:
            term = leading(part, known)
            assert term is not None
            product = product * term
        return product
    base, exponent = f.as_base_exp()
    if not f.is_Pow or not isinstance(exponent, Rational):
        raise NoClosedForm(f"no leading term is known for {f.func.__name__}")
    term = leading(base, known)
    assert term is not None
    raised: Leading = term**exponent
    return raised


def total(terms: list[Leading | None]) -> Leading | None:
    """The leading term of a sum of such terms.

    Raises:
        NoClosedForm: the largest may cancel.
    """
    some = [term for term in terms if term is not None]
    if not some:
        return None
    order = max(term.order for term in some)
    largest = [term for term in some if term.order == order]
    c = Add(*(term.c for term in largest))
    if not c.is_positive:
        raise NoClosedForm("the leading terms of a block's matrix may cancel")
    close = any(term.order[0] == order[0] and term.order != order for term in some)
    return Leading(c, order, not close and all(term.exact for term in largest))


def summable(order: Order) -> bool:
    """Whether terms of an order have a bounded sum over l."""
    return bool(order < SLOW)


def summed(order: Order) -> Order:
    """The order of the sum of positive terms of an order over l."""
    a, b = order
    if a > -1:
        return a + 1, b
    if a == -1 and b > -1:
        return Integer(0), b + 1
    if summable(order):
        return ONE
    raise NoClosedForm("what blocks add to a stream's cross moment sums up to ln ln l")
