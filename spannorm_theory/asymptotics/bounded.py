r"""Laws of one stream that boundedness alone gives: forward, gradient and collapse are Theta(1).

Let q_{l+1} = a_l q_l + b_l with a_l > 0, b_l >= 0, and let sum |a_l - 1| and sum b_l stay bounded for all
depths. Then q_l lies between q_1 prod a_l > 0 and (q_1 + sum b_l) prod max(a_l, 1), that is between positive
constants. A block's factor of the gradient, or of 1 - rho, is r_l > 0 with sum |r_l - 1| bounded: so is its
product. In b_l and r_l the moments of a saturating function count as positive constants: M and S are bounded
at every q, and bounded from below once q is (:mod:`.levelled`). That the sums are bounded follows from orders
of magnitude uniform over the stack (:mod:`.magnitude`), as for blocks of several streams near the identity
(:mod:`.near_identity`), of which this is the case of one. Where the sums vanish in deep stacks the constant
is that of the first block; else all blocks decide it, and it stays open.
"""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Matrix, expand, log, ones, together

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.rank_collapse import collapse_factor
from ..derivation.recurrence import Recurrence
from ..moments.one_token import Step, constant_gains
from .growth import Growth
from .levelled import levelled, named
from .magnitude import UNIT, Powers, dominated, over
from .near_identity import SMALL, NearIdentity

L = symbols.depth


class _Stream(NearIdentity):
    """Blocks near the identity, of one stream: most of their factors are rational, and a rational one is
    apart from one by what is left when it is taken from its denominator."""

    def _from_one(self, entry: Expr) -> Powers:
        whole = together(entry)
        if not whole.is_rational_function():
            return super()._from_one(entry)
        top, bottom = (expand(part) for part in whole.as_numer_denom())
        low = self.orders.of(top / bottom).low
        if low is None or not dominated([UNIT], low):
            raise NoClosedForm("nothing bounds what the stream keeps in a block from below")
        return over(self.orders.of(expand(top - bottom)).high, self.orders.of(bottom).low)


class Bounded:
    """The laws of a stack whose blocks change its one stream by what adds up to something bounded.

    Raises:
        NoClosedForm: several streams, early blocks of another kind, or changes that are not bounded.
    """

    def __init__(self, recurrence: Recurrence) -> None:
        if len(recurrence.block.trace.streams) > 1:
            raise NoClosedForm("several streams change together")
        self._near = _Stream(levelled(recurrence))

    def forward(self) -> Growth:
        """Growth of q_L."""
        (moment,) = self._near.moments.values()
        if self._near.quiet:
            _, change = self._near.orders.drift(moment, SMALL)
            alone = moment.subs(dict.fromkeys(SMALL, 0))
            if not alone.has(L) and all(b < 0 and a + b < 0 for a, b in change):
                return Growth(constant=log(alone))
        return Growth(constant=log(symbols.constant))

    def gradient(self) -> Growth:
        """Growth of gamma_0 / gamma_L."""
        return self._product(lambda step: step.backward_terms[0, 0])

    def collapse(self) -> Growth:
        """Growth of (1 - rho_L) / (1 - rho_0), near rho = 1."""
        return self._product(lambda step: collapse_factor(step, named(constant_gains)))

    def _product(self, ratio: Callable[[Step], Expr]) -> Growth:
        row = ones(1, 1)
        for step, place in self._near.opening:
            row = row * ratio(step).subs(place)
        return self._near.law(row, ones(1, 1), lambda step: Matrix([[ratio(step)]]))
