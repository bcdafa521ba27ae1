r"""The largest real root of a polynomial, where laws have an exponent that no shorter formula gives."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from sympy import Expr, Float, Function, Integer, Matrix, Poly, Pow, Symbol, expand, factor, powdenest, sqrt

from ..symbols import positive

#: the polynomial's variable in print
VARIABLE = Symbol("x")

#: imaginary parts below this, relative, are rounding
CLOSE = 1e-7

#: a square root of gains
ROOT = positive("t")


class LargestRoot(Function):
    """LargestRoot(1, c_(n-1), ..., c_0): the largest real root of x^n + c_(n-1) x^(n-1) + ... + c_0."""

    is_real = True

    @property
    def polynomial(self) -> Expr:
        """The polynomial in x."""
        degree = len(self.args) - 1
        return sum(c * VARIABLE ** (degree - k) for k, c in enumerate(self.args))

    def _eval_evalf(self, prec: int) -> Expr | None:
        """In double precision."""
        values = [c.evalf() for c in self.args]
        return (
            Float(real_roots([complex(v) for v in values])[0]) if all(v.is_number for v in values) else None
        )

    def _sympystr(self, printer: Any) -> str:
        return f"LargestRoot({printer.doprint(self.polynomial)})"

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        raised = "" if exp is None else f"^{{{exp}}}"
        return rf"\operatorname{{maxroot}}{raised}\left({printer.doprint(self.polynomial)}\right)"


def real_roots(coefficients: Sequence[complex]) -> list[float]:
    """Real roots of a polynomial of real coefficients, the leading one first; the largest root first."""
    roots = np.roots([complex(c).real for c in coefficients])
    real = roots.real[np.abs(roots.imag) < CLOSE * (1 + np.abs(roots).max())]
    return sorted(map(float, real), reverse=True)


def largest_eigenvalue(matrix: Matrix) -> Expr:
    """The largest real eigenvalue of a matrix of algebraic functions of gains."""
    found = _without_root(matrix)
    if found is None:
        return LargestRoot(*matrix.charpoly(VARIABLE).all_coeffs())
    rational, square = found
    return LargestRoot(*(_with_root(factor(c), square) for c in rational.charpoly(VARIABLE).all_coeffs()))


def _without_root(matrix: Matrix) -> tuple[Matrix, Expr] | None:
    """A matrix in which t stands for the one square root of gains that it holds, and the value of t^2; None
    if it holds several. What is multiplied out under roots takes minutes to factor."""
    halves = [e for e in matrix.atoms(Pow) if e.exp.is_Rational and e.exp.q == 2]
    bases = {e.base for e in halves if e.base.free_symbols}
    if len(bases) != 1:
        return None
    (base,) = bases
    # with a root of a number in front of every root of gains, one letter serves for both
    square = base * prod({e.base for e in halves if not e.base.free_symbols})
    gain = min(square.free_symbols, key=str)
    slope = square.diff(gain)
    if slope.free_symbols:
        return None
    alone = (ROOT**2 - square.subs(gain, 0)) / slope
    return matrix.subs(gain, alone).applyfunc(lambda e: factor(powdenest(expand(e), force=True))), square


def _with_root(c: Expr, square: Expr) -> Expr:
    """A rational function of t as A + B t, with the value of t^2 filled in."""
    top, bottom = c.as_numer_denom()
    even, odd = Integer(0), Integer(0)
    for (power,), part in Poly(top, ROOT).terms():
        if power % 2:
            odd += part * square ** (power // 2)
        else:
            even += part * square ** (power // 2)
    bottom = bottom.subs(ROOT, sqrt(square))
    return factor(even / bottom) + factor(odd / bottom) * sqrt(square)
