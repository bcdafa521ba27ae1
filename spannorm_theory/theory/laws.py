"""Large-depth laws of a recursion: from closed forms, or from one block's limit where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import Expr, Integer, exp, expand, factor, log

from .. import symbols
from ..errors import NoClosedForm
from .growth import Growth, growth

if TYPE_CHECKING:
    from .recursion import Recursion

L = symbols.depth


def laws(recursion: Recursion) -> dict[str, Growth | str]:
    """Growth of each stream moment at l = L, of gamma_0/gamma_L and of the identity gain."""
    result: dict[str, Growth | str] = {}
    for pair in recursion.step.pairs:
        name = f"{recursion.block.moment(*pair)} at l=L"
        result[name] = _attempt(lambda p=pair: growth(recursion.moment_at(p, L), L))
    single = len(recursion.step.trace.streams) == 1
    if single:
        result["gamma_0/gamma_L"] = _attempt(lambda: gradient_law(recursion))
    for stream in range(len(recursion.step.trace.streams)):
        name = "identity gain" if single else f"identity gain {stream}"
        result[name] = _attempt(lambda s=stream: growth(recursion.identity_gain(s), L))
    return result


def _attempt(compute: object) -> Growth | str:
    try:
        return compute()  # type: ignore[operator,no-any-return]
    except NoClosedForm as reason:
        return str(reason)


def gradient_law(recursion: Recursion) -> Growth:
    """Growth of gamma_0/gamma_L: of its closed form, else of the product that its blocks' limit gives."""
    try:
        return growth(recursion.gradient_ratio(), L)
    except NoClosedForm:
        return product_law(recursion.ratio)


def product_law(ratio: Expr) -> Growth:
    """Growth of prod_l ratio(l) from ratio - 1 at large l; its constant, which the first blocks decide,
    stays open (the symbol C)."""
    l, constant = symbols.layer, log(symbols.constant)
    if ratio.has(L):
        raise NoClosedForm("the ratio of block l depends on l and L, and its product has no closed form")
    top, bottom = factor(ratio - 1).as_numer_denom()
    order = growth(expand(top), l) + growth(expand(bottom), l).times(Integer(-1))
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
