r"""Growth of products and linear recurrences without closed form, from one block's limit (T12.3, T12.4).

Of factors that depend on the block's index alone: with ln r(l) = sum_p alpha_p l^p, p > -1, + alpha / l
+ O(l^-1-epsilon), and no term p >= 0,

    prod_{k<l} r(k) ~ C exp(sum_p alpha_p l^(p+1) / (p + 1)) l^alpha.

The first blocks decide C, which stays open. Factors that depend on the share of the depth:
:mod:`.of_profiles`.
"""

from __future__ import annotations

from dataclasses import replace

from sympy import (
    Add,
    Expr,
    Integer,
    Poly,
    Symbol,
    exp,
    expand,
    expand_log,
    factor,
    log,
    nan,
    oo,
    powsimp,
    together,
    zoo,
)

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.closed_forms import Pairs
from ..derivation.recurrence import Recurrence
from ..moments.one_token import tidy
from .growth import Growth, first_of
from .of_closed_forms import growth, order_of
from .of_profiles import profile_law, share_law
from .series import LOG, SHARE, logarithms

L, LAYER = symbols.depth, symbols.layer

#: the root of L
ROOT = symbols.positive("y")


def product_of_blocks(ratio: Expr, start: Expr) -> Growth:
    """Growth of prod_{l=start}^{L-1} ratio(l, L): from the limit of a factor, else from its expansion.

    Raises:
        NoClosedForm: neither gives it; the message gives all reasons.
    """

    def at_leading_order() -> Growth:
        return profile_law(ratio, start) if ratio.has(L) or start.has(L) else layer_law(ratio)

    def expanded() -> Growth:
        in_log = _in_logarithm(ratio)
        return first_of(lambda: share_law(in_log, start), lambda: limit_law(in_log, start))

    return first_of(at_leading_order, expanded)


def layer_law(ratio: Expr) -> Growth:
    """Growth of prod_l ratio(l): of a ratio's leading order, else of its expansion.

    Raises:
        NoClosedForm: it depends on the depth, has no expansion, or its factors do not tend to one.
    """
    if ratio.has(L):
        raise NoClosedForm("a block's factor depends on the depth")
    return first_of(lambda: product_law(ratio), lambda: _expanded(ratio))


def product_law(ratio: Expr) -> Growth:
    """Growth of prod_l ratio(l) from ratio - 1 at large l; its constant, which the first blocks decide,
    stays open (the symbol C)."""
    constant = log(symbols.constant)
    if ratio.has(L):
        raise NoClosedForm("the ratio of block l depends on l and L, and its product has no closed form")
    order = order_of(ratio - 1, LAYER)
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


def _expanded(ratio: Expr) -> Growth:
    """Growth of prod_l ratio(l) from an expansion of ln ratio."""
    parts = logarithms(ratio)
    law = Growth(constant=log(symbols.constant))
    for p in sorted({p for part in parts for p in part.terms if p >= -1}):
        alpha = factor(Add(*(part.terms.get(p, 0) for part in parts)) * SHARE**-p)
        if alpha == 0:
            continue
        if p >= 0 or alpha.has(LOG, SHARE):
            raise NoClosedForm("its factors do not tend to one as a power of l")
        if p == -1:
            law += Growth(power=alpha)
        else:
            law += Growth(stretched=((p + 1, alpha / (p + 1)),))
    return law


def limit_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of such a product where early blocks decide it: of the factors' limits in deep stacks, with a
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


def _in_logarithm(ratio: Expr) -> Expr:
    """A ratio with ell for ln L, factored where that makes it rational."""
    replaced = ratio.replace(log, lambda x: expand_log(log(x))).subs(log(L), LOG)
    return factor(replaced) if replaced.is_rational_function() else ratio


def moment_by_recurrence(recurrence: Recurrence, pair: Pairs) -> Growth:
    """Growth of a stream moment at l = L: of its closed form, else of its linear recurrence."""
    try:
        return growth(recurrence.moment_at(pair, L), L)
    except NoClosedForm:
        state = recurrence.step.moment(*pair)
        others = {recurrence.step.moment(*p) for p in recurrence.step.pairs} - {state}
        step = recurrence.common(lambda block: block.forward[pair])
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
    a = tidy(step.diff(state))
    if a.has(state) or step.has(L):
        raise NoClosedForm("its step is not linear with coefficients in l alone")
    if step.subs(state, 0) == 0:
        raise NoClosedForm("blocks multiply it alone, and there is no closed form of what they start from")
    reason = "its linear recurrence does not balance as a power of l"
    alpha, added = Integer(0), growth(powsimp(expand(step.subs(state, 0))), LAYER)
    if a != 1:
        # a holds square roots: 1 - a = (1 - a^2) / 2 at leading order, and a^2 is rational
        lost = order_of(together(1 - a**2), LAYER)
        if lost.power != -1 or lost.log_power != 0:
            raise NoClosedForm(reason)
        alpha = factor(exp(lost.constant) / 2)
    denominator = factor(1 + added.power + alpha)
    if added.rate != 0 or not denominator.is_positive:
        raise NoClosedForm(reason)
    return Growth(power=added.power + 1, constant=added.constant - log(denominator))
