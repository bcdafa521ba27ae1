r"""Large-depth laws of placements with several streams: gradient at the embedding, and rank collapse.

The gradient's second moments at all stream pairs go back through a block by a matrix M_l of non-negative
entries, differences between tokens go on by D_l. A product of such matrices has a law here in two cases.

*A common ratio.* The streams start as one, so the gradient at the embedding is w^T M_0 ... M_(L-1) r, with r
from the readout and w = (1, or 2 for a cross moment). If w^T M_l = rho(l) w^T in every block, it is
w^T r prod rho(l); likewise differences, which start as ones, where D_l 1 = rho(l) 1.

*Blocks near the identity.* If sum_l |M_l - 1| is bounded for all depths and the diagonals are positive, the
product lies between prod diag(M_l) > c and exp(sum |M_l - 1|), entry by entry: whatever starts and ends
between positive constants stays there. The law is Theta(1), with a constant that all blocks decide; where the
sum vanishes in deep stacks, it is that of the first block and the readout alone. Orders of magnitude of the
entries, uniform over the stack, come from :mod:`.magnitude`. On the diagonal what is left without the
branches must be one, but for terms of such orders.

Where that sum is not bounded, a third case may hold: see :mod:`.levinson`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from operator import attrgetter

from sympy import Expr, Matrix, Rational, Symbol, cancel, expand, factor, log, ones, sqrt, together, zeros

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.closed_forms import product_of_ratios
from ..derivation.rank_collapse import difference_map
from ..derivation.recurrence import Recurrence
from ..moments.one_token import Step, tidy
from .attempts import first_of
from .blockwise import product_of_blocks
from .growth import Growth
from .levinson import separated_law
from .magnitude import ONE, UNIT, Order, Orders, Powers, dominated, over, pruned, require_summable
from .of_closed_forms import growth

L, l = symbols.depth, symbols.layer

#: gains of branches: without them a block is the identity
SMALL = frozenset(gain for pair in symbols.GAINS.values() for gain in pair)

#: where an expression is tried for being one
NUMBERS = [Rational(*pair) for pair in ((311, 97), (733, 89), (419, 83), (113, 79), (1009, 73), (557, 71))]
DIGITS = 40


def embedding_law(recurrence: Recurrence) -> Growth:
    """Growth of the second moment of the gradient at the embedding, for a unit gradient at the output.

    Raises:
        NoClosedForm: no case holds; the message says why.
    """
    pairs, matrix = recurrence.step.pairs, attrgetter("backward_terms")
    start = Matrix([[1 if i == j else 2 for i, j in pairs]])

    def common() -> Growth:
        ratio = _common_ratio(recurrence, start, matrix)
        end = {p: recurrence.moment_at(p, L) for p in pairs}
        out = (start * matrix(recurrence.readout))[0].subs(_symbols(recurrence.readout, end))
        return growth(factor(out), L) + _law(ratio, recurrence.start)

    def near_identity() -> Growth:
        near, row = NearIdentity(recurrence), start
        for step, place in near.opening:
            row = row * matrix(step).subs(place)
        return near.law(row, matrix(recurrence.readout), matrix)

    def separated() -> Growth:
        return separated_law(recurrence, start, matrix(recurrence.readout), matrix)

    return first_of(common, near_identity, separated)


def differences_law(recurrence: Recurrence, stream: int) -> Growth:
    """Growth of (1 - rho_L) / (1 - rho_0) of a stream, near rho = 1.

    Raises:
        NoClosedForm: no case holds; the message says why.
    """
    pair, size = (stream, stream), len(recurrence.step.pairs)

    def row(moment: Expr) -> Matrix:
        """What reads the stream's difference, over ``moment``."""
        found = zeros(1, size)
        found[recurrence.step.pairs.index(pair)] = moment
        return found

    def transposed(step: Step) -> Matrix:
        return difference_map(step).T

    def common() -> Growth:
        ratio = _common_ratio(recurrence, ones(1, size), transposed)
        started = growth(symbols.initial_variance / recurrence.moment_at(pair, L), L)
        return started + _law(ratio, recurrence.start)

    def near_identity() -> Growth:
        near, column = NearIdentity(recurrence), ones(size, 1)
        for step, place in near.opening:
            column = difference_map(step).subs(place) * column
        return near.law(row(symbols.initial_variance / near.moments[pair]), column, difference_map)

    def separated() -> Growth:
        end = row(1 / recurrence.step.moment(*pair)).T
        return separated_law(recurrence, ones(1, size), end, transposed)

    return first_of(common, near_identity, separated)


def _symbols(step: Step, values: dict[tuple[int, int], Expr]) -> dict[Expr, Expr]:
    return {step.moment(*pair): value for pair, value in values.items() if step.moment(*pair).is_Symbol}


def _common_ratio(recurrence: Recurrence, row: Matrix, matrix: Callable[[Step], Matrix]) -> Expr:
    """rho(l) with ``row`` M_l = rho(l) ``row`` in every block and turn.

    Raises:
        NoClosedForm: there is none, or the stream moments have no closed form or are not all equal.
    """
    if recurrence.opening or recurrence.before is not None:
        raise NoClosedForm("blocks differ")
    closed = {recurrence.moment_at(pair, l) for pair in recurrence.step.pairs}
    if len(closed) > 1:
        raise NoClosedForm("the streams' moments differ")
    q = symbols.variance
    ratios = set()
    for step in recurrence.turns:
        place = _symbols(step, dict.fromkeys(step.pairs, q))
        if len({tidy(f.subs(place)) for f in step.forward.values()}) > 1:
            raise NoClosedForm("the streams' moments differ")
        carried = row * matrix(step).subs(place)
        # roots cancel over one denominator, and what is left has one factored form
        ratios |= {tidy(tidy(after / before)) for after, before in zip(carried, row, strict=True)}
    if len(ratios) > 1:
        raise NoClosedForm("the streams' gradients or differences have no common ratio")
    return factor(ratios.pop().subs(q, closed.pop()))


def _law(ratio: Expr, start: Expr) -> Growth:
    """Growth of prod_l ratio(l), by the means for one stream."""
    return first_of(
        lambda: growth(product_of_ratios(ratio, start), L), lambda: product_of_blocks(ratio, start)
    )


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
        self._blocks = recurrence.turns
        rows = recurrence.initial
        places = list(zip(recurrence.opening, rows, strict=False)) or [(recurrence.step, rows[0])]
        self.opening: list[tuple[Step, dict[Expr, Expr]]] = []
        self.opening += [(step, {**_symbols(step, row), l: at}) for at, (step, row) in enumerate(places)]
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
        _, drift = self.orders.drift(entry, SMALL)
        low = self.orders.of(entry).low
        if low is None or not dominated([UNIT], low):
            raise NoClosedForm("nothing bounds what a stream keeps in a block from below")
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
        if self.quiet:
            whole = (row * column)[0].subs(self._symbols)
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
