r"""The largest real root of a polynomial, where laws have an exponent that no shorter formula gives."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from sympy import (
    Expr,
    Float,
    Function,
    Integer,
    Matrix,
    Poly,
    Pow,
    Symbol,
    collect,
    expand,
    factor,
    fraction,
    powdenest,
    sqrt,
)

from ..base.symbols import positive

#: the polynomial's variable in print
VARIABLE = Symbol("x")

#: imaginary parts below this, relative, are rounding
CLOSE = 1e-7

#: a square root of gains, and what it is taken of
ROOT, BASE = positive("t"), positive("S")


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


def named(expression: Expr) -> tuple[Expr, dict[Symbol, LargestRoot]]:
    """An expression with p, or p_1 and so on, in the place of its largest roots, and these."""
    roots = sorted(expression.atoms(LargestRoot), key=str)
    if not roots:
        return expression, {}
    names = ["p"] if len(roots) == 1 else [f"p_{k}" for k in range(1, len(roots) + 1)]
    found = {positive(name): root for name, root in zip(names, roots, strict=True)}
    return expression.subs({root: name for name, root in found.items()}), found


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
    rational, number, base = found
    coefficients = (_with_root(factor(c), number) for c in rational.charpoly(VARIABLE).all_coeffs())
    return LargestRoot(*(c.subs({BASE: base, ROOT: sqrt(number * base)}) for c in coefficients))


def _without_root(matrix: Matrix) -> tuple[Matrix, Integer, Expr] | None:
    """A matrix in which t stands for the one square root of gains that it holds, sqrt(n S), and n and S; None
    if it holds several. What is multiplied out under roots takes minutes to factor."""
    halves = [e for e in matrix.atoms(Pow) if e.exp.is_Rational and e.exp.q == 2]
    bases = {e.base for e in halves if e.base.free_symbols}
    if len(bases) != 1:
        return None
    (base,) = bases
    # with a root of a number in front of every root of gains, one letter serves for both
    number = Integer(1) * prod({e.base for e in halves if not e.base.free_symbols})
    gain = min(base.free_symbols, key=str)
    slope = base.diff(gain)
    if slope.free_symbols:
        return None
    alone = (ROOT**2 / number - base.subs(gain, 0)) / slope
    plain = matrix.subs(gain, alone).applyfunc(lambda e: factor(powdenest(expand(e), force=True)))
    return plain, number, base


def _with_root(c: Expr, number: Integer) -> Expr:
    """A rational function of t as A + B t, with n S in the place of t^2."""
    top, bottom = (_parts(part, number) for part in c.as_numer_denom())
    under = bottom[0] + bottom[1] * ROOT
    return _collected(top[0] / under) + _collected(top[1] / under) * ROOT


def _parts(polynomial: Expr, number: Integer) -> tuple[Expr, Expr]:
    """Of a polynomial in t, the even powers and the odd ones over t."""
    found = [Integer(0), Integer(0)]
    for (power,), part in Poly(polynomial, ROOT).terms():
        found[power % 2] += part * (number * BASE) ** (power // 2)
    return found[0], found[1]


def _collected(c: Expr) -> Expr:
    """A rational function with its numerator as a product, or ordered by gains."""
    top, bottom = fraction(factor(c))
    if top.is_Add:
        top = collect(top, sorted(top.free_symbols - {BASE, ROOT}, key=str), factor)
    return top / bottom
