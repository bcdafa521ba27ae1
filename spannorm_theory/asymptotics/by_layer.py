r"""Products of factors that depend on the block's index alone.

With ln r(l) = sum_p alpha_p l^p, p > -1, + alpha / l + O(l^-1-epsilon), and no term p >= 0,

    prod_{k<l} r(k) ~ C exp(sum_p alpha_p l^(p+1) / (p + 1)) l^alpha.

The first blocks decide C, which stays open.
"""

from __future__ import annotations

from sympy import Add, Expr, factor, log

from ..base import symbols
from ..base.errors import NoClosedForm
from .attempts import first_of
from .growth import Growth
from .of_products import product_law
from .series import LOG, SHARE, logarithms

l, L = symbols.layer, symbols.depth


def layer_law(ratio: Expr) -> Growth:
    """Growth of prod_l ratio(l): of a ratio's leading order, else of its expansion.

    Raises:
        NoClosedForm: it depends on the depth, has no expansion, or its factors do not tend to one.
    """
    if ratio.has(L):
        raise NoClosedForm("a block's factor depends on the depth")
    return first_of(lambda: product_law(ratio), lambda: _expanded(ratio))


def _expanded(ratio: Expr) -> Growth:
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
