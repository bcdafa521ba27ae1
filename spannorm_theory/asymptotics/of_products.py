"""Large-depth growth of products and linear recurrences without closed form, from one block's limit."""

from __future__ import annotations

from sympy import Add, Expr, Integer, Symbol, apart, exp, expand, factor, integrate, log, powsimp, together

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.closed_forms import Pairs
from ..derivation.recurrence import Recurrence
from ..moments.one_token import tidy
from .growth import Growth
from .of_closed_forms import growth

L = symbols.depth


def product_law(ratio: Expr) -> Growth:
    """Growth of prod_l ratio(l) from ratio - 1 at large l; its constant, which the first blocks decide,
    stays open (the symbol C)."""
    l, constant = symbols.layer, log(symbols.constant)
    if ratio.has(L):
        raise NoClosedForm("the ratio of block l depends on l and L, and its product has no closed form")
    order = order_of(ratio - 1, l)
    if order.factorial != 0 or order.rate != 0 or (order.power + 1).is_positive is None:
        raise NoClosedForm(f"the ratio of block l behaves as 1 + {order}")
    size = exp(order.constant)
    if order.power == 0 and order.log_power == 0:
        return Growth(rate=log(1 + size), constant=constant)
    if order.power == -1 and order.log_power == 0:
        return Growth(power=factor(size), constant=constant)
    if order.power == -1 and order.log_power == -1:
        return Growth(log_power=factor(size), constant=constant)
    if (order.power + 1).is_negative:
        return Growth(constant=constant)
    raise NoClosedForm(f"the ratio of block l behaves as 1 + {order}")


def profile_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of prod_{l=start}^{L-1} ratio(l, L) where ratio(t L, L) = 1 + phi(t)/L + o(1/L) at a share t of
    the depth: the product tends to exp(int phi dt), t from start/L to 1.

    Raises:
        NoClosedForm: the ratio is not of this form, uniformly in t.
    """
    l, t = symbols.layer, symbols.positive("t")
    excess = factor(together((ratio - 1).subs(l, t * L)))
    top, bottom = excess.as_numer_denom()
    if excess == 0:
        return Growth()
    if not (top.is_polynomial(L, t) and bottom.is_polynomial(L, t)):
        raise NoClosedForm("the ratio of block l is not rational in l and L")
    above, below = (part.as_poly(L) for part in (top, bottom))
    leading = expand(below.LC())
    if any(term.could_extract_minus_sign() for term in Add.make_args(leading)) or leading.subs(t, 0) == 0:
        raise NoClosedForm("the ratio of block l has a pole within the stack")
    if above.degree() - below.degree() < -1:
        return Growth()
    if above.degree() - below.degree() > -1:
        raise NoClosedForm("the ratio of block l does not tend to one as 1/L")
    first = start.coeff(L, 1)
    primitive = integrate(apart(factor(above.LC() / below.LC()), t), t)
    return Growth(constant=expand(primitive.subs(t, 1) - primitive.subs(t, first)))


def moment_by_recurrence(recurrence: Recurrence, pair: Pairs) -> Growth:
    """Growth of a stream moment at l = L: of its closed form, else of its linear recurrence."""
    try:
        return growth(recurrence.moment_at(pair, L), L)
    except NoClosedForm:
        state = recurrence.step.moment(*pair)
        others = {recurrence.step.moment(*p) for p in recurrence.step.pairs} - {state}
        step = recurrence.step.forward[pair]
        if not isinstance(state, Symbol) or step.free_symbols & others:
            raise
        return linear_law(step, state)


def linear_law(step: Expr, state: Symbol) -> Growth:
    """Growth of q_L for q_{l+1} = a(l) q_l + b(l) with a = 1 - alpha/l and b = beta l^-s at large l.

    The balance of q' = -alpha q / l + beta l^-s gives q ~ beta / (1 - s + alpha) l^(1 - s), whatever the
    first blocks were, as long as 1 - s + alpha > 0.

    Raises:
        NoClosedForm: the step is not of this form.
    """
    l = symbols.layer
    a = tidy(step.diff(state))
    if a.has(state) or step.has(L):
        raise NoClosedForm("its step is not linear with coefficients in l alone")
    reason = "its linear recurrence does not balance as a power of l"
    alpha, added = Integer(0), growth(powsimp(expand(step.subs(state, 0))), l)
    if a != 1:
        # a holds square roots: 1 - a = (1 - a^2) / 2 at leading order, and a^2 is rational
        lost = order_of(together(1 - a**2), l)
        if lost.power != -1 or lost.log_power != 0:
            raise NoClosedForm(reason)
        alpha = factor(exp(lost.constant) / 2)
    denominator = factor(1 + added.power + alpha)
    if added.rate != 0 or not denominator.is_positive:
        raise NoClosedForm(reason)
    return Growth(power=added.power + 1, constant=added.constant - log(denominator))


def order_of(expression: Expr, l: Symbol) -> Growth:
    """Growth of a rational expression, numerator over denominator."""
    top, bottom = factor(expression).as_numer_denom()
    return growth(expand(top), l) + growth(expand(bottom), l).times(Integer(-1))
