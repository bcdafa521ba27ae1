r"""Laws of one stream whose blocks change it by 1/L, from a share a >= 0 of the depth on.

At l = tL, t from a to 1, a block changes its stream's second moment by g(q, t)/L and ln of a product by
f(q, t)/L, up to O(1/L^2). In deep stacks q follows dq/dt = g from what is before: blocks wired in another
way, or the first ones. The product over blocks from aL on tends to exp int f dt, a constant, which is found
where g = h(t) G(q) and f = h(t) F(q) with G constant or linear in q. With T = int_a^1 h dt, which is the time
that q takes, and F/G split into partial fractions, that with the denominator G being A/G,

    int f dt = int F/G dq = A T + int (F/G - A/G) dq.

The law is that of what is before, at depth aL, times this. For a = 0, g and f must be finite down to t = 0.
"""

from __future__ import annotations

from functools import cached_property

from sympy import Add, Expr, Float, Integer, Symbol, apart, cancel, exp, expand, factor, log, together

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.rank_collapse import collapse_factor, opening_factor
from ..derivation.recurrence import Recurrence
from .growth import Growth
from .of_closed_forms import growth
from .series import SHARE, antiderivative

l, L = symbols.layer, symbols.depth


class ByShare:
    """The laws of such a stack.

    Raises:
        NoClosedForm: it is not of this kind; the message says why.
    """

    def __init__(self, recurrence: Recurrence) -> None:
        state = recurrence.step.moment(0, 0)
        if len(recurrence.turns) > 1 or not isinstance(state, Symbol):
            raise NoClosedForm("its blocks differ, or a norm fixes its second moment")
        self._recurrence, self._state = recurrence, state
        start = growth(recurrence.initial[-1][0, 0], L)
        if any(order != 0 for order in start.orders[:4]) or start.stretched or start.log_stretched:
            raise NoClosedForm("what is before does not tend to a constant")
        self._first, self._share = start.prefactor, recurrence.start.coeff(L, 1)
        self._g = self._rate(recurrence.step.forward[0, 0] - state)

    def _rate(self, change: Expr) -> Expr:
        """The limit of L times a change at l = tL."""
        if change.has(Float):  # partial fractions of rounded numbers are not to be trusted
            raise NoClosedForm("a block's gains are numbers by quadrature")
        top, bottom = (expand(part) for part in together(change.subs(l, SHARE * L)).as_numer_denom())
        if not (top.is_polynomial(L, SHARE) and bottom.is_polynomial(L, SHARE)):
            raise NoClosedForm("a block is not rational in l and L")
        above, below = top.as_poly(L), bottom.as_poly(L)
        leading = expand(below.LC())
        if any(term.could_extract_minus_sign() for term in Add.make_args(leading)):
            raise NoClosedForm("a block may have a pole")
        if self._share == 0 and leading.subs(SHARE, 0) == 0:
            raise NoClosedForm("the first blocks decide it")
        gap = int(below.degree() - above.degree())
        if top != 0 and gap < 1:
            raise NoClosedForm("a block does not change its stream by 1/L")
        return factor(above.LC() / leading) if gap == 1 else Integer(0)

    @cached_property
    def _pace(self) -> tuple[Expr, Expr, Expr]:
        """h(t), T and G(q)."""
        if self._g == 0:
            return Integer(1), 1 - self._share, Integer(0)
        G = expand(self._g.subs(SHARE, 1))
        h = cancel(self._g / G)
        if h.has(self._state) or not G.is_polynomial(self._state) or G.as_poly(self._state).degree() > 1:
            raise NoClosedForm("the second moment at a share of the depth has no closed form")
        return h, _between(h, SHARE, self._share, Integer(1)), G

    @cached_property
    def _last(self) -> Expr:
        """q at the end."""
        _, T, G = self._pace
        slope = G.coeff(self._state, 1) if G != 0 else Integer(0)
        if slope == 0:
            return self._first + G * T
        fixed = -G.subs(self._state, 0) / slope
        return fixed + (self._first - fixed) * exp(slope * T)

    def forward(self) -> Growth:
        """Growth of q_L."""
        return Growth(constant=log(self._last))

    def gradient(self) -> Growth:
        """Growth of gamma_0 / gamma_L."""
        opening = growth(self._recurrence.opening_ratio, L)
        return opening + Growth(constant=self._sum(self._recurrence.step.backward_matrix[0, 0]))

    def collapse(self) -> Growth:
        """Growth of (1 - rho_L) / (1 - rho_0), near rho = 1."""
        opening = growth(opening_factor(self._recurrence), L)
        return opening + Growth(constant=self._sum(collapse_factor(self._recurrence.step)))

    def _sum(self, ratio: Expr) -> Expr:
        """int f dt."""
        (h, T, G), q, f = self._pace, self._state, self._rate(ratio - 1)
        if f == 0:
            return Integer(0)
        if G == 0:
            return _between(f.subs(q, self._first), SHARE, self._share, Integer(1))
        F = cancel(f / h)
        if F.has(SHARE):
            raise NoClosedForm("blocks change products and second moments at different paces")
        parts = [factor(part) for part in Add.make_args(apart(factor(F / G), q))]
        paced = [part for part in parts if G.has(q) and not cancel(part * G).has(q)]
        rest = Add(*(part for part in parts if part not in paced))
        return Add(*(cancel(part * G) for part in paced)) * T + _between(rest, q, self._first, self._last)


def _between(rate: Expr, x: Symbol, low: Expr, high: Expr) -> Expr:
    """The integral of a rational function with simple poles."""
    found = Add(*(antiderivative(part, x) for part in Add.make_args(apart(factor(rate), x))))
    return expand(found.subs(x, high) - found.subs(x, low))
