r"""Products over blocks from an expansion of one block's factor at a share t of the depth.

With l = t L every factor is a sum of powers of L, whose coefficients depend on t, the gains and ln L. From
ln r(tL, L) = sum_p c_p(t) L^p follows

    sum_l ln r(l, L) = sum_p L^(p+1) int c_p(t) dt,

which is exact up to what vanishes if the coefficients are finite down to t = 0, where the early blocks are.
Powers of L between 0 and 1 in it are stretched exponentials: closed forms of a single block with L in it
have such laws, which its powers and gamma functions do not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sympy import (
    EulerGamma,
    Expr,
    Integer,
    Mul,
    Poly,
    Rational,
    apart,
    binomial,
    cancel,
    div,
    exp,
    expand,
    expand_log,
    factor,
    factorial,
    harmonic,
    integrate,
    log,
    nan,
    oo,
    together,
    zoo,
)

from .. import symbols
from ..errors import NoClosedForm
from .growth import Growth, growth
from .products import order_of, product_law

if TYPE_CHECKING:
    Terms = dict[Rational, Expr]

L, LAYER = symbols.depth, symbols.layer

#: a share of the depth, and ln L
SHARE, LOG = symbols.positive("t"), symbols.positive("ell")

#: powers of L that are kept below the leading one
KEPT = 2

ZERO = Integer(0)


class Series:
    """A sum of powers of L with coefficients in t and ln L; terms far below the leading one are dropped."""

    def __init__(self, terms: Mapping[Expr, Expr]) -> None:
        kept = {p: _plain(c) for p, c in terms.items()}
        kept = {p: c for p, c in kept.items() if c != 0}
        top = max(kept, default=ZERO)
        self.terms: Terms = {p: c for p, c in kept.items() if p >= top - KEPT}
        self.top = top

    def __add__(self, other: Series) -> Series:
        terms = dict(self.terms)
        for p, c in other.terms.items():
            terms[p] = terms.get(p, ZERO) + c
        return Series(terms)

    def __mul__(self, other: Series) -> Series:
        terms: Terms = {}
        for p, a in self.terms.items():
            for q, b in other.terms.items():
                if p + q >= self.top + other.top - KEPT:
                    terms[p + q] = terms.get(p + q, ZERO) + a * b
        return Series(terms)

    def shifted(self, power: Expr, factor_: Expr) -> Series:
        """factor L^power times this."""
        return Series({p + power: factor_ * c for p, c in self.terms.items()})

    def normal(self) -> tuple[Expr, Series]:
        """(a, x) with this = a L^top (1 + x)."""
        if not self.terms:
            raise NoClosedForm("the leading terms cancel")
        leading = self.terms[self.top]
        rest = {p - self.top: c / leading for p, c in self.terms.items() if p != self.top}
        return leading, Series(rest)

    def power(self, exponent: Expr) -> Series:
        """This to a power without L."""
        leading, x = self.normal()
        total, now = Series({ZERO: Integer(1)}), Series({ZERO: Integer(1)})
        for k in range(1, _steps(x) + 1):
            now = now * x
            total = total + now.shifted(ZERO, binomial(exponent, k))
        return total.shifted(exponent * self.top, leading**exponent)

    def log(self) -> Series:
        """ln of this."""
        leading, x = self.normal()
        total, now = Series({ZERO: log(factor(leading)) + self.top * LOG}), Series({ZERO: Integer(1)})
        for k in range(1, _steps(x) + 1):
            now = now * x
            total = total + now.shifted(ZERO, Rational((-1) ** (k + 1), k))
        return total

    def exp(self) -> Series:
        """e to this, which must not grow."""
        if self.top > 0:
            raise NoClosedForm("a power of a block's number grows faster than a power of L")
        slope = expand(self.terms.get(ZERO, ZERO)).coeff(LOG, 1)
        front = exp(expand(self.terms.get(ZERO, ZERO) - slope * LOG))
        if front.has(LOG) or slope.has(SHARE):
            raise NoClosedForm("a power of a block's number is no power of L")
        x = Series({p: c for p, c in self.terms.items() if p != 0})
        total, now = Series({ZERO: Integer(1)}), Series({ZERO: Integer(1)})
        for k in range(1, _steps(x) + 1):
            now = now * x
            total = total + now.shifted(ZERO, 1 / factorial(k))
        return total.shifted(slope, front)


def _steps(x: Series) -> int:
    """How many powers of x are above what is dropped."""
    return int(KEPT / -x.top) if x.terms else 0


def _plain(coefficient: Expr) -> Expr:
    expanded = expand(coefficient)
    return cancel(together(expanded)) if expanded.is_Add else expanded


def expand_at_share(expression: Expr) -> Series:
    """An expression in (l, L) with l = t L.

    Raises:
        NoClosedForm: it holds a function that is not expanded here.
    """
    if not expression.has(L, LAYER):
        return Series({ZERO: expression})
    if expression == L:
        return Series({Integer(1): Integer(1)})
    if expression == LAYER:
        return Series({Integer(1): SHARE})
    if expression.is_Add:
        total = Series({})
        for part in expression.args:
            total = total + expand_at_share(part)
        return total
    if expression.is_Mul:
        total = Series({ZERO: Integer(1)})
        for part in expression.args:
            total = total * expand_at_share(part)
        return total
    if isinstance(expression, log):
        return expand_at_share(expression.args[0]).log()
    if expression.is_Pow or isinstance(expression, exp):
        base, exponent = expression.as_base_exp()
        if not exponent.has(L, LAYER):
            return expand_at_share(base).power(exponent)
        return (expand_at_share(exponent) * expand_at_share(base).log()).exp()
    if isinstance(expression, harmonic) and len(expression.args) == 1:
        n = expand_at_share(expression.args[0])
        return n.log() + Series({ZERO: EulerGamma}) + n.power(Integer(-1)).shifted(ZERO, Rational(1, 2))
    raise NoClosedForm(f"no expansion in the depth is known for {expression.func.__name__}")


def share_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of prod_{l=start}^{L-1} ratio(l, L).

    Raises:
        NoClosedForm: early blocks decide it, or the ratio has no expansion in powers of L.
    """
    logs, first = Series({}), start.coeff(L, 1)
    for part in Mul.make_args(ratio):
        base, exponent = part.as_base_exp()
        fixed = not exponent.has(L, LAYER)
        logs = logs + expand_at_share(base if fixed else part).log().shifted(ZERO, exponent if fixed else 1)
    total = Growth()
    stretched: Terms = {}
    for p, c in logs.terms.items():
        if first == 0 and not p + _pole(c) < 0:
            raise NoClosedForm(f"the early blocks decide it: at a share t of the depth ln of a factor is {c}")
        if p < -1:
            continue
        if p > 0 or (p == 0 and c.has(SHARE, LOG)):
            raise NoClosedForm(f"the factor of block l is of order L^{p} at a share t of the depth")
        area = _area(c, first)
        if p == 0:
            total += Growth(rate=area, constant=-(start - first * L) * c)
        elif p == -1:
            total += _in_log(area)
        elif area.has(LOG):
            raise NoClosedForm(f"its logarithm grows as L^{p + 1} times a function of ln L")
        else:
            stretched[p + 1] = area
    return total + Growth(stretched=tuple(stretched.items()))


def _pole(c: Expr) -> Expr:
    """k where early blocks make L^(p + k) of a term c(t) L^p: the order of its pole at t = 0, at least one; minus
    infinity where it has none."""
    top, bottom = together(c).as_numer_denom()
    orders = []
    for part in (top, bottom):
        part = part.replace(lambda e: isinstance(e, (log, exp)) and e.has(SHARE), lambda e: Integer(1))
        if not part.is_polynomial(SHARE):
            raise NoClosedForm(f"its behaviour in the early blocks is not known: {c}")
        orders.append(min(m[0] for m in Poly(part, SHARE).monoms()))
    k = orders[1] - orders[0]
    if k <= 0 and not c.has(log(SHARE)):
        return -oo
    return max(Integer(1), Integer(k))


def limit_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of the same product where early blocks decide it: of the factors' limits in deep stacks, with a
    constant that these blocks leave open, times that of what is left of the factors.

    Raises:
        NoClosedForm: the factors do not settle as L or its logarithm grows, or what is left has no law.
    """
    large = LOG if ratio.has(LOG) and not ratio.has(L) else L
    if not ratio.is_rational_function(large):
        raise NoClosedForm("the factors are not rational in L or its logarithm")
    top, bottom = (Poly(part, large) for part in together(ratio).as_numer_denom())
    limit = factor(top.LC() / bottom.LC())
    if top.degree() != bottom.degree() or not limit.has(LAYER):
        raise NoClosedForm("the factors of early blocks do not settle as L grows")
    rest = factor(ratio / limit)
    law, first = product_law(limit), limit.subs(LAYER, start)
    if first == 0 or first.has(oo, -oo, zoo, nan):
        law += growth(ratio.subs(LAYER, start).subs(LOG, log(L)), L)
    if large == L:
        law += share_law(rest, start)
    elif not (order_of(rest - 1, LAYER).power + 1).is_negative:
        raise NoClosedForm("what the logarithm leaves does not fall fast enough with l")
    return replace(law, constant=log(symbols.constant))


def expanded_law(ratio: Expr, start: Expr, reason: NoClosedForm) -> Growth:
    """The law of a product that has none by other means; where it has none here either, all reasons."""
    ratio = _in_logarithm(ratio)
    try:
        return share_law(ratio, start)
    except NoClosedForm as other:
        try:
            return limit_law(ratio, start)
        except NoClosedForm as last:
            raise NoClosedForm(f"{reason}; {other}; {last}") from None


def _in_logarithm(ratio: Expr) -> Expr:
    """A ratio with ell for ln L, factored where that makes it rational."""
    replaced = ratio.replace(log, lambda x: expand_log(log(x))).subs(log(L), LOG)
    return factor(replaced) if replaced.is_rational_function() else ratio


def _area(c: Expr, first: Expr) -> Expr:
    """The integral of a coefficient over the shares t of the depth, from ``first`` to 1."""
    if not c.has(SHARE):
        return expand((1 - first) * c)
    rates = [e.args[0] / SHARE for e in c.atoms(exp) if e.args[0].has(SHARE)]
    if rates:  # rational in w = e^(k t)
        k, w = min(rates, key=abs), symbols.positive("w")
        inner = together(
            expand(c).replace(lambda e: isinstance(e, exp), lambda e: w ** cancel(e.args[0] / SHARE / k))
            / (k * w)
        )
        ends = exp(k * first), exp(k)
        variable = w
    else:
        inner, variable, ends = c, SHARE, (first, Integer(1))
    if not inner.is_rational_function(variable):
        raise NoClosedForm(f"the integral of {c} over shares t of the depth is not known")
    primitive = integrate(apart(factor(inner), variable), variable)
    return expand(primitive.subs(variable, ends[1]) - primitive.subs(variable, ends[0]))


def _in_log(area: Expr) -> Growth:
    """L to a coefficient of ln L, times a constant; what falls with ln L is left out."""
    if not area.has(LOG):
        return Growth(constant=area)
    top, bottom = cancel(together(area)).as_numer_denom()
    if not (top.is_polynomial(LOG) and bottom.is_polynomial(LOG)):
        raise NoClosedForm(f"its logarithm tends to {area} with ell = ln L")
    whole = Poly(div(top, bottom, LOG)[0], LOG)
    if whole.degree() > 1:
        raise NoClosedForm("its logarithm grows faster than ln L, and slower than a power of L")
    return Growth(power=factor(whole.coeff_monomial(LOG)), constant=whole.coeff_monomial(1))
