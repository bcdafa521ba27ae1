r"""Stream moments at large l, for matrices of several streams: what each grows as, and how streams correlate.

Moments of single streams have laws. A cross moment obeys q' = a q + b with a <= 1, b >= 0 and a = 1 - alpha/l
+ ..., b ~ beta l^s. It is then at most a constant plus sum b. Where this stays below the root of the two
single moments by a power of l or ln l, the streams decorrelate, and only that matters. Where it is of that
order, l^p with p = s + 1, the balance of the two terms gives beta / (p + alpha) l^p.
"""

from __future__ import annotations

from sympy import Expr, Integer, Rational, Symbol, factor

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.recurrence import Recurrence
from ..moments.one_token import tidy
from .leading_terms import ONE, Leading, leading, of_law, summed
from .of_products import moment_by_recurrence
from .series import expand_at_share

L, LAYER = symbols.depth, symbols.layer

#: powers of l below the leading one that are kept of a logarithm
KEPT = 1


def expanded_log(f: Expr) -> dict[Expr, Expr]:
    """ln of an algebraic formula in l as {a: coefficient of l^a}, down to 1/l.

    Raises:
        NoClosedForm: it grows as a power of l, or has no expansion.
    """
    series = expand_at_share(f.subs(LAYER, L), KEPT)
    if series.top != 0:
        raise NoClosedForm("what a stream keeps in a block does not tend to a constant")
    found = series.log()
    if found.cut > -1:
        raise NoClosedForm("what a stream keeps in a block has leading terms that cancel")
    return {p: factor(c) for p, c in found.terms.items() if c != 0 and p >= -1}


class Moving:
    """Leading terms of all stream moments of a recurrence.

    Attributes:
        known: those of the moments that a block's formulas leave open.
        scales: of sqrt(q_ii q_jj), by stream pair.
        states: symbols of the moments that a block's formulas leave open.

    Raises:
        NoClosedForm: one is not known, or streams stay correlated in a way that early blocks decide.
    """

    def __init__(self, recurrence: Recurrence) -> None:
        step = recurrence.step
        single = {i: of_law(moment_by_recurrence(recurrence, (i, i))) for i, j in step.pairs if i == j}
        self.scales = {(i, j): (single[i] * single[j]) ** Rational(1, 2) for i, j in step.pairs}
        self.known: dict[Symbol, Leading] = {}
        self.states = {m for m in (step.moment(*pair) for pair in step.pairs) if isinstance(m, Symbol)}
        self._recurrence = recurrence
        for i, moment in single.items():
            if isinstance(step.moment(i, i), Symbol):
                self.known[step.moment(i, i)] = moment

    def of(self, f: Expr) -> Leading | None:
        """The leading term of a non-negative formula."""
        step = self._recurrence.step
        for pair in step.pairs:
            state = step.moment(*pair)
            if state in f.free_symbols and state not in self.known:
                self.known[state] = self._cross(pair, state)
        return leading(f, self.known)

    def _cross(self, pair: tuple[int, int], state: Symbol) -> Leading:
        forward = self._recurrence.step.forward[pair]
        slope = tidy(forward.diff(state))
        if slope.has(state):
            raise NoClosedForm("a cross moment has a step that is not linear")
        added = self.of(tidy(forward.subs(state, 0)))
        kept, scale = expanded_log(slope), self.scales[pair]
        alpha = -kept.pop(Integer(-1), Integer(0))
        if kept or alpha.could_extract_minus_sign():
            raise NoClosedForm("a cross moment grows or fades by a factor in every block")
        order = ONE if added is None else max(ONE, summed(added.order))
        if order < scale.order:
            return Leading(symbols.constant, order)
        if added is None or order != scale.order or order[1] != 0 or order[0] == 0:
            raise NoClosedForm("early blocks decide how streams correlate")
        return Leading(factor(added.c / (order[0] + alpha)), order)
