r"""Products over blocks from an expansion of one block's factor at a share t of the depth.

With l = t L every factor is a sum of powers of L, whose coefficients depend on t, the gains and ln L. From
ln r(tL, L) = sum_p c_p(t) L^p follows

    sum_l ln r(l, L) = sum_p L^(p+1) int c_p(t) dt,

which is exact up to what vanishes if the coefficients are finite down to t = 0, where the early blocks are.
Powers of L between 0 and 1 in it are stretched exponentials: closed forms of a single block with L in it
have such laws, which its powers and gamma functions do not show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from operator import add, mul
from typing import TYPE_CHECKING

from sympy import (
    Add,
    EulerGamma,
    Expr,
    Integer,
    Mul,
    Poly,
    Rational,
    Symbol,
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
    log,
    nan,
    oo,
    together,
    zoo,
)
from sympy.polys.polyerrors import BasePolynomialError

from ..base import symbols
from ..base.errors import NoClosedForm
from .attempts import first_of
from .growth import Growth
from .of_closed_forms import growth
from .of_products import order_of, product_law

if TYPE_CHECKING:
    Terms = dict[Rational, Expr]

L, LAYER = symbols.depth, symbols.layer

#: a share of the depth, and ln L
SHARE, LOG = symbols.positive("t"), symbols.positive("ell")

#: the root of L
ROOT = symbols.positive("y")

#: powers of L that are kept below the leading one, tried in turn
KEPT = (1, 2, 3)

#: operations in a coefficient; to normalise longer ones takes seconds
LONGEST = 150

#: blocks and depths at which a factor must tend to one, at gains without relations
EARLY, DEEP = 1, (10**8, 10**12)
NUMBERS = (Rational(31, 100), Rational(73, 100), Rational(41, 100), Rational(113, 100), Rational(9, 10))

ZERO = Integer(0)


class Series:
    """A sum of powers of L with coefficients in t and ln L, known down to the power ``cut``."""

    def __init__(self, terms: Mapping[Expr, Expr], kept: int, cut: Expr = -oo) -> None:
        plain = {p: _plain(c) for p, c in terms.items() if p >= cut}
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
        """This to a power without L."""
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


def _plain(coefficient: Expr) -> Expr:
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


def _require_quiet_start(ratio: Expr, start: Expr) -> None:
    """Refuse factors that do not tend to one in early blocks: these then leave a constant of their own."""
    if not ratio.has(LAYER):
        return
    others = ratio.free_symbols - {L, LAYER, LOG}
    numbers = dict(zip(sorted(others, key=str), NUMBERS, strict=False))
    sizes = []
    for depth in DEEP:
        place = {LAYER: start + EARLY, L: Integer(depth), LOG: log(Integer(depth))}
        sizes.append(abs(log(ratio.subs(place).subs(numbers)).evalf(40)))
    if not (sizes[1].is_number and sizes[1] < sizes[0] / 4):
        raise NoClosedForm("the early blocks decide it: their factors do not tend to one in deep stacks")


def share_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of prod_{l=start}^{L-1} ratio(l, L).

    Raises:
        NoClosedForm: early blocks decide it, or the ratio has no expansion in powers of L.
    """
    first = start.coeff(L, 1)
    if first == 0:
        _require_quiet_start(ratio, start)
    parts = logarithms(ratio)
    total = Growth()
    stretched: Terms = {}
    for p in sorted({p for part in parts for p in part.terms if p >= -1}):
        # the sum of many coefficients is costly to normalise: each is integrated by itself where it can be
        terms = [part.terms[p] for part in parts if p in part.terms]
        if p != -1 or any(map(_early, terms)):
            terms = [c for c in [_plain(Add(*terms))] if c != 0]
        if first == 0 and any(map(_early, terms)):
            raise NoClosedForm(
                f"the early blocks decide it: at a share t of the depth ln of a factor is {terms}"
            )
        if terms and (p > 0 or (p == 0 and terms[0].has(SHARE, LOG))):
            raise NoClosedForm(f"the factor of block l is of order L^{p} at a share t of the depth")
        try:
            area = Add(*(_area(c, first) for c in terms))
        except NoClosedForm:  # of parts that cancel
            area = _area(_plain(Add(*terms)), first)
        if p == 0:
            total += Growth(rate=area, constant=-(start - first * L) * Add(*terms))
        elif p == -1:
            total += _in_log(area)
        elif area.has(LOG):
            raise NoClosedForm(f"its logarithm grows as L^{p + 1} times a function of ln L")
        else:
            stretched[p + 1] = area
    return total + Growth(stretched=tuple(stretched.items()))


def _early(c: Expr) -> bool:
    """Whether a coefficient is not finite down to t = 0."""
    return bool(c.subs(SHARE, 0).has(oo, -oo, zoo, nan))


def limit_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of the same product where early blocks decide it: of the factors' limits in deep stacks, with a
    constant that these blocks leave open, times that of what is left of the factors.

    Raises:
        NoClosedForm: the factors do not settle as L or its logarithm grows, or what is left has no law.
    """
    large = LOG if ratio.has(LOG) and not ratio.has(L) else L
    whole = ratio.subs(L, ROOT**2) if large == L and not ratio.is_rational_function(L) else ratio
    if not whole.is_rational_function(large, ROOT):
        raise NoClosedForm("the factors are not rational in L, its root or its logarithm")
    variable = ROOT if whole.has(ROOT) else large
    top, bottom = (Poly(part, variable) for part in together(whole).as_numer_denom())
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


def expanded_law(ratio: Expr, start: Expr) -> Growth:
    """The law of a product that has none by other means; where it has none here either, all reasons."""
    ratio = _in_logarithm(ratio)
    return first_of(lambda: share_law(ratio, start), lambda: limit_law(ratio, start))


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
    try:
        parts = Add.make_args(apart(factor(inner), variable))
    except (TypeError, BasePolynomialError):  # sympy's, for some decimal coefficients
        raise NoClosedForm(
            f"the integral of {c} over shares t of the depth has decimal coefficients"
        ) from None
    primitive = Add(*(antiderivative(part, variable) for part in parts))
    area = expand(primitive.subs(variable, ends[1]) - primitive.subs(variable, ends[0]))
    if area.has(SHARE, variable, oo, -oo, zoo, nan):
        raise NoClosedForm(f"the integral of {c} over shares t of the depth is not known")
    return area


def antiderivative(part: Expr, x: Symbol) -> Expr:
    """An indefinite integral of A x^n or A/(b x + c); general integration can take minutes.

    Raises:
        NoClosedForm: something else.
    """
    top, bottom = part.as_numer_denom()
    if bottom.is_polynomial(x) and bottom.as_poly(x).degree() == 1 and not top.has(x):
        return top / bottom.as_poly(x).LC() * log(bottom)
    constant, rest = part.as_independent(x, as_Add=False)
    base, power = rest.as_base_exp()
    if rest == 1 or (base == x and power.is_Integer and power != -1):
        return constant * x ** (power + 1) / (power + 1) if rest != 1 else constant * x
    raise NoClosedForm("its integral over shares of the depth is not that of simple poles")


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
