r"""Gaussian kernels of a pointwise nonlinearity phi.

For (u, v) jointly Gaussian with zero mean, second moments q1, q2 and covariance c,

    K(q1, q2, c) = E phi(u) phi(v),      K'(q1, q2, c) = E phi'(u) phi'(v) = dK/dc  (Price's theorem).

A kernel is either a closed form (sympy, compiled for floats and for arrays) or a Hermite series
computed by Gauss-Hermite quadrature, for any phi that is smooth enough for the series to converge.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import roots_hermitenorm
from sympy import Expr, Max, Min, Rational, acos, atan, lambdify, pi, sqrt

from .. import symbols
from ..errors import AssumptionError

Array = NDArray[np.float64]

Q1, Q2, C, D = symbols.kernel_arguments

#: Gauss-Legendre nodes on (0, 1): enough for rounding accuracy of the smooth integrands below
_LEGENDRE = [
    (float(x + 1) / 2, float(w) / 2) for x, w in zip(*np.polynomial.legendre.leggauss(12), strict=True)
]


class Kernel(Protocol):
    """What the theory asks of a nonlinearity; all arguments are per-coordinate second moments."""

    #: how the numbers are made: "closed form" or "quadrature"
    method: str

    def value(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """K(q1, q2, c) for floats or arrays that broadcast."""

    def slope(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """dK/dc = E phi'(u) phi'(v)."""

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q, q, q) and K(q, q, q) - K(q, q, q - delta), the latter without cancellation."""


def _drop_by_integration(kernel: Kernel, q: float, delta: float) -> float:
    # K(q) - K(q - delta) is the integral of the slope; with c = q - delta t^2 the square-root
    # singularity that a kinked phi has at c = q becomes smooth
    return sum(w * 2 * t * delta * float(kernel.slope(q, q, q - delta * t * t)) for t, w in _LEGENDRE)


class ClosedForm:
    """A kernel given by a formula in (q1, q2, c) and D = q1 q2 - c^2, which is exactly zero for one
    token, however large q is; the slope is derived unless it is given."""

    method = "closed form"

    def __init__(self, value: Expr, slope: Expr | None = None) -> None:
        self._value = value
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
        """K(q) and K(q) - K(q - delta)."""
        top = self._scalar[0](q, q, q, 0.0)
        if delta > 1e-3 * q:  # at most three digits of sixteen are lost
            return top, top - self._scalar[0](q, q, q - delta, (2 * q - delta) * delta)
        return top, _drop_by_integration(self, q, delta)

    def moments(self, q: Expr) -> tuple[Expr, Expr]:
        """E phi(u)^2 and E phi'(u)^2 as expressions in the second moment ``q`` of u."""
        at_one_token = {Q1: q, Q2: q, C: q}
        return tuple(
            e.subs(at_one_token, simultaneous=True) for e in (self.expression, self.slope_expression)
        )


@lru_cache(maxsize=1)
def _hermite_rule(nodes: int, terms: int) -> tuple[Array, Array, Array]:
    """Nodes z, probability weights w and orthonormal Hermite polynomials h_k(z), k < terms."""
    z, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    h = np.ones((terms, nodes))
    h[1] = z
    for k in range(1, terms - 1):
        h[k + 1] = (z * h[k] - np.sqrt(k) * h[k - 1]) / np.sqrt(k + 1)
    return z, w, h


class HermiteSeries:
    """K = sum_k a_k(q1) a_k(q2) rho^k (Mehler), with a_k(q) = E phi(sqrt(q) z) h_k(z).

    What the first terms leave of E phi^2 is put into one last term, so that K is right at rho = 1;
    it also bounds the error elsewhere and is checked against ``tolerance``.

    Raises:
        AssumptionError: the series has not converged (phi jumps or grows too fast).
    """

    method = "quadrature"
    nodes, terms, tolerance = 300, 96, 1e-4

    def __init__(self, function: Callable[[Array], Array], name: str) -> None:
        self.function = function
        self.name = name
        self._coefficients = lru_cache(maxsize=4096)(self._compute)

    def _compute(self, q: float) -> Array:
        z, w, h = _hermite_rule(self.nodes, self.terms - 1)
        phi = np.asarray(self.function(np.sqrt(q) * z), dtype=float)
        a: Array = (h * w) @ phi
        total = float(w @ phi**2)
        missing = max(total - float(a @ a), 0.0)
        if not missing <= self.tolerance * total:
            raise AssumptionError(
                f"the Hermite series of {self.name} at second moment {q:.4g} leaves out {missing:.1e} of "
                f"{total:.1e} (a share of {self.tolerance:.0e} is allowed): the quadrature has not "
                "converged; give the activation a closed-form kernel"
            )
        return np.append(a, np.sqrt(missing))

    def coefficients(self, q: ArrayLike) -> Array:
        """a_k(q), shape (terms,) + shape of q."""
        q = np.asarray(q, dtype=float)
        unique, inverse = np.unique(q, return_inverse=True)
        table = np.stack([self._coefficients(float(value)) for value in unique], axis=1)
        return table[:, inverse].reshape((self.terms, *q.shape))

    def _series(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike, derivative: bool) -> Any:
        q1, q2, c = (np.asarray(x, dtype=float) for x in (q1, q2, c))
        scale = np.sqrt(q1 * q2)
        rho = np.clip(c / scale, -1, 1)
        a1, a2 = self.coefficients(q1), self.coefficients(q2)
        total = np.zeros(rho.shape)
        for k in range(self.terms - 1, int(derivative) - 1, -1):  # Horner
            total = total * rho + a1[k] * a2[k] * (k if derivative else 1)
        return total / scale if derivative else total

    def value(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """K(q1, q2, c)."""
        return self._series(q1, q2, c, derivative=False)

    def slope(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """dK/dc."""
        return self._series(q1, q2, c, derivative=True)

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q) and K(q) - K(q - delta), term by term: a_k^2 (1 - rho^k)."""
        a2 = self._coefficients(q) ** 2
        rho = 1 - delta / q
        k = np.arange(self.terms)
        gap = -np.expm1(k * np.log1p(-delta / q)) if rho > 0 else 1 - rho**k
        return float(a2.sum()), float(a2 @ gap)


def relu_kernel() -> ClosedForm:
    """phi(x) = max(x, 0): the arc-cosine kernel of degree one (Cho and Saul, 2009)."""
    rho = Max(-1, Min(1, C / sqrt(Q1 * Q2)))
    angle = acos(rho)
    value = sqrt(Q1 * Q2) * (sqrt(1 - rho**2) + (pi - angle) * rho) / (2 * pi)
    return ClosedForm(value, (pi - angle) / (2 * pi))


def gelu_kernel() -> ClosedForm:
    """phi(x) = x Phi(x), Phi the normal distribution function; theory of E phi(u) phi(v) for q1 != q2."""
    det = 1 + Q1 + Q2 + D
    value = (
        C / 4
        + C / (2 * pi) * atan(C / sqrt(det))
        + (D + C**2 / (1 + Q1) + C**2 / (1 + Q2)) / (2 * pi * sqrt(det))
    )
    return ClosedForm(value)


def erf_kernel() -> ClosedForm:
    """phi(x) = erf(x): the arc-sine kernel (Williams, 1997). 1 + s^2 of s = 2c/sqrt((1+2q1)(1+2q2)) is
    written with D, so that the angle is exact near one token."""
    det = 1 + 2 * Q1 + 2 * Q2 + 4 * D
    return ClosedForm(2 / pi * atan(2 * C / sqrt(det)), 4 / (pi * sqrt(det)))


def linear_kernel() -> ClosedForm:
    """phi(x) = x."""
    return ClosedForm(C, Rational(1))
