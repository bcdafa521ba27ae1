"""Expressions in (l, L, d), by which rules and placements multiply: what one is, and its values at layers.

Every factor of the toolkit passes here twice: when it is written down, and when the depth is known.
"""

from __future__ import annotations

from functools import lru_cache
from numbers import Real
from typing import Any, Protocol

import numpy as np
from sympy import Expr, Rational, lambdify, nan, oo, zoo
from sympy.core.function import AppliedUndef

from ..base import symbols
from ..base.errors import InputError, shown
from ..gaussian.closed_forms import Array

#: sizes at which a factor that is written down is tried: some value must come out, finite or not
TRIED = (3.0, 64.0)

#: between these, a factor that is one number is a float32 in Monte Carlo
SMALLEST, LARGEST = 1e-30, 1e30


class Sizes(Protocol):
    """Anything with the sizes of a stack, as an architecture."""

    @property
    def depth(self) -> int:
        """L."""

    @property
    def width(self) -> int:
        """d."""


def exact(factor: Any) -> Expr:
    """A factor as sympy has it: numbers as rationals, expressions as they are.

    Raises:
        InputError: neither a real number nor an expression.
    """
    if isinstance(factor, Real) and not isinstance(factor, bool):
        if not np.isfinite(_float(factor)):
            raise InputError(f"a factor must be finite, got {shown(factor)}")
        return Rational(str(factor))
    if not isinstance(factor, Expr):
        raise InputError(f"a factor is a number or a sympy expression in (l, L, d), got {shown(factor)}")
    return factor


@lru_cache(maxsize=4096)
def require_usable(factor: Expr) -> None:
    """Refuse expressions in anything else than (l, L, d), and those that can be no finite real number.

    Raises:
        InputError: naming the expression.
    """
    if factor.has(nan, oo, zoo):
        raise InputError(f"a factor must be finite, got {shown(factor)}")
    foreign = factor.free_symbols - {symbols.layer, symbols.depth, symbols.width}
    if foreign:
        raise InputError(
            f"a factor is an expression in (l, L, d), got {shown(factor)} with {sorted(map(str, foreign))}; "
            "take l, L and d from the rule's arguments, or net.layer, net.depth and net.width"
        )
    if factor.is_real is False or not factor.is_commutative:
        raise InputError(f"a factor must be a real number, got {shown(factor)}")
    undefined = sorted(str(function.func) for function in factor.atoms(AppliedUndef))
    if undefined:
        raise InputError(f"a factor has no undefined functions, got {shown(factor)} with {undefined}")
    tried = evaluated(factor, np.arange(TRIED[0]), *TRIED)
    if not factor.free_symbols and not _constant(factor, tried[0]):
        raise InputError(
            f"a factor that is one number is 0 or from {SMALLEST:.0e} to {LARGEST:.0e}, got {shown(factor)}"
        )


def over_layers(expression: Expr, arch: Sizes, layers: Array) -> Array:
    """An expression in (l, L, d) at each layer; shape (layers,), float64.

    Raises:
        InputError: it is no finite real number at some layer, or cannot be evaluated.
    """
    return at_layers(expression, layers, arch.depth, arch.width)


def at_layers(expression: Expr, layers: Array, depth: float, width: float) -> Array:
    """An expression in (l, L, d) at each layer of a stack of these sizes; shape (layers,), float64.

    Raises:
        InputError: it is no finite real number at some layer, or cannot be evaluated.
    """
    found = evaluated(expression, layers, depth, width)
    _require_numbers(expression, found, layers, depth)
    return found.real


def evaluated(expression: Expr, layers: Array, depth: float, width: float) -> Array:
    """An expression at each layer, be it a finite real number or not; shape (layers,).

    Raises:
        InputError: it cannot be evaluated.
    """
    try:
        with np.errstate(all="ignore"):
            # as numpy's numbers, of which poles are infinite
            value = _compiled(expression)(layers, np.float64(depth), np.float64(width))
            value = np.asarray(value)
            value = value.astype(complex if value.dtype.kind == "c" else float)
            return np.broadcast_to(value, layers.shape)
    except Exception as error:  # sympy and numpy raise all kinds
        why = shown(str(error) or type(error).__name__)[1:-1]
        raise InputError(
            f"the factor {shown(expression)} cannot be evaluated ({why}); "
            "write it with powers, roots, exp and log of l, L and d, or Piecewise"
        ) from None


@lru_cache(maxsize=4096)
def _compiled(expression: Expr) -> Any:
    return lambdify((symbols.layer, symbols.depth, symbols.width), expression, modules="numpy")


def _constant(factor: Expr, value: complex) -> bool:
    """Whether a factor that is one number, of this value in float64, is one that networks can have."""
    return value.imag == 0 and (factor == 0 or SMALLEST <= abs(value.real) <= LARGEST)


def _require_numbers(expression: Expr, found: Array, layers: Array, depth: float) -> None:
    """Refuse values that are complex, infinite or undefined, or whose square is."""
    with np.errstate(all="ignore"):
        wrong = ~np.isfinite(np.square(found.real)) | (found.imag != 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        huge = found[at].imag == 0 and np.isfinite(found[at])
        fault = (
            f"is {found[at].real:.1e}, whose square float64 cannot hold,"
            if huge
            else "is no finite real number"
        )
        raise InputError(f"the factor {shown(expression)} {fault} at layer {int(layers[at])} of {int(depth)}")


def _float(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return np.inf
