r"""Laws of one stream whose branches read a saturating function of it, and which grows without bound.

With x = q^(-1/2), M and S are a^2 - c x and k x up to O(x^3) (:mod:`spannorm_theory.gaussian.saturation`).
A block whose branches do not fade, or fade as 1/l, changes q and the logarithm of a product by

    q_{l+1} - q_l = h (s - kappa x + O(x^2)),     ln r_l = h (alpha x + beta x^2 + O(x^3)),     h = 1 or 1/l,

up to O(l^-2) in the second case. Let t be l or ln l, so that h is its step. q grows as s t, what is left
out is summable, and a sum over blocks is an integral over q up to a constant:

    sum ln r_l = int (alpha q^-1/2 + beta/q) / (s - kappa q^-1/2) dq + const
               = 2 (alpha/s) sqrt(q) + (beta/s + alpha kappa/s^2) ln q + const + o(1).

From dq/dt follows t = q/s + 2 (kappa/s^2) sqrt(q) + O(ln q), hence sqrt(q) = sqrt(s t) - kappa/s + o(1), and

    prod r_l ~ C exp(2 alpha sqrt(t/s)) t^(beta/s + alpha kappa/s^2),     q ~ s t,     t = L or ln L.

The constant C holds what the early blocks do, and stays open. The coefficients are read from the step, whose
function in front of branch i enters as m_i and s_i (:mod:`.levelled`).
"""

from __future__ import annotations

from sympy import Expr, Integer, Rational, Symbol, cancel, expand, factor, log, sqrt, together

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.rank_collapse import collapse_factor
from ..derivation.recurrence import Recurrence
from ..moments.one_token import constant_gains
from .growth import Growth
from .levelled import levelled, named, names, saturation

l, L = symbols.layer, symbols.depth

#: q^(-1/2)
ROOT = symbols.positive("x")


class Saturating:
    """The laws of such a stack.

    Raises:
        NoClosedForm: it is not of this kind; the message says why.
    """

    def __init__(self, recurrence: Recurrence) -> None:
        if len(recurrence.block.trace.streams) > 1:
            raise NoClosedForm("several streams change together")
        if not any(branch.elementwise for branch in recurrence.block.trace.branches):
            raise NoClosedForm("no branch reads a saturating function")
        found = levelled(recurrence)
        self._step, state = found.step, found.step.moment(0, 0)
        if found.before is not None or found.opening or len(found.turns) > 1 or not isinstance(state, Symbol):
            raise NoClosedForm("its blocks differ, or a norm fixes its second moment")
        self._place: dict[Expr, Expr] = {state: ROOT**-2}
        self._place |= self._moments()
        added = self._at(found.step.forward[0, 0] - state)
        self._fading = _fading(added)
        self._s, kappa = _taylor(_faded(added, self._fading), 2)
        self._kappa = -kappa
        if not self._s.is_positive:
            raise NoClosedForm("what a block adds does not tend to something positive")

    def _moments(self) -> dict[Expr, Expr]:
        """m_i and s_i up to O(x^3), of functions whose input has a second moment v q + O(1)."""
        found: dict[Expr, Expr] = {}
        for branch, size in zip(self._step.trace.branches, self._step.branch_sizes, strict=True):
            if branch.elementwise:
                # those of the functions before are bounded, and no part of v
                bounded = dict.fromkeys((m for m in size.free_symbols if m in found), Integer(1))
                (v,) = _taylor(_faded(cancel(self._at(size.subs(bounded)) * ROOT**2), 0), 1)
                if not v.is_positive:
                    raise NoClosedForm("a function does not read the whole stream")
                values = saturation(branch).moments(ROOT / sqrt(v))
                found |= dict(zip(names(branch), values, strict=True))
        return found

    def _at(self, expression: Expr) -> Expr:
        found = expression.subs(self._place)
        if found.has(L) or not found.is_rational_function(l, ROOT):
            raise NoClosedForm("a block is not rational in l and the root of its second moment")
        return found

    def forward(self) -> Growth:
        """Growth of q_L."""
        return self._in_time(Integer(1), Integer(0), log(self._s))

    def gradient(self) -> Growth:
        """Growth of gamma_0 / gamma_L."""
        return self._product(self._step.backward_terms[0, 0])

    def collapse(self) -> Growth:
        """Growth of (1 - rho_L) / (1 - rho_0), near rho = 1."""
        return self._product(collapse_factor(self._step, named(constant_gains)))

    def _product(self, ratio: Expr) -> Growth:
        first, alpha, beta = _taylor(_faded(self._at(ratio - 1), self._fading), 3)
        if first != 0:
            raise NoClosedForm("its factors do not tend to one")
        if self._fading == 0:
            beta -= alpha**2 / 2
        power = beta / self._s + alpha * self._kappa / self._s**2
        return self._in_time(factor(power), 2 * alpha / sqrt(self._s), log(symbols.constant))

    def _in_time(self, power: Expr, rate: Expr, constant: Expr) -> Growth:
        """t^power exp(rate sqrt(t)) with t = L, or ln L where blocks fade."""
        terms = ((Rational(1, 2), rate),) if rate != 0 else ()
        if self._fading:
            return Growth(log_power=power, constant=constant, log_stretched=terms)
        return Growth(power=power, constant=constant, stretched=terms)


def _fading(change: Expr) -> int:
    """p = 0 or 1 of a change that is of order l^-p in deep blocks."""
    top, bottom = (expand(part).as_poly(l, ROOT) for part in together(change).as_numer_denom())
    power = int(bottom.degree(l) - top.degree(l))
    if power not in (0, 1):
        raise NoClosedForm(f"what a block adds behaves as l^{-power}")
    return power


def _faded(change: Expr, power: int) -> Expr:
    """The limit of l^power times a change in deep blocks."""
    top, bottom = (expand(part).as_poly(l) for part in together(change).as_numer_denom())
    gap = int(bottom.degree() - top.degree()) - power
    if gap < 0:
        raise NoClosedForm("a block's factor does not settle as fast as its second moment")
    return top.LC() / bottom.LC() if gap == 0 else Integer(0)


def _taylor(ratio: Expr, count: int) -> list[Expr]:
    """The first coefficients of a rational function of x at x = 0."""
    top, bottom = (expand(part).as_poly(ROOT) for part in cancel(ratio).as_numer_denom())
    above, below = (part.all_coeffs()[::-1] + [Integer(0)] * count for part in (top, bottom))
    if below[0] == 0:
        raise NoClosedForm("a block's factor is not bounded as its second moment grows")
    found: list[Expr] = []
    for k in range(count):
        rest = above[k] - sum((c * below[k - j] for j, c in enumerate(found)), Integer(0))
        found.append(cancel(rest / below[0]))
    return found
