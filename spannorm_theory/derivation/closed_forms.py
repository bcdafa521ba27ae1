r"""Solve a block's step: stream moments as functions of l, gradients as functions of l and L.

What has a closed form: moments that a norm fixes; linear recurrences q' = a q + b with a = 1 (sums), with
constant a and b (geometric series) or with b = 0 (products); and products of per-block gradient ratios
that are rational in l (gamma functions). Everything else is said to have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sympy import (
    Add,
    Expr,
    Integer,
    Mul,
    Poly,
    Product,
    Sum,
    apart,
    cancel,
    factor,
    factorial,
    gamma,
    harmonic,
    product,
    rf,
    summation,
)
from sympy.core.function import AppliedUndef

from ..base import symbols
from ..base.errors import NoClosedForm

Pairs = tuple[int, int]

#: largest number whose factorial is written out; more takes digits and time, and is refused
LARGEST_FACTORIAL = 1000


def solve_linear(step: Expr, state: Expr, start: Expr, initial: Expr) -> Expr:
    """q_l for l >= ``start`` from q_{l+1} = ``step``(q_l, l) and q_start = ``initial``.

    Raises:
        NoClosedForm: the step is not linear in its own moment, or the sum or product has no closed form.
    """
    l, k = symbols.layer, symbols.running
    step = step.expand() if step.is_polynomial(state) else step
    slope = cancel(step.diff(state)) if step.is_polynomial(state) else None
    if slope is None or slope.has(state):
        raise NoClosedForm("its step is not linear")
    offset = cancel(step - slope * state)
    if slope == 1:
        return factor(initial + _finite(_sum(offset.subs(l, k), start)))
    if not slope.has(l) and not offset.has(l):
        fixed = factor(offset / (1 - slope))
        return fixed + factor(initial - fixed) * factor(slope) ** (l - start)
    if offset == 0:
        return initial * _finite(product(factor(slope).subs(l, k), (k, start, l - 1)))
    raise NoClosedForm("its linear recurrence has coefficients that depend on l")


def _sum(term: Expr, start: Expr) -> Expr:
    """sum_{k=start}^{l-1} of a rational term; sympy leaves sums of 1/(k + c), c > 0, as they are."""
    l, k = symbols.layer, symbols.running
    if not term.is_rational_function(k):
        raise NoClosedForm("what its blocks add is not rational in l")
    total = Integer(0)
    for part in Add.make_args(apart(factor(term), k)):
        constant, rest = part.as_independent(k, as_Add=False)
        line = (1 / rest).as_poly(k) if rest.has(k) else None
        if line is not None and line.degree() == 1:
            slope, offset = line.all_coeffs()
            c = offset / slope
            total += constant / slope * (harmonic(l + c - 1) - harmonic(start + c - 1))
        else:
            total += constant * _summed(rest, start)
    return total


@lru_cache(maxsize=1 << 10)  # streams and rules have the same few sums, and each takes tenths of a second
def _summed(term: Expr, start: Expr) -> Expr:
    """sum_{k=start}^{l-1} of a term, as sympy gives it."""
    return summation(term, (symbols.running, start, symbols.layer - 1))


def solve_forward(
    steps: Mapping[Pairs, Expr], moments: Mapping[Pairs, Expr], start: Expr, initial: Mapping[Pairs, Expr]
) -> tuple[dict[Pairs, Expr], dict[Pairs, str]]:
    """Closed form of each stream moment for l >= ``start``, and the reason for each that has none.

    Args:
        steps: outgoing moment of each stream pair.
        moments: its incoming symbol, or its known value.
        initial: its value at l = ``start``.
    """
    solved: dict[Pairs, Expr] = {}
    reasons: dict[Pairs, str] = {}
    for pair, step in steps.items():
        state = moments[pair]
        others = {m for p, m in moments.items() if p != pair and m.is_Symbol}
        if not state.is_Symbol:
            solved[pair] = state
        elif step.free_symbols & others:
            reasons[pair] = (
                f"its step depends on {' and '.join(sorted(map(str, step.free_symbols & others)))}"
            )
        else:
            try:
                solved[pair] = solve_linear(step, state, start, initial[pair])
            except NoClosedForm as reason:
                reasons[pair] = str(reason)
    return solved, reasons


def product_of_ratios(ratio: Expr, first: Expr, stop: Expr = symbols.depth) -> Expr:
    """prod_{k=first}^{stop-1} ratio(k), for a per-block gradient ratio in (l, L); by default up to L.

    Raises:
        NoClosedForm: the product cannot be expressed by powers and gamma functions.
    """
    l, k = symbols.layer, symbols.running
    if ratio.has(l):  # factors of ratios with roots can take minutes to find
        ratio = factor(ratio)
    if not ratio.has(l):
        return ratio ** (stop - first)
    top, bottom = ratio.as_numer_denom()
    if not (top.is_polynomial(l) and bottom.is_polynomial(l)):
        raise NoClosedForm("the ratio of block l is not rational in l")
    factors = [f for part in (top, bottom) for f in Mul.make_args(part) if f.has(l)]
    if any(f.as_base_exp()[0].as_poly(l).degree() > 2 for f in factors):
        raise NoClosedForm("the gradient ratio of block l has factors of degree three or more in l")
    if any(_starts_high(f.as_base_exp()[0].as_poly(l)) for f in factors):
        raise NoClosedForm(f"its gamma functions have arguments of more than {LARGEST_FACTORIAL}")
    return _finite(product(ratio.subs(l, k), (k, first, stop - 1)))


def _starts_high(poly: Poly) -> bool:
    """Whether the product of (l + c), or of both its factors, begins with a number c that is huge."""
    leading, *others = poly.all_coeffs()
    shares = [c / leading for c in others if (c / leading).is_number]
    return any(abs(c) > LARGEST_FACTORIAL**i for i, c in enumerate(shares, 1))


def _finite(expression: Expr) -> Expr:
    """The expression in gamma functions, refused if a sum or product is left in it."""
    if expression.has(Sum, Product, AppliedUndef):
        raise NoClosedForm("sympy leaves the sum or product over blocks as it is")
    expression = expression.replace(rf, lambda x, n: gamma(x + n) / gamma(x))
    return expression.replace(factorial, lambda n: gamma(n + 1))


@dataclass(frozen=True)
class ClosedForms:
    """Closed forms by name, valid from layer ``start`` on, and what has none."""

    found: dict[str, Expr]
    missing: dict[str, str]
    start: Expr

    def __getitem__(self, name: str) -> Expr:
        try:
            return self.found[name]
        except KeyError:
            reason = self.missing.get(name, f"known: {', '.join(self.found)}")
            raise NoClosedForm(f"no closed form for {name}: {reason}") from None

    def __repr__(self) -> str:
        """A line for each formula, found or not."""
        lines = [
            f"from layer {self.start} on:",
            *(f"  {name} = {value}" for name, value in self.found.items()),
        ]
        return "\n".join([*lines, *(f"  {name}: none, {reason}" for name, reason in self.missing.items())])


def attempt(compute: Callable[[], Expr], name: str, found: dict[str, Expr], missing: dict[str, str]) -> None:
    """File a closed form under ``found``, or the reason why there is none under ``missing``."""
    try:
        found[name] = compute()
    except NoClosedForm as reason:
        missing[name] = str(reason)
