r"""The law of a product over blocks from its factors.

Besides those of :mod:`.by_layer`, :mod:`.of_products` and :mod:`.series`, factors may settle on the scale
l ~ sqrt(L) in between: with l = tau y, y = sqrt(L), a factor that is rational in l and y tends to one as

    r = 1 + phi(tau)/y + O(1/(l + y)^2),     hence     sum_l ln r = int_0^y phi(tau) dtau + O(1/y),

and a part A/(b tau + d) of phi gives (A/b) (ln L / 2 + ln(b/d)): a power of L with its constant.
"""

from __future__ import annotations

from sympy import Add, Expr, Integer, apart, expand, factor, log, together

from ..base import symbols
from ..base.errors import NoClosedForm
from .attempts import first_of
from .by_layer import layer_law
from .growth import Growth
from .of_products import profile_law
from .series import ROOT, expanded_law

l, L = symbols.layer, symbols.depth

#: a share of sqrt(L)
SHARE = symbols.positive("tau")


def blocks_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of prod_{l=start}^{L-1} ratio(l, L) from the limit of a factor.

    Raises:
        NoClosedForm: it does not give one.
    """
    return profile_law(ratio, start) if ratio.has(L) or start.has(L) else layer_law(ratio)


def expanded(ratio: Expr, start: Expr) -> Growth:
    """Growth of the same product from expansions of a factor.

    Raises:
        NoClosedForm: they give none; the message gives all reasons.
    """
    return first_of(lambda: expanded_law(ratio, start), lambda: root_law(ratio, start))


def product_of_blocks(ratio: Expr, start: Expr) -> Growth:
    """Growth of the same product from either.

    Raises:
        NoClosedForm: neither gives it; the message gives all reasons.
    """
    return first_of(lambda: blocks_law(ratio, start), lambda: expanded(ratio, start))


def root_law(ratio: Expr, start: Expr) -> Growth:
    """Growth of the same product where its factors settle on the scale of sqrt(L).

    Raises:
        NoClosedForm: they do not.
    """
    inner = factor(together((ratio - 1).subs(L, ROOT**2).subs(l, SHARE * ROOT)))
    if start.has(L) or inner.has(L, l) or not inner.is_rational_function(SHARE, ROOT):
        raise NoClosedForm("its factors are not rational in l and sqrt(L)")
    above, below = (expand(part).as_poly(ROOT) for part in inner.as_numer_denom())
    leading = expand(below.LC())
    if any(term.could_extract_minus_sign() for term in Add.make_args(leading)) or leading.subs(SHARE, 0) == 0:
        raise NoClosedForm("its factors have a pole on the scale of sqrt(L)")
    if below.degree() - above.degree() != 1:
        raise NoClosedForm("its factors do not tend to one as 1/sqrt(L)")
    power, constant = Integer(0), Integer(0)
    for part in Add.make_args(apart(factor(above.LC() / leading), SHARE)):
        top, bottom = part.as_numer_denom()
        line = bottom.as_poly(SHARE)
        if top.has(SHARE) or line is None or line.degree() != 1:
            raise NoClosedForm("what its factors add on the scale of sqrt(L) has other than simple poles")
        slope, offset = line.all_coeffs()
        power += top / slope
        constant += top / slope * log(slope / offset)
    return Growth(power=factor(power / 2), constant=constant)
