r"""Gaussian kernels of an element-wise function phi: closed forms, and the protocol of all (T5.1, T5.2).

For (u, v) jointly Gaussian with zero mean, second moments q1, q2 and covariance c,

    K(q1, q2, c) = E phi(u) phi(v),      K'(q1, q2, c) = E phi'(u) phi'(v) = dK/dc  (Price's theorem).

A kernel is either a closed form (sympy, compiled for floats and for arrays) or a Hermite series
(:mod:`.hermite`), for any phi that is smooth enough for the series to converge.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import ArrayLike, NDArray
from sympy import Expr, Rational, atan, atan2, lambdify, pi
from sympy import sqrt as root

from ..base import symbols

Array = NDArray[np.float64]

Q1, Q2, C, D = symbols.kernel_arguments

#: the largest delta / min(q, unit^2) at which each of Gauss' rules for the integral of a slope, but the last,
#: is right to rounding: larger reaches take fewer nodes and lose digits
REACHES = 1e-8, 1e-5, 1e-3, 1e-1

#: those rules, of 2, 3, 4, 7 and 12 nodes t on (0, 1): t^2, and the weight of t dt
RULES = [
    [(((x + 1) / 2) ** 2, w * (x + 1) / 2) for x, w in zip(*map(np.ndarray.tolist, leggauss(n)), strict=True)]
    for n in (2, 3, 4, 7, 12)
]

#: from (q, delta) at a branch's input, and its gains at a layer, to (q, delta) of its output
Transfer = Callable[..., tuple[float, float]]


class Kernel(Protocol):
    """Moments that the theory asks of a nonlinearity; arguments are second moments per coordinate."""

    #: how the numbers are made: "closed form" or "quadrature"
    method: str

    def value(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """K(q1, q2, c) for floats or arrays that broadcast."""

    def slope(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """dK/dc = E phi'(u) phi'(v)."""

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q, q, q) and K(q, q, q) - K(q, q, q - delta), the latter without cancellation."""

    def pair(self, q: Array, delta: Array) -> tuple[Any, Any, Any, Any]:
        """K and K' of one token, at c = q, then K and K' between two, at c = q - delta."""


class ClosedForm:
    """A kernel given by a formula in (q1, q2, c) and D = q1 q2 - c^2, which is exactly zero for one
    token, however large q is; the slope is derived unless it is given."""

    method = "closed form"

    def __init__(self, value: Expr, slope: Expr | None = None, unit: float = 0.01) -> None:
        """``unit``: the least change of its argument phi varies over, infinite if phi(s x) = s phi(x)."""
        self._value, self._square = value, unit**2
        self._slope = value.diff(C) - 2 * C * value.diff(D) if slope is None else slope

    @property
    def expression(self) -> Expr:
        """K in (q1, q2, c)."""
        return self._value.subs(D, Q1 * Q2 - C**2)

    @property
    def slope_expression(self) -> Expr:
        """dK/dc in (q1, q2, c)."""
        return self._slope.subs(D, Q1 * Q2 - C**2)

    @cached_property
    def _scalar(self) -> tuple[Callable[..., float], Callable[..., float]]:
        compiled = [lambdify((Q1, Q2, C, D), e, modules="math", cse=True) for e in (self._value, self._slope)]
        return compiled[0], compiled[1]

    @cached_property
    def _vector(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        compiled = [
            lambdify((Q1, Q2, C, D), e, modules="numpy", cse=True) for e in (self._value, self._slope)
        ]
        return compiled[0], compiled[1]

    def _call(self, which: int, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        if isinstance(c, float):
            return self._scalar[which](q1, q2, c, max(float(q1) * float(q2) - c * c, 0.0))
        x, y, z = np.broadcast_arrays(q1, q2, c)
        return self._vector[which](x, y, z, np.maximum(x * y - z * z, 0.0))

    def value(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """K(q1, q2, c)."""
        return self._call(0, q1, q2, c)

    def slope(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """dK/dc."""
        return self._call(1, q1, q2, c)

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q, q, q) and K(q, q, q) - K(q, q, q - delta): near one token the integral of the slope over
        c = q - delta t^2, in which the root that a kinked phi has at c = q is smooth (T5.6)."""
        value, slope = self._scalar
        one = value(q, q, q, 0.0)
        if delta > 1e-5 * q:  # at most five digits of sixteen are lost
            return one, one - value(q, q, q - delta, max((2 * q - delta) * delta, 0.0))
        delta = max(delta, 0.0)
        total = 0.0
        for square, weight in RULES[bisect_left(REACHES, delta / min(q, self._square))]:
            below = square * delta
            total += weight * slope(q, q, q - below, (2 * q - below) * below)
        return one, delta * total

    def pair(self, q: Array, delta: Array) -> tuple[Any, Any, Any, Any]:
        """K and K' of one token, then between two."""
        value, slope = self._vector
        p, zero = q - delta, np.zeros_like(q)
        det = np.maximum(q * q - p * p, 0.0)
        return value(q, q, q, zero), slope(q, q, q, zero), value(q, q, p, det), slope(q, q, p, det)

    def moments(self, q: Expr) -> tuple[Expr, Expr]:
        """E phi(u)^2 and E phi'(u)^2 as expressions in the second moment ``q`` of u."""
        at_one_token = {Q1: q, Q2: q, C: q}
        return tuple(
            e.subs(at_one_token, simultaneous=True) for e in (self.expression, self.slope_expression)
        )


def relu_kernel() -> ClosedForm:
    """phi(x) = max(x, 0): the arc-cosine kernel of degree one (Cho and Saul, 2009), its angle written with D,
    so that it is exact near one token."""
    angle = atan2(root(D), C)
    return ClosedForm((root(D) + (pi - angle) * C) / (2 * pi), (pi - angle) / (2 * pi), unit=np.inf)


def relu2_kernel() -> ClosedForm:
    """phi(x) = max(x, 0)^2: the arc-cosine kernel of degree two."""
    angle = atan2(root(D), C)
    value = 3 * C * root(D) + (pi - angle) * (D + 3 * C**2)
    return ClosedForm(value / (2 * pi), 2 * (root(D) + (pi - angle) * C) / pi, unit=np.inf)


def gelu_kernel() -> ClosedForm:
    """phi(x) = x Phi(x), Phi the normal distribution function; theory of E phi(u) phi(v) for q1 != q2."""
    det = 1 + Q1 + Q2 + D
    value = (
        C / 4
        + C / (2 * pi) * atan(C / root(det))
        + (D + C**2 / (1 + Q1) + C**2 / (1 + Q2)) / (2 * pi * root(det))
    )
    # the derivative in a form without differences, which would leave rounding of order root(q)
    paths = 1 / det + 1 / (1 + Q1) + 1 / (1 + Q2)
    slope = Rational(1, 4) + atan(C / root(det)) / (2 * pi) + C / (2 * pi * root(det)) * paths
    return ClosedForm(value, slope, unit=1.0)


def erf_kernel() -> ClosedForm:
    """phi(x) = erf(x): the arc-sine kernel (Williams, 1997). 1 + s^2 of s = 2c/root((1+2q1)(1+2q2)) is
    written with D, so that the angle is exact near one token."""
    det = 1 + 2 * Q1 + 2 * Q2 + 4 * D
    return ClosedForm(2 / pi * atan(2 * C / root(det)), 4 / (pi * root(det)), unit=1.0)


def linear_kernel() -> ClosedForm:
    """phi(x) = x."""
    return ClosedForm(C, Rational(1), unit=np.inf)
