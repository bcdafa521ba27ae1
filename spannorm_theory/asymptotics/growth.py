"""Large-depth laws: ln f ~ a L ln L + b L + c ln L + e ln ln L + k, and L^p, p < 1 (T12.1)."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from sympy import (
    Add,
    Expr,
    Integer,
    Max,
    Pow,
    evaluate,
    exp,
    expand,
    expand_log,
    factor,
    log,
    logcombine,
    powsimp,
    simplify,
    together,
)

from ..base import symbols
from ..base.errors import NoClosedForm
from .eigenvalue import LargestEigenvalue, named

ZERO = Integer(0)

#: (p, c) of each of some terms c x^p
Terms = tuple[tuple[Expr, Expr], ...]


@dataclass(frozen=True)
class Growth:
    """ln f ~ ``factorial`` L ln L + ``rate`` L + ``power`` ln L + ``log_power`` ln ln L + ``constant``.

    Attributes:
        stretched: (p, c) for each further term c L^p of ln f with 0 < p < 1, the largest power first.
        rivals: other laws; f is of the order of the largest of them and this one, which depends on the gains.
    """

    factorial: Expr = ZERO
    rate: Expr = ZERO
    power: Expr = ZERO
    log_power: Expr = ZERO
    constant: Expr = ZERO
    stretched: Terms = ()
    rivals: tuple[Growth, ...] = ()

    def __add__(self, other: Growth) -> Growth:
        orders = (
            a if b == 0 else b if a == 0 else expand(a + b)
            for a, b in zip(self.orders, other.orders, strict=True)
        )
        if other.rivals:
            if self.rivals:
                raise NoClosedForm("two laws that both depend on which of several terms is largest")
            return other + self
        rivals = tuple(rival + other for rival in self.rivals)
        stretched = _added(self.stretched, other.stretched)
        return replace(Growth(*orders), stretched=stretched, rivals=rivals)._absorbed()

    def times(self, exponent: Expr) -> Growth:
        """The growth of f^exponent."""
        if self.rivals and not exponent.is_positive:
            raise NoClosedForm("the largest of several terms, to a power that may be negative")
        return self._each(lambda c: expand(exponent * c))._absorbed()

    def _absorbed(self) -> Growth:
        """A law in whose constant an open one takes every other factor in."""
        free = self.constant.has(symbols.constant)
        return replace(self, constant=log(symbols.constant)) if free else self

    def subs(self, values: Mapping[Expr, Expr]) -> Growth:
        """The growth with expressions in the place of symbols."""
        return self._each(lambda c: c.subs(values, simultaneous=True))

    def _each(self, change: Callable[[Expr], Expr]) -> Growth:
        """Every coefficient changed."""
        stretched = _largest_first({p: change(c) for p, c in self.stretched})
        rivals = tuple(rival._each(change) for rival in self.rivals)
        return replace(Growth(*map(change, self.orders)), stretched=stretched, rivals=rivals)

    @property
    def orders(self) -> tuple[Expr, ...]:
        """All five coefficients, fastest first."""
        return (self.factorial, self.rate, self.power, self.log_power, self.constant)

    def compare(self, other: Growth) -> int:
        """1, 0 or -1 as this grows faster than, like, or slower than ``other``."""
        if self.rivals or other.rivals:
            raise NoClosedForm("cannot decide which of several terms dominates for all gains")
        if self.stretched or other.stretched:
            raise NoClosedForm("cannot decide which of several stretched exponentials dominates")
        for mine, theirs in zip(self.orders[:4], other.orders[:4], strict=True):
            gap = simplify(mine - theirs)
            if gap.is_positive:
                return 1
            if gap.is_negative:
                return -1
            if not gap.is_zero:
                raise NoClosedForm(f"cannot decide which term dominates: the sign of {gap} is open")
        return 0

    @property
    def base(self) -> Expr:
        """Growth factor per block, exp(rate)."""
        return factor(powsimp(exp(logcombine(self.rate, force=True))))

    @cached_property
    def prefactor(self) -> Expr:
        """The constant of the law."""
        return _prefactor(self.constant)

    @cached_property
    def shape(self) -> Expr:
        """The law without its constant, as an expression in L."""
        return _shape(self)

    def __getstate__(self) -> dict[str, Any]:
        # written forms take long to find, and formulas multiply out when they are built anew from their parts
        state = self.__dict__.copy()
        return state | {name: pickle.dumps(state[name]) for name in ("prefactor", "shape") if name in state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with evaluate(False):
            written = {name: pickle.loads(x) for name, x in state.items() if isinstance(x, bytes)}
        self.__dict__.update(state | written)

    def latex(self) -> str:
        """Constant times shape in LaTeX, and the matrices of eigenvalues in it."""
        shape, eigenvalues = named(self.shape)
        constant = self.prefactor
        front = symbols.latex(constant)
        if isinstance(constant, Add):
            front = rf"\left({front}\right)"
        text = front if shape == 1 else symbols.latex(shape)
        if shape != 1 and constant != 1:
            text = rf"{front} \cdot {text}"
        where = (rf",\quad {symbols.latex(p)} = {symbols.latex(value)}" for p, value in eigenvalues.items())
        return text + "".join(where)

    def __repr__(self) -> str:
        """The law, in place of its exponents."""
        shape, eigenvalues = named(self.shape)
        where = (
            f"; {p} the largest eigenvalue of {value.matrix.tolist()}" for p, value in eigenvalues.items()
        )
        return f"Theta({shape}), constant {self.prefactor}{''.join(where)}"


def first_of(*attempts: Callable[[], Growth]) -> Growth:
    """The first law that one of several means gives, tried in order.

    Raises:
        NoClosedForm: none does; the message gives each reason once.
    """
    reasons: list[str] = []
    for attempt in attempts:
        try:
            return attempt()
        except NoClosedForm as reason:
            reasons += str(reason).split("; ")
    raise NoClosedForm("; ".join(dict.fromkeys(reasons)))


@lru_cache(maxsize=1 << 13)  # many stacks have the same laws
def _prefactor(constant: Expr) -> Expr:
    combined = powsimp(exp(logcombine(expand(constant), force=True)), force=True)
    return powsimp(combined.replace(lambda e: isinstance(e, Add), lambda e: factor(together(e))))


@lru_cache(maxsize=1 << 13)
def _shape(law: Growth) -> Expr:
    if law.rivals:
        return Max(*(_shape(one) for one in (replace(law, rivals=()), *law.rivals)), evaluate=False)
    L = symbols.depth
    result: Any = Pow(L, _short(law.power)) * log(L) ** _short(law.log_power)
    if law.stretched:
        result *= exp(Add(*(factor(c) * L**p for p, c in law.stretched)))
    rate = simplify(expand_log(law.rate, force=True))
    if rate != 0:
        result *= Pow(law.base, L)
    return result


def _short(exponent: Expr) -> Expr:
    # entries of its matrix are short as they are, and long to simplify
    return exponent if exponent.has(LargestEigenvalue) else factor(simplify(exponent))


def _added(one: Terms, other: Terms) -> Terms:
    terms = dict(one)
    for p, c in other:
        terms[p] = terms.get(p, ZERO) + c
    return _largest_first(terms)


def _largest_first(terms: Mapping[Expr, Expr]) -> Terms:
    kept = ((p, c) for p, c in terms.items() if c != 0)
    return tuple(sorted(kept, key=lambda row: float(row[0]), reverse=True))
