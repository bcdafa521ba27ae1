"""Closed-form bounds from monotonicity in attention's gains (T11.2)."""

from __future__ import annotations

from sympy import Expr, Integer, Poly, Symbol, factor, gamma, harmonic, zoo

from ..base import symbols
from ..base.errors import NoClosedForm
from ..base.formulas import RATIO
from ..derivation.recurrence import Recurrence

ZERO = Integer(0)


def sign(expression: Expr) -> int | None:
    """1, 0 or -1 if a rational function of positive symbols has that sign everywhere, else None."""
    top, bottom = factor(expression).as_numer_denom()
    if top == 0:
        return 0
    # positivity of the coefficients is sufficient, not necessary
    found = []
    for part in (top, bottom):
        generators = sorted(part.free_symbols, key=str)
        coefficients = Poly(part, *generators).coeffs() if generators else [part]
        if all(c > 0 for c in coefficients):
            found.append(1)
        elif all(c < 0 for c in coefficients):
            found.append(-1)
        else:
            return None
    return found[0] * found[1]


def monotone(expression: Expr, symbol: Symbol) -> int | None:
    """The sign of d expression / d symbol, if it is the same everywhere."""
    if not expression.is_rational_function():
        return None
    return sign(expression.diff(symbol))


def closed_bounds(recurrence: Recurrence) -> dict[str, tuple[Expr, Expr]]:
    """Lower and upper closed forms for attention gains anywhere in [0, sigma_a^2], [0, omega_a^2].

    Token correlations move attention's gains from layer to layer; here sigma_a^2 and omega_a^2 stand for
    their largest values. Valid because every block is monotone in each of these gains, which is checked: a
    quantity for which the check does not decide is left out.
    """
    sigma, omega = symbols.sigma_a2, symbols.omega_a2
    result: dict[str, tuple[Expr, Expr]] = {}
    if recurrence.before is not None:  # two recurrences, one behind the other
        return result
    for pair in recurrence.step.pairs:
        try:
            value = recurrence.moment_at(pair, symbols.layer)
        except NoClosedForm:
            continue
        step = recurrence.step.forward[pair]
        state = recurrence.step.moment(*pair)
        steps = [monotone(step, sigma), monotone(step, state) if state.is_Symbol else 1]
        if all(s in (0, 1) for s in steps):
            result[str(recurrence.block.moment(*pair))] = _ordered(value, {sigma: ZERO}, {})
    try:
        ratio, whole = recurrence.ratio, recurrence.gradient_ratio()
    except NoClosedForm:
        return result
    blocks = [ratio, *(s.backward_matrix[0, 0] for s in recurrence.opening)]
    if all(monotone(r, sigma) in (0, -1) and monotone(r, omega) in (0, 1) for r in blocks):
        bounds = _ordered(whole, {omega: ZERO}, {sigma: ZERO})
        if not any(bound.has(zoo) for bound in bounds):  # a norm behind a vanishing branch
            result[RATIO] = bounds
    return result


def _ordered(value: Expr, low: dict[Symbol, Expr], high: dict[Symbol, Expr]) -> tuple[Expr, Expr]:
    bounds = tuple(value.subs(which) for which in (low, high))
    return tuple(b if b.has(gamma, harmonic) else factor(b) for b in bounds)
