r"""Large-depth laws of products of matrices that tend to a diagonal one (Levinson's theorem).

Behind each pair of streams, second moments are measured in S_ij = sqrt(q_ii q_jj), so that the entries of a
block's matrix become (diagonal) lambda_i + B_ii/l + ... and (off the diagonal) B_ij/l + ... For

    x_(l+1) = [Lambda(l) + R(l)] x_l,    sum |R| < infinity,

with eigenvalues of Lambda(l) whose products separate, there are solutions (e_i + o(1)) prod lambda_i(l)
[Benzaid and Lutz, Asymptotic representation of solutions of perturbed systems of linear difference
equations, Stud. Appl. Math. 77 (1987)]. Hence entries that have a bounded sum over l change constants only.
The others link stream pairs; those linked in both directions form a *class*:

    one pair        the product of its diagonal entry, lambda^L L^p (ln L)^e
    several pairs   entries 1 + B/l, or 1 + B/(l ln l): L^p, or (ln L)^p, with p the largest eigenvalue of B,
                    which is real, simple and larger than all others, B being non-negative off its diagonal

Entries are non-negative, so a product between rows and columns of non-negative numbers grows as the largest
of all classes on the way. Which one that is may depend on the gains: the law then has rivals. What links
classes of different growth must not be larger than what separates them per block. Seen behind such links, a
class is smaller by link over gap. Where gains make two classes grow alike, the law may be off by a factor of
ln L or ln ln L.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations

import numpy as np
from scipy.sparse.csgraph import connected_components
from sympy import Expr, Integer, Matrix, Rational, S, cancel, exp, expand, factor, fraction, log, together

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.recurrence import Recurrence
from ..moments.one_token import Step
from .growth import Growth
from .leading_terms import INVERSE, ONE, SLOW, Leading, Order, summable, total
from .moving import Moving, expanded_log
from .roots import LargestRoot, largest_eigenvalue

L, LAYER = symbols.depth, symbols.layer
OMEGAS = symbols.omega_a2, symbols.omega_f2

#: levels of a growth: exponential, power, power of ln L
LEVELS: tuple[Order, ...] = (ONE, INVERSE, SLOW)


@dataclass(frozen=True)
class _Class:
    """Stream pairs that feed each other, and what they grow as: base^L L^power (ln L)^log_power."""

    members: tuple[int, ...]
    base: Expr = S.One
    power: Expr = S.Zero
    log_power: Expr = S.Zero

    def signs(self, other: _Class) -> tuple[int | None, ...]:
        """Signs of this growth less another one's, by level; None where gains decide."""
        gaps = self.power - other.power, self.log_power - other.log_power
        return (_sign_of_log(self.base / other.base), *map(_sign, gaps))

    def above(self, other: _Class) -> int | None:
        """The level at which this one certainly grows faster; None where it may not."""
        for level, sign in enumerate(self.signs(other)):
            if sign != 0:
                return level if sign == 1 else None
        return None

    @property
    def law(self) -> Growth:
        """With a constant that early blocks decide."""
        constant = log(symbols.constant)
        return Growth(rate=log(self.base), power=self.power, log_power=self.log_power, constant=constant)


def separated_law(
    recurrence: Recurrence, row: Matrix, column: Matrix, matrix: Callable[[Step], Matrix]
) -> Growth:
    """Growth of row N_0 ... N_(L-1) column, for the non-negative matrices N_l of a recurrence's blocks.

    Args:
        row: of which only counts what is not zero.
        column: in the moments at l = L.
        matrix: N_l in the moments before block l.

    Raises:
        NoClosedForm: the blocks' matrices do not tend to a diagonal one, or not fast enough.
    """
    product = _Product(recurrence, matrix(recurrence.step))
    ends = [product.moving.of(entry) for entry in column]
    for end, scale in zip(ends, product.scales, strict=True):
        if end is not None and (end * scale).order != ONE:
            raise NoClosedForm("the product's ends do not grow as the streams do")
    for step in recurrence.opening:
        row = row * matrix(step).applyfunc(_used)
    return product.law([entry != 0 for entry in row], [end is not None for end in ends])


class _Product:
    """The matrices of one wiring's blocks, in the scale of the stream moments."""

    def __init__(self, recurrence: Recurrence, matrix: Matrix) -> None:
        if recurrence.before is not None or len(recurrence.turns) > 1:
            raise NoClosedForm("blocks are wired in more than one way")
        if matrix.has(L):
            raise NoClosedForm("what a block does depends on both l and L")
        self.moving = Moving(recurrence)
        self.scales = [self.moving.scales[pair] for pair in recurrence.step.pairs]
        self._matrix, self._size = matrix, matrix.rows
        self._used = np.array(matrix.applyfunc(_used).tolist(), dtype=bool)

    def law(self, starts: Sequence[bool], ends: Sequence[bool]) -> Growth:
        """The largest of all classes between what a product starts and ends with."""
        reach = np.linalg.matrix_power(self._used + np.eye(self._size, dtype=bool), self._size).astype(bool)
        on_way = [
            any(reach[i, k] for i in range(self._size) if starts[i])
            and any(reach[k, j] for j in range(self._size) if ends[j])
            for k in range(self._size)
        ]
        links = np.array(
            [[i != j and self._linked(i, j) for j in range(self._size)] for i in range(self._size)]
        )
        _, labels = connected_components(links, connection="strong")
        members = [tuple(np.flatnonzero(labels == k).tolist()) for k in dict.fromkeys(labels.tolist())]
        classes = [self._class(indices) for indices in members if on_way[indices[0]]]
        self._require_separation(classes)
        seen = [self._seen(one, classes, ends) for one in classes]
        kept = [one for one in seen if all(other.above(one) is None for other in seen)]
        if not kept:
            raise NoClosedForm("nothing leads from what the product starts with to what it ends with")
        if any(set(one.signs(other)) == {0} for one, other in combinations(kept, 2)):
            raise NoClosedForm("what streams grow as is the same for two that do not feed each other")
        first, *others = (one.law for one in kept)
        return replace(first, rivals=tuple(others))

    def _seen(self, one: _Class, classes: Sequence[_Class], ends: Sequence[bool]) -> _Class:
        """What a class grows as where the product ends: behind a link, smaller by link over gap."""
        if any(ends[i] for i in one.members):
            return one
        best = dict.fromkeys(one.members, ONE)
        for _ in range(self._size):
            for (i, j), link in self._links.items():
                other = next((c for c in classes if j in c.members), one)
                if i in best and other is not one:
                    if link.c.has(symbols.constant):
                        raise NoClosedForm("early blocks decide how strongly streams are linked")
                    a, b = link.order
                    level = LEVELS[next(k for k, sign in enumerate(one.signs(other)) if sign != 0)]
                    order = best[i][0] + a - level[0], best[i][1] + b - level[1]
                    best[j] = max(best.get(j, order), order)
        a, b = max(order for i, order in best.items() if ends[i])
        return replace(one, power=one.power + a, log_power=one.log_power + b)

    def _linked(self, i: int, j: int) -> bool:
        link = self._links.get((i, j))
        return link is not None and not summable(link.order)

    @cached_property
    def _links(self) -> dict[tuple[int, int], Leading]:
        """Leading terms of the scaled entries off the diagonal."""
        found = {}
        for i, j in self._places():
            term = self.moving.of(self._matrix[i, j])
            if term is not None:
                found[i, j] = term * self.scales[i] * self.scales[j] ** Integer(-1)
        return found

    def _places(self) -> Iterator[tuple[int, int]]:
        return ((i, j) for i in range(self._size) for j in range(self._size) if i != j)

    @cached_property
    def _diagonals(self) -> list[dict[Order, Expr]]:
        return [self._diagonal(i) for i in range(self._size)]

    def _diagonal(self, i: int) -> dict[Order, Expr]:
        """ln of a scaled diagonal entry, by order, down to what has a bounded sum."""
        entry = self._matrix[i, i]
        if entry.free_symbols & self.moving.states:
            alone = entry.subs(dict.fromkeys(OMEGAS, 0))
            branches = total([self.moving.of(part) for part in _linear_parts(entry)])
        else:
            alone, branches = entry, None
        terms = {(p, Integer(0)): c for p, c in expanded_log(alone).items()}
        if branches is not None:
            branches = _settled(branches)
            if branches.order >= ONE or ONE in terms:
                raise NoClosedForm("what moments decide of a block does not fall as 1/l")
            terms[branches.order] = terms.get(branches.order, Integer(0)) + branches.c
        a, b = self.scales[i].order
        for order, exponent in ((INVERSE, a), (SLOW, b)):
            terms[order] = terms.get(order, Integer(0)) - exponent
        found = {order: factor(c) for order, c in terms.items() if not summable(order)}
        if any(c != 0 and order not in LEVELS for order, c in found.items()):
            raise NoClosedForm("what a stream keeps in a block tends to its limit too slowly")
        return {order: c for order, c in found.items() if c != 0}

    def _class(self, members: tuple[int, ...]) -> _Class:
        if len(members) == 1:
            found = [self._diagonals[members[0]].get(level, Integer(0)) for level in LEVELS]
            return _Class(members, factor(exp(found[0])), *found[1:])
        links = [self._links[i, j] for i in members for j in members if i != j and self._linked(i, j)]
        diagonals = [self._diagonals[i] for i in members]
        orders = {link.order for link in links} | {order for found in diagonals for order in found}
        order = orders.pop()
        if orders or order not in LEVELS[1:]:
            raise NoClosedForm("streams that feed each other change at different speeds")
        size = len(members)
        B = Matrix(size, size, lambda i, j: self._rate(members[i], members[j], order))
        root = largest_eigenvalue(B)
        return _Class(members, power=root) if order == INVERSE else _Class(members, log_power=root)

    def _rate(self, i: int, j: int, order: Order) -> Expr:
        if i == j:
            return self._diagonals[i].get(order, Integer(0))
        return _settled(self._links[i, j]).c if self._linked(i, j) else Integer(0)

    def _require_separation(self, classes: Sequence[_Class]) -> None:
        for one in classes:
            for other in classes:
                for i in one.members:
                    for j in other.members:
                        if one is not other and self._linked(i, j):
                            self._require_weak(self._links[i, j].order, one, other, classes)

    def _require_weak(self, link: Order, one: _Class, other: _Class, classes: Sequence[_Class]) -> None:
        """Refuse a link of two classes that is larger than what separates them."""
        allowed = None
        for level, sign in zip(LEVELS, one.signs(other), strict=True):
            allowed = allowed if sign == 0 else level
            if sign in (1, -1):
                break
        if allowed is not None and link <= allowed:
            return
        # where two classes grow alike, but less than a third by a level more, the link cannot matter
        for third in classes:
            levels = [third.above(slower) for slower in (one, other)]
            if any(level is not None and link <= LEVELS[level] for level in levels):
                return
        raise NoClosedForm("streams of different growth are linked too strongly")


def _used(entry: Expr) -> Expr:
    return Integer(entry != 0)


def _settled(term: Leading) -> Leading:
    """A term whose correction has a bounded sum, if it has none itself."""
    a, b = term.order
    if summable(term.order):
        return term
    if term.c.has(symbols.constant):
        raise NoClosedForm("early blocks decide how fast streams change")
    if not term.exact and not summable((a, b - Rational(1, 2))):
        raise NoClosedForm("what a block changes tends to 1/l only in powers of ln l")
    return replace(term, c=factor(term.c))


def _linear_parts(entry: Expr) -> list[Expr]:
    """What branches add to an entry that is linear in each branch's gain, as non-negative terms."""
    parts, rest = [], entry
    for omega in OMEGAS:
        slope = rest.diff(omega)
        if slope.has(omega):
            raise NoClosedForm("a block's matrix is not linear in its branches' gains")
        parts.append(omega * slope)
        rest = rest.subs(omega, 0)
    return parts


@lru_cache(maxsize=1024)
def _sign(gap: Expr) -> int | None:
    """The sign of an expression in gains; None where they decide."""
    gap = expand(cancel(together(gap))) if not gap.has(LargestRoot) else gap
    if gap == 0:
        return 0
    return 1 if gap.is_positive else -1 if gap.is_negative else None


@lru_cache(maxsize=1024)
def _sign_of_log(ratio: Expr) -> int | None:
    top, bottom = fraction(factor(ratio**2))
    return _sign(expand(top) - expand(bottom))
