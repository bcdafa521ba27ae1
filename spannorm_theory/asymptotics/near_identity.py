r"""Blocks near the identity: what starts and ends between positive constants stays there (T12.7).

The second moments of streams, of gradients and of differences between tokens go through a block by
non-negative matrices M_l (numbers, for one stream). If sum_l |M_l - 1| is bounded for all depths and the
diagonals are positive, a product of them lies between prod diag(M_l) > c and exp(sum |M_l - 1|), entry by
entry. The law is Theta(1), with a constant that all blocks decide; where the sum vanishes in deep stacks, it
is that of the first block and the readout alone.

So it is with a second moment q' = a q + b, a > 0, b >= 0, if sum |a - 1| and sum b are bounded. Orders of
magnitude of all these, uniform over the stack, come from :mod:`.magnitude`. On the diagonal what is left
without the branches must be one, but for terms of such orders.

Moments of a function in a norm's place, and of its slope, count as positive constants. For one that grows no
faster than its input, with a bounded slope, those of the slope are bounded, and its own at most C (1 + q): a
part of a q, whose sum is bounded as that of b is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product

import numpy as np
from sympy import Expr, Matrix, Mul, Rational, Symbol, cancel, expand, factor, log, ones, sqrt, together

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.closed_forms import Pairs
from ..derivation.recurrence import Recurrence
from ..gaussian.activations import ACTIVATIONS
from ..moments.one_token import BranchGain, Step, tidy
from ..spec.graph import Branch
from .growth import Growth
from .magnitude import ONE, UNIT, Order, Orders, Powers, dominated, over, pruned, require_summable

L, l = symbols.depth, symbols.layer

#: gains of branches: without them a block is the identity
SMALL = frozenset(gain for pair in symbols.GAINS.values() for gain in pair)

#: values at which an expression is tried for being one, and the digits: fewer could mistake another
NUMBERS = [Rational(*pair) for pair in ((311, 97), (733, 89), (419, 83), (113, 79), (1009, 73), (557, 71))]
DIGITS = 40

#: an input at which a function in a norm's place is read, and how many times as large it may be there
FAR, STEEPEST = 1e8, 1e3


def placed(step: Step, values: dict[Pairs, Expr]) -> dict[Expr, Expr]:
    """Values of stream moments in the place of those that a step leaves open."""
    return {step.moment(*pair): value for pair, value in values.items() if step.moment(*pair).is_Symbol}


@lru_cache(maxsize=64)
def named(gains: BranchGain) -> BranchGain:
    """Branch gains with names for the moments of a function in a norm's place and of its slope."""

    def found(branch: Branch, u: Expr) -> tuple[Expr, Expr]:
        if not branch.elementwise:
            return gains(branch, u)
        _require_linear(branch)
        return symbols.positive(f"m_{branch.index}"), symbols.positive(f"s_{branch.index}")

    return found


def _with_names(step: Step) -> Step:
    elementwise = any(branch.elementwise for branch in step.trace.branches)
    return replace(step, gains=named(step.gains)) if elementwise else step


def _require_linear(branch: Branch) -> None:
    x = np.array([-FAR, FAR])
    if not (np.abs(ACTIVATIONS[branch.kind].function(x)) <= STEEPEST * FAR).all():
        raise NoClosedForm(f"{branch.kind} grows faster than its input")


class NearIdentity:
    """A stack whose blocks from l >= 1 on stay near the identity in sum, and what comes before these.

    Attributes:
        opening: blocks before, with the values of the moments that come in.
        moments: stream moments behind these.
        quiet: whether what the moments change by vanishes in deep stacks.
        orders: with those of all stream moments.

    Raises:
        NoClosedForm: a stream's moment does not stay between positive constants.
    """

    def __init__(self, recurrence: Recurrence) -> None:
        if recurrence.before is not None:
            raise NoClosedForm("early blocks differ")
        self._blocks = [_with_names(step) for step in recurrence.turns]
        rows = recurrence.initial
        first = list(map(_with_names, recurrence.opening)) or self._blocks[:1]
        self.opening: list[tuple[Step, dict[Expr, Expr]]] = []
        for at, (step, row) in enumerate(zip(first, rows, strict=False)):
            self.opening.append((step, {**placed(step, row), l: at}))
        step, place = self.opening[-1]
        self.moments = {pair: tidy(f.subs(place)) for pair, f in step.forward.items()}
        q, count = symbols.variance, len(step.trace.streams)
        self._symbols = {symbols.stream_moment(q, *pair, count): m for pair, m in self.moments.items()}
        self.quiet = True
        self.orders = Orders({})
        self._find_moments(recurrence)

    def _find_moments(self, recurrence: Recurrence) -> None:
        streams = len(recurrence.step.trace.streams)
        for i, j in recurrence.step.pairs:
            # a cross moment is at most the root of the product of two moments that are settled
            name = symbols.stream_moment(symbols.variance, i, j, streams)
            self.orders.known[name] = ONE if i == j else Order(ONE.high)
            state = recurrence.step.moment(i, j)
            if i == j and not self.orders.of(self.moments[i, j] if state.is_Symbol else state).settled:
                raise NoClosedForm("a stream's moment does not stay between positive constants")
        for step in self._blocks:
            for i in range(streams):
                state = step.moment(i, i)
                if state.is_Symbol:
                    slope = tidy(step.forward[i, i].diff(state))
                    added = tidy(step.forward[i, i] - slope * state)
                    if slope.has(state) or added.has(state):
                        raise NoClosedForm("a stream's moment has a step that is not linear")
                    self._sum_up(self.orders.of(added).high, self._from_one(slope))

    def _sum_up(self, *powers: Powers) -> None:
        self.quiet &= require_summable(pruned(power for some in powers for power in some))

    def _from_one(self, entry: Expr) -> Powers:
        """Bounds of |entry - 1| for a positive entry."""
        if entry.is_rational_function():
            top, bottom = (expand(part) for part in together(entry).as_numer_denom())
            _require_kept(self.orders.of(top / bottom))
            return over(self.orders.of(expand(top - bottom)).high, self.orders.of(bottom).low)
        _, drift = self.orders.drift(entry, SMALL)
        _require_kept(self.orders.of(entry))
        alone = entry.subs(dict.fromkeys(SMALL, 0))
        if _is_one(alone):
            return drift
        rest = cancel(together(alone - 1))
        if not rest.is_rational_function(l, L) or rest.free_symbols - {l, L}:
            raise NoClosedForm("without its branches a block is not near the identity")
        top, bottom = (expand(part) for part in rest.as_numer_denom())
        return pruned([*drift, *over(self.orders.of(top).high, self.orders.of(bottom).low)])

    def law(self, row: Matrix, column: Matrix, matrix: Callable[[Step], Matrix]) -> Growth:
        """Growth of row M_1 ... M_(L-1) column.

        Raises:
            NoClosedForm: the blocks' distances from the identity or the ends are not bounded.
        """
        for step in self._blocks:
            entries = matrix(step)
            for (i, j), entry in zip(product(range(entries.rows), repeat=2), entries, strict=True):
                self._sum_up(self._from_one(entry) if i == j else self._size(entry).high)
        left, right = (self._ends(list(side)) for side in (row, column))
        if not any(a.settled and b.settled for a, b in zip(left, right, strict=True)):
            raise NoClosedForm("no stream keeps what it starts with up to its end")
        return self._theta((row * column)[0].subs(self._symbols))

    def moment(self) -> Growth:
        """Growth of q_L of one stream."""
        (moment,) = self.moments.values()
        return self._theta(moment)

    def product(self, ratio: Callable[[Step], Expr]) -> Growth:
        """Growth of the product over all blocks of one stream's factors ``ratio``."""
        row = Matrix([[Mul(*(ratio(step).subs(place) for step, place in self.opening))]])
        return self.law(row, ones(1, 1), lambda step: Matrix([[ratio(step)]]))

    def _theta(self, whole: Expr) -> Growth:
        """Theta(1), with the constant ``whole`` if blocks change nothing of it in deep stacks."""
        if self.quiet:
            _, change = self.orders.drift(whole, SMALL)
            alone = whole.subs(dict.fromkeys(SMALL, 0))
            if not alone.has(L) and all(b < 0 and a + b < 0 for a, b in change):
                return Growth(constant=log(_plain(alone)))
        return Growth(constant=log(symbols.constant))

    def _size(self, entry: Expr) -> Order:
        order = self.orders.of(entry)
        if order.signed:
            raise NoClosedForm("an entry of a block's matrix may be negative")
        return order

    def _ends(self, entries: Sequence[Expr]) -> list[Order]:
        found = [self._size(entry) for entry in entries]
        if not all(order.bounded for order in found):
            raise NoClosedForm("the product's ends do not stay bounded")
        return found


def _require_kept(order: Order) -> None:
    if order.low is None or not dominated([UNIT], order.low):
        raise NoClosedForm("nothing bounds what a stream keeps in a block from below")


def _plain(expression: Expr) -> Expr:
    """A formula in q_0 and its root, factored."""
    q0, root = symbols.initial_variance, symbols.positive("x")
    return factor(expression.subs(q0, root**2)).subs(root, sqrt(q0))


def _is_one(expression: Expr) -> bool:
    """Whether an algebraic expression is one, tried at two points with many digits."""
    names: list[Symbol] = sorted(expression.free_symbols, key=str)
    for shift in range(2):
        place = {name: NUMBERS[(k + shift) % len(NUMBERS)] for k, name in enumerate(names)}
        value = (expression - 1).subs(place).evalf(DIGITS)
        if not abs(value) < Rational(1, 10) ** (DIGITS // 2):
            return False
    return True
