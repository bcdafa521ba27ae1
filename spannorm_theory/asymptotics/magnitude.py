r"""Orders of magnitude of formulas in (l, L), uniform over a stack, by structure alone (T12.7).

|f(l, L)| <= C max_i l^a_i L^b_i for all 1 <= l <= L, and f >= c l^a L^b, with constants of the gains:
sums take the union of such terms, products add exponents, powers multiply them, and a reciprocal needs a
bound from below. Of a sum only non-negative terms give one; where negative terms compete, it has none. A
term is dropped where another one is as large at both ends l = O(1) and l = L, hence in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sympy import Expr, Integer, Rational, Symbol

from ..base import symbols
from ..base.errors import NoClosedForm

L, LAYER = symbols.depth, symbols.layer

#: (a, b) of l^a L^b
Power = tuple[Expr, Expr]
Powers = frozenset[Power]

UNIT: Power = (Integer(0), Integer(0))
NONE: Powers = frozenset()


@dataclass(frozen=True)
class Order:
    """Bounds of one formula.

    Attributes:
        high: its size is at most the largest of these, times a constant; empty for zero.
        low: it is at least this, times a positive constant; None where nothing is known.
        signed: it may be negative.
    """

    high: Powers
    low: Power | None = None
    signed: bool = False

    @property
    def bounded(self) -> bool:
        """Whether it stays below a constant."""
        return dominated(self.high, UNIT)

    @property
    def settled(self) -> bool:
        """Whether it stays between two positive constants."""
        return self.bounded and self.low is not None and dominated([UNIT], self.low)


ONE = Order(frozenset([UNIT]), UNIT)
ZERO = Order(NONE)


def dominated(powers: Iterable[Power], by: Power) -> bool:
    """Whether each of some powers is at most another, up to a constant, for all l up to L."""
    return all(b <= by[1] and a + b <= sum(by) for a, b in powers)


def pruned(powers: Iterable[Power]) -> Powers:
    """The powers without those that another one outweighs throughout."""
    kept: list[Power] = []
    for power in set(powers):
        if not any(dominated([power], other) for other in kept):
            kept = [other for other in kept if not dominated([other], power)] + [power]
    return frozenset(kept)


def times(one: Powers, other: Powers) -> Powers:
    """Bounds of a product."""
    return pruned((a + c, b + d) for a, b in one for c, d in other)


def over(high: Powers, low: Power | None) -> Powers:
    """Bounds of a quotient by something of at least ``low``.

    Raises:
        NoClosedForm: nothing bounds the denominator from below.
    """
    if low is None:
        raise NoClosedForm("nothing bounds a denominator from below")
    return pruned((a - low[0], b - low[1]) for a, b in high)


def require_summable(powers: Powers) -> bool:
    """Refuse what does not add up, over all blocks, to something bounded; whether the sum vanishes.

    sum_l l^a L^b is of order L^b + L^(a+b+1), with a factor ln L between the two where a = -1.

    Raises:
        NoClosedForm: the sum is not bounded.
    """
    for a, b in powers:
        if a == -1 and b == 0:
            raise NoClosedForm("what blocks change adds up to a logarithm of the depth")
        if b > 0 or a + b + 1 > 0:
            raise NoClosedForm("what blocks change adds up to a power of the depth")
    return all(b < 0 and a + b + 1 < 0 for a, b in powers)


class Orders:
    """Orders of formulas, given those of the symbols in them.

    Args:
        known: orders of stream moments; gains and other symbols are positive constants.
    """

    def __init__(self, known: dict[Symbol, Order]) -> None:
        self.known = known
        self._found: dict[Expr, Order] = {}
        self._parts: dict[Expr, tuple[Order, Powers]] = {}

    def of(self, f: Expr) -> Order:
        """The order of a formula.

        Raises:
            NoClosedForm: it has none here.
        """
        if f not in self._found:
            self._found[f] = self._order(f)
        return self._found[f]

    def _order(self, f: Expr) -> Order:
        if f in self.known:
            return self.known[f]
        if f in (LAYER, L):
            power = (Integer(int(f == LAYER)), Integer(int(f == L)))
            return Order(frozenset([power]), power)
        if f == 0:
            return ZERO
        if not f.free_symbols & {LAYER, L, *self.known}:
            return ONE if f.is_positive else Order(ONE.high, None, True)
        if f.is_Add:
            return total([self.of(part) for part in f.args])
        if f.is_Mul:
            return _product([self.of(part) for part in f.args])
        base, exponent = f.as_base_exp()
        if not f.is_Pow or not isinstance(exponent, Rational):
            raise NoClosedForm(f"no order of magnitude is known for {f.func.__name__}")
        return raised(self.of(base), exponent)

    def drift(self, f: Expr, small: frozenset[Symbol]) -> tuple[Order, Powers]:
        """The order of f_0, a formula without the positive symbols ``small``, and bounds of |f - f_0|.

        Raises:
            NoClosedForm: there are none here.
        """
        if f not in self._parts:
            self._parts[f] = self._drift(f, small)
        return self._parts[f]

    def _drift(self, f: Expr, small: frozenset[Symbol]) -> tuple[Order, Powers]:
        if not f.free_symbols & small:
            return self.of(f), NONE
        if f in small:
            return ZERO, ONE.high
        parts = f.args if f.is_Add or f.is_Mul else (f.as_base_exp()[0],)
        found = [self.drift(part, small) for part in parts]
        orders, changes = [order for order, _ in found], [change for _, change in found]
        if f.is_Add:
            return total(orders), pruned(power for change in changes for power in change)
        sizes = [
            pruned([*order.high, *self.of(part).high]) for order, part in zip(orders, parts, strict=True)
        ]
        if f.is_Mul:
            changed: Powers = NONE
            for k, change in enumerate(changes):
                for other in (*sizes[:k], *sizes[k + 1 :]):
                    change = times(change, other)
                changed |= change
            return _product(orders), pruned(changed)
        exponent = f.as_base_exp()[1]
        if not f.is_Pow or not isinstance(exponent, Rational):
            raise NoClosedForm(f"no order of magnitude is known for {f.func.__name__}")
        # |x^p - y^p| <= |p| |x - y| max(x^(p-1), y^(p-1))
        slopes = (raised(order, exponent - 1).high for order in (orders[0], self.of(parts[0])))
        slope = pruned(power for powers in slopes for power in powers)
        return raised(orders[0], exponent), times(changes[0], slope)


def total(orders: Iterable[Order]) -> Order:
    """The order of a sum. Terms that may be negative take nothing from a bound from below, in deep stacks, if
    they are smaller by a power of L throughout."""
    orders = list(orders)
    lows = [order.low for order in orders if order.low is not None]
    low = max(lows, key=lambda power: (sum(power), power[1]), default=None)
    against = [power for order in orders if order.signed for power in order.high]
    signed = any(low is None or b >= low[1] or a + b >= sum(low) for a, b in against)
    return Order(pruned(p for order in orders for p in order.high), None if signed else low, signed)


def _product(orders: Iterable[Order]) -> Order:
    high, low, signed = ONE.high, ONE.low, False
    for order in orders:
        high, signed = times(high, order.high), signed or order.signed
        low = None if low is None or order.low is None else (low[0] + order.low[0], low[1] + order.low[1])
    return Order(high, low, signed)


def raised(order: Order, exponent: Rational) -> Order:
    """The order of a power."""
    if order.signed and not (exponent.is_Integer and exponent > 0):
        raise NoClosedForm("nothing bounds a denominator from below")
    if exponent == 0:
        return ONE
    if exponent > 0:
        low = None if order.low is None else (exponent * order.low[0], exponent * order.low[1])
        return Order(frozenset((exponent * a, exponent * b) for a, b in order.high), low, order.signed)
    high = raised(Order(over(ONE.high, order.low)), -exponent).high
    single = next(iter(order.high)) if len(order.high) == 1 else None
    return Order(high, None if single is None else (exponent * single[0], exponent * single[1]))
