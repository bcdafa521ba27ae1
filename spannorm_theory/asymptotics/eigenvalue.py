"""The largest eigenvalue of a matrix of gains, as the exponent of a law that no shorter formula gives."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
from sympy import Expr, Float, Function, Matrix, Symbol

from ..base.symbols import positive


class LargestEigenvalue(Function):
    """LargestEigenvalue(a_11, a_12, ..., a_nn): of the n x n matrix with these entries, row by row.

    Entries off the diagonal are non-negative: the largest eigenvalue is real.
    """

    is_real = True

    @property
    def matrix(self) -> Matrix:
        """The matrix."""
        size = isqrt(len(self.args))
        return Matrix(size, size, self.args)

    def _eval_evalf(self, prec: int) -> Expr | None:
        """The value in double precision, where all entries are numbers."""
        values = [entry.evalf() for entry in self.args]
        return Float(number(values)) if all(value.is_number for value in values) else None

    def _sympystr(self, printer: Any) -> str:
        return f"LargestEigenvalue({printer.doprint(self.matrix.tolist())})"

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        raised = "" if exp is None else f"^{{{exp}}}"
        return rf"\lambda_{{\max}}{raised}{printer.doprint(self.matrix)}"


def number(entries: Sequence[Any]) -> float:
    """The largest eigenvalue of a matrix of numbers, given row by row."""
    size = isqrt(len(entries))
    rows = np.array([complex(entry).real for entry in entries]).reshape(size, size)
    return float(np.linalg.eigvals(rows).real.max())


def named(expression: Expr) -> tuple[Expr, dict[Symbol, LargestEigenvalue]]:
    """An expression with p, or p_1 and so on, in the place of its largest eigenvalues, and these."""
    found = sorted(expression.atoms(LargestEigenvalue), key=str)
    names = ["p"] if len(found) == 1 else [f"p_{k}" for k in range(1, len(found) + 1)]
    places = {positive(name): value for name, value in zip(names, found, strict=True)}
    return expression.subs({value: name for name, value in places.items()}), places
