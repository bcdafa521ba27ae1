r"""Growth of products over blocks whose factors depend on the share t = l/L of the depth (T12.5).

From ln r(tL, L) = sum_p c_p(t) L^p (:mod:`.series`) follows

    sum_l ln r(l, L) = sum_p L^(p+1) int c_p(t) dt,

which is exact up to what vanishes if the coefficients are finite down to t = 0, where the early blocks are.
Powers of L between 0 and 1 in it are stretched exponentials: closed forms of a single block with L in it
have such laws, which its powers and gamma functions do not show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import (
    Add,
    Expr,
    Integer,
    Poly,
    Rational,
    Symbol,
    apart,
    cancel,
    div,
    exp,
    expand,
    factor,
    integrate,
    log,
    nan,
    oo,
    together,
    zoo,
)
from sympy.polys.polyerrors import BasePolynomialError

from ..base import symbols
from ..base.errors import NoClosedForm
from .growth import Growth
from .series import LOG, SHARE, logarithms, normal_form

if TYPE_CHECKING:
    Terms = dict[Rational, Expr]

L, LAYER = symbols.depth, symbols.layer

#: blocks and depths between which a factor must come nearer to one, at gains without relations
EARLY, DEEP = 1, (10**8, 10**12)
NUMBERS = (Rational(31, 100), Rational(73, 100), Rational(41, 100), Rational(113, 100), Rational(9, 10))


def profile_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of prod_{l=start}^{L-1} ratio(l, L) where ratio(t L, L) = 1 + phi(t)/L + o(1/L) at a share t of
    the depth: the product tends to exp(int phi dt), t from start/L to 1.

    Raises:
        NoClosedForm: the ratio is not of this form, uniformly in t.
    """
    excess = factor(together((ratio - 1).subs(LAYER, SHARE * L)))
    top, bottom = excess.as_numer_denom()
    if excess == 0:
        return Growth()
    if not (top.is_polynomial(L, SHARE) and bottom.is_polynomial(L, SHARE)):
        raise NoClosedForm("the ratio of block l is not rational in l and L")
    above, below = (part.as_poly(L) for part in (top, bottom))
    leading = expand(below.LC())
    if any(term.could_extract_minus_sign() for term in Add.make_args(leading)) or leading.subs(SHARE, 0) == 0:
        raise NoClosedForm("the ratio of block l has a pole within the stack")
    if above.degree() - below.degree() < -1:
        return Growth()
    if above.degree() - below.degree() > -1:
        raise NoClosedForm("the ratio of block l does not tend to one as 1/L")
    first = start.coeff(L, 1)
    primitive = integrate(apart(factor(above.LC() / below.LC()), SHARE), SHARE)
    return Growth(constant=expand(primitive.subs(SHARE, 1) - primitive.subs(SHARE, first)))


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
            terms = [c for c in [normal_form(Add(*terms))] if c != 0]
        if first == 0 and any(map(_early, terms)):
            raise NoClosedForm(
                f"the early blocks decide it: at a share t of the depth ln of a factor is {terms}"
            )
        if terms and (p > 0 or (p == 0 and terms[0].has(SHARE, LOG))):
            raise NoClosedForm(f"the factor of block l is of order L^{p} at a share t of the depth")
        try:
            area = Add(*(_area(c, first) for c in terms))
        except NoClosedForm:  # of parts that cancel
            area = _area(normal_form(Add(*terms)), first)
        if p == 0:
            total += Growth(rate=area, constant=-(start - first * L) * Add(*terms))
        elif p == -1:
            total += _in_log(area)
        elif area.has(LOG):
            raise NoClosedForm(f"its logarithm grows as L^{p + 1} times a function of ln L")
        else:
            stretched[p + 1] = area
    return total + Growth(stretched=tuple(stretched.items()))


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


def _early(c: Expr) -> bool:
    """Whether a coefficient is not finite down to t = 0."""
    return bool(c.subs(SHARE, 0).has(oo, -oo, zoo, nan))


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
    primitive = Add(*(_antiderivative(part, variable) for part in parts))
    area = expand(primitive.subs(variable, ends[1]) - primitive.subs(variable, ends[0]))
    if area.has(SHARE, variable, oo, -oo, zoo, nan):
        raise NoClosedForm(f"the integral of {c} over shares t of the depth is not known")
    return area


def _antiderivative(part: Expr, x: Symbol) -> Expr:
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
