r"""Growth of products of matrices that tend to a diagonal one as 1/l: laws of coupled streams (T12.8).

Second moments of all stream pairs go through block l by a matrix M_l of non-negative entries. Measured in
sqrt(q_ii q_jj), where streams grow as powers of l, it is D + A/l + O(l^(-1 - epsilon)) with D diagonal. In a
product of L blocks the pairs with one entry lambda in D grow as

    lambda^L L^(alpha/lambda),   alpha the largest eigenvalue of A on the pairs with D_ii = lambda

[Benzaid and Lutz, Asymptotic representation of solutions of perturbed systems of linear difference equations,
Stud. Appl. Math. 77 (1987)]. Nothing cancels: the law is the largest of these terms between what the product
starts and ends with, which gains may decide. Where it ends in pairs that a term only feeds, by an entry of
the order of l^a, L^a of the term is seen. Moments enter by their leading terms, which are off by a factor
1 + O(l^-epsilon): D and A see nothing of it where what they multiply falls as 1/l.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations

from sympy import Add, Expr, Integer, Matrix, Mul, Rational, Symbol, eye, factor, fraction, log, oo, sqrt

from ..base import symbols
from ..base.errors import NoClosedForm
from ..derivation.recurrence import Recurrence
from ..moments.one_token import Step
from .eigenvalue import LargestEigenvalue
from .growth import Growth
from .of_products import moment_by_recurrence
from .series import expand_at_share

L, LAYER, C = symbols.depth, symbols.layer, symbols.constant
ONE, ZERO, INVERSE = Integer(1), Integer(0), Integer(-1)


def law_of_matrices(recurrence: Recurrence, matrix: Callable[[Step], Matrix], end: Sequence[Expr]) -> Growth:
    """Growth of row N_0 ... N_(L-1) ``end`` for a row of positive numbers: N_l is ``matrix`` in the moments
    before block l, ``end`` stands in those at l = L.

    Raises:
        NoClosedForm: the matrices do not tend to a diagonal one as 1/l; the message says why.
    """
    if recurrence.before is not None or len(recurrence.turns) > 1:
        raise NoClosedForm("blocks are wired in more than one way")
    return _Product(recurrence, matrix(recurrence.step)).law(end)


class _Product:
    """The matrices of a stack: D, A, and the power of l of each entry off the diagonal that is not zero."""

    def __init__(self, recurrence: Recurrence, entries: Matrix) -> None:
        if entries.has(L):
            raise NoClosedForm("what a block does depends on both l and L")
        pairs, streams = recurrence.step.pairs, len(recurrence.step.trace.streams)
        names = {pair: symbols.stream_moment(symbols.variance, *pair, streams) for pair in pairs}
        self._recurrence, self._pairs = recurrence, {name: pair for pair, name in names.items()}
        self._moments: dict[Symbol, tuple[Expr, Expr]] = {}
        self._sizes = [sqrt(names[i, i] * names[j, j]) for i, j in pairs]
        self.D, self.A, self.orders = [], Matrix.zeros(len(pairs)), {}
        for i, size in enumerate(self._sizes):
            limit, inverse = self._diagonal(entries[i, i])
            self.D.append(limit)
            self.A[i, i] = inverse - self._leading(size)[1] * limit
        for i, j in permutations(range(len(pairs)), 2):
            if entries[i, j] != 0:
                c, self.orders[i, j] = self._leading(entries[i, j] * self._sizes[i] / self._sizes[j])
                self.A[i, j] = factor(c) if self.orders[i, j] == INVERSE else ZERO

    def _leading(self, f: Expr) -> tuple[Expr, Expr]:
        """(c, a) of the leading term c l^a of a positive formula."""
        if f in self._pairs:
            return self._moment(f)
        if f == LAYER:
            return ONE, ONE
        if not f.free_symbols & {LAYER, *self._pairs}:
            return f, ZERO
        if f.is_Pow and isinstance(f.exp, Rational):
            c, power = self._leading(f.base)
            return c**f.exp, power * f.exp
        if not (f.is_Add or f.is_Mul):
            raise NoClosedForm(f"no leading term is known for {f.func.__name__}")
        terms = [self._leading(part) for part in f.args]
        if f.is_Mul:
            return Mul(*(c for c, _ in terms)), Add(*(power for _, power in terms))
        top = max(power for _, power in terms)
        c = Add(*(c for c, power in terms if power == top))
        if not c.is_positive:
            raise NoClosedForm("the leading terms of a block's matrix may cancel")
        return c, top

    def _moment(self, state: Symbol) -> tuple[Expr, Expr]:
        if state not in self._moments:
            law = moment_by_recurrence(self._recurrence, self._pairs[state])
            if any((law.factorial, law.rate, law.log_power, law.stretched, law.prefactor.has(C))):
                raise NoClosedForm("a stream's moment is no power of the depth with a known constant")
            self._moments[state] = law.prefactor, law.power
        return self._moments[state]

    def _diagonal(self, entry: Expr) -> tuple[Expr, Expr]:
        """(d, a) of an entry d + a/l, linear in each omega."""
        added = ZERO
        if entry.free_symbols & self._pairs.keys():
            branches = []
            for omega in (symbols.omega_a2, symbols.omega_f2):
                branches.append(omega * entry.diff(omega))
                entry = entry.subs(omega, 0)
            c, power = self._leading(Add(*branches))
            if power > INVERSE or entry.free_symbols & self._pairs.keys():
                raise NoClosedForm("what moments decide of a block does not fall as 1/l")
            added = factor(c) if power == INVERSE else ZERO
        series = expand_at_share(entry.subs(LAYER, L), 1)
        if series.top != 0 or series.cut > INVERSE or any(INVERSE < p < 0 for p in series.terms):
            raise NoClosedForm("what a stream keeps in a block does not tend to a constant as 1/l")
        return factor(series.terms[ZERO]), factor(series.terms.get(INVERSE, ZERO)) + added

    def law(self, end: Sequence[Expr]) -> Growth:
        """The largest of the terms that lead to what a product ends with."""
        ends = {i for i, entry in enumerate(end) if entry != 0}
        if any(self._leading(end[i] * self._sizes[i])[1] != 0 for i in ends):
            raise NoClosedForm("the product's ends do not grow as the streams do")
        for (i, j), power in self.orders.items():
            back = self.orders.get((j, i), -oo)
            if power > INVERSE if self.D[i] == self.D[j] else power + back >= INVERSE:
                raise NoClosedForm("streams are linked too strongly")
        on_way = set(ends)
        for _ in self.D:
            on_way |= {i for i, j in self.orders if j in on_way}
        bases = dict.fromkeys(self.D[i] for i in sorted(on_way))
        kept = [d for d in bases if not any(_below(d, other) for other in bases)]
        first, *others = (self._term(d, [i for i in sorted(on_way) if self.D[i] == d], ends) for d in kept)
        return replace(first, rivals=tuple(others))

    def _term(self, limit: Expr, members: list[int], ends: set[int]) -> Growth:
        """Growth of the pairs with D_ii = ``limit`` as it is seen where the product ends."""
        block = self.A.extract(members, members) / limit
        linked = (eye(len(members)) + block.applyfunc(lambda entry: Integer(entry != 0))) ** len(members)
        orders = {**self.orders, **{(i, i): ZERO for i in members}}
        seen = [orders[i, j] for i in members for j in ends if (i, j) in orders]
        if 0 in linked or not seen:
            raise NoClosedForm("streams of one growth do not all feed each other, or not what is read")
        power = block[0, 0] if len(members) == 1 else LargestEigenvalue(*block)
        return Growth(rate=log(limit), power=power + max(seen), constant=log(C))


def _below(one: Expr, other: Expr) -> bool:
    """Whether a positive formula in gains is smaller than another one at all gains."""
    top, bottom = fraction(factor((one / other) ** 2))
    return bool((top - bottom).expand().is_negative)
