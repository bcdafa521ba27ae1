r"""Gaussian kernels of a pointwise nonlinearity phi.

For (u, v) jointly Gaussian with zero mean, second moments q1, q2 and covariance c,

    K(q1, q2, c) = E phi(u) phi(v),      K'(q1, q2, c) = E phi'(u) phi'(v) = dK/dc  (Price's theorem).

A kernel is either a closed form (sympy, compiled for floats and for arrays) or a Hermite series
computed by Gauss-Hermite quadrature, for any phi that is smooth enough for the series to converge.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from math import acos, exp, factorial, floor, log, prod, sqrt
from typing import Any, Protocol

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.special import roots_hermitenorm
from sympy import Expr, Rational, atan, atan2, lambdify, pi
from sympy import sqrt as root

from .. import symbols
from ..errors import AssumptionError

Array = NDArray[np.float64]

Q1, Q2, C, D = symbols.kernel_arguments

#: Gauss-Legendre rules on (0, 1) for the integral in t below, by the largest delta / min(q, unit^2) at which
#: their error is below rounding
_LEGENDRE = [
    (largest, [(float(x + 1) / 2, float(w) / 2) for x, w in zip(*leggauss(nodes), strict=True)])
    for largest, nodes in ((1e-8, 2), (1e-2, 4), (1e-1, 6), (np.inf, 12))
]


#: from (q, delta) at a branch's input to (q, delta) of its output
Transfer = Callable[[float, float], tuple[float, float]]


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

    def pair(self, q: Array, delta: Array) -> tuple[Any, Any, Any, Any]:
        """K and K' of one token, at c = q, then K and K' between two, at c = q - delta."""


def _drop_by_integration(slope: Callable[..., float], q: float, delta: float, reach: float) -> float:
    # K(q) - K(q - delta) is the integral of the slope; with c = q - delta t^2 the square-root
    # singularity that a kinked phi has at c = q becomes smooth
    total = 0.0
    for t, w in next(rule for largest, rule in _LEGENDRE if reach <= largest):
        below = delta * t * t
        total += w * t * slope(q, q, q - below, max((2 * q - below) * below, 0.0))
    return 2 * delta * total


class ClosedForm:
    """A kernel given by a formula in (q1, q2, c) and D = q1 q2 - c^2, which is exactly zero for one
    token, however large q is; the slope is derived unless it is given."""

    method = "closed form"

    def __init__(self, value: Expr, slope: Expr | None = None, unit: float = 0.01) -> None:
        """``unit``: the least change of its argument phi varies over, infinite if phi(s x) = s phi(x)."""
        self._value, self._unit = value, unit
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

    @cached_property
    def _apart(self) -> Callable[..., tuple[float, float]]:
        """K of one token and between two, of (q, c, D)."""
        two = self._value.subs(Q2, Q1)
        return lambdify((Q1, C, D), (two.subs({C: Q1, D: 0}), two), modules="math", cse=True)  # type: ignore[no-any-return]

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
        if delta > 1e-5 * q:  # at most five digits of sixteen are lost
            one, two = self._apart(q, q - delta, (2 * q - delta) * delta)
            return one, one - two
        value, slope = self._scalar
        reach = delta / min(q, self._unit**2)
        return value(q, q, q, 0.0), _drop_by_integration(slope, q, delta, reach)

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


@lru_cache(maxsize=1)
def _hermite_rule(nodes: int, terms: int) -> tuple[Array, Array, Array]:
    """Nodes z, probability weights w and orthonormal Hermite polynomials h_k(z), k < terms, times w."""
    z, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    h = np.ones((terms, nodes))
    h[1] = z
    for k in range(1, terms - 1):
        h[k + 1] = (z * h[k] - np.sqrt(k) * h[k - 1]) / np.sqrt(k + 1)
    return z, w, h * w


#: denominators of Lagrange's polynomials through eight knots at distance one
_LAGRANGE = [(-1) ** (7 - k) * factorial(k) * factorial(7 - k) for k in range(8)]


#: of a second moment, what its Hermite terms leave out by rounding, and terms that do not count
ROUNDING, NEGLIGIBLE = 1e-14, 1e-20


class HermiteSeries:
    """K = sum_k a_k(q1) a_k(q2) rho^k (Mehler), with a_k(q) = E phi(sqrt(q) z) h_k(z).

    What the first terms leave of E phi^2 is put into one last term, so that K is right at rho = 1;
    it also bounds the error elsewhere and is checked against ``tolerance``.

    Raises:
        AssumptionError: the series has not converged (phi jumps or grows too fast).
    """

    method = "quadrature"
    nodes, terms, tolerance, knots, pieces = 300, 96, 1e-4, 32, 1024

    def __init__(self, function: Callable[[Array], Array], name: str) -> None:
        self.function = function
        self.name = name
        self._coefficients = lru_cache(maxsize=8192)(self._interpolate)
        self._piece = lru_cache(maxsize=1 << 15)(self._between)
        self._table = lru_cache(maxsize=4096)(self._knots)
        self._node = lru_cache(maxsize=4096)(self._compute)
        self._orders = np.arange(self.terms, dtype=float)
        self._per_angle = self.pieces / np.pi

    def _interpolate(self, q: float) -> Array:
        """a_k."""
        at = self.knots * log(q)
        first = floor(at) - 3
        try:
            table = self._table(first)
        except AssumptionError:  # the series ends between the knots
            return self._compute(q)
        if at == first + 3:
            return np.asarray(table[3])
        # Lagrange through eight knots in ln q, whose error is below 1e-12
        apart = [at - knot for knot in range(first, first + 8)]
        whole = prod(apart)
        return np.array([whole / (x * w) for x, w in zip(apart, _LAGRANGE, strict=True)]) @ table

    def _knots(self, first: int) -> Array:
        """a_k at eight knots."""
        return np.stack([self._node(exp(knot / self.knots)) for knot in range(first, first + 8)])

    def _compute(self, q: float) -> Array:
        """a_k by quadrature."""
        z, w, h = _hermite_rule(self.nodes, self.terms - 1)
        phi = np.asarray(self.function(sqrt(q) * z), dtype=float)
        a: Array = h @ phi
        total = float(w @ phi**2)
        missing = max(total - float(a @ a), 0.0)
        if not missing <= self.tolerance * total:
            raise AssumptionError(
                f"the Hermite series of {self.name} at second moment {q:.4g} leaves out {missing:.1e} of "
                f"{total:.1e} (a share of {self.tolerance:.0e} is allowed): the quadrature has not "
                "converged; give the activation a closed-form kernel"
            )
        if missing < ROUNDING * total:
            missing = 0.0
        a[a**2 < NEGLIGIBLE * total] = 0.0
        return np.append(a, sqrt(missing))

    def coefficients(self, q: ArrayLike) -> Array:
        """a_k(q) up to the last that is not zero for all q, shape (terms,) + shape of q, or (terms,) + ones
        where all q are one number."""
        q = np.asarray(q, dtype=float)
        if q.size and (q == q.flat[0]).all():
            found = np.trim_zeros(self._coefficients(float(q.flat[0])), "b")
            return found.reshape(-1, *[1] * q.ndim)
        unique, inverse = np.unique(q, return_inverse=True)
        rows = np.array([self._coefficients(value) for value in unique.tolist()])
        used = len(np.trim_zeros(rows[-1], "b"))  # of the largest q; the others have fewer, but for rounding
        used = self.terms if rows[:, used:].any() else used
        return rows[:, :used].T[:, inverse].reshape((used, *q.shape))

    def _series(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike, derivative: bool) -> Any:
        q1, q2, c = (np.asarray(x, dtype=float) for x in (q1, q2, c))
        axes = max(q1.ndim, q2.ndim)
        a1, a2 = (self.coefficients(q.reshape((1,) * (axes - q.ndim) + q.shape)) for q in (q1, q2))
        both, scale = min(len(a1), len(a2)), np.sqrt(q1 * q2)
        return self._sum(a1[:both] * a2[:both], np.clip(c / scale, -1, 1), scale, derivative)

    def _sum(self, products: Array, rho: Array, scale: Array, derivative: bool) -> Any:
        if derivative:
            products = products * self._orders[: len(products)].reshape(-1, *[1] * (products.ndim - 1))
        total = np.zeros(np.broadcast_shapes(rho.shape, products.shape[1:]))
        for term in products[: 0 if derivative else None : -1]:  # Horner
            total *= rho
            total += term
        return total / scale if derivative else total[()]

    def value(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """K(q1, q2, c)."""
        return self._series(q1, q2, c, derivative=False)

    def slope(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """dK/dc."""
        return self._series(q1, q2, c, derivative=True)

    def pair(self, q: Array, delta: Array) -> tuple[Any, Any, Any, Any]:
        """K and K' of one token, then between two."""
        products = np.square(self.coefficients(q))
        rho = np.clip(1 - delta / q, -1, 1)
        one = products.sum(axis=0), np.tensordot(self._orders[: len(products)], products, 1) / q
        return (
            one[0] + np.zeros_like(q),
            one[1],
            self._sum(products, rho, q, False),
            self._sum(products, rho, q, True),
        )

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q) and K(q) - K(q - delta), the latter over delta as a cubic between knots of 1 - rho."""
        x = delta / q
        at = int(self._per_angle * acos(1 - x)) if 0 < x < 2 else 0 if x < 2 else self.pieces - 1
        a, b, c, d, knot, total = self._piece(q, at)
        z = x - knot
        return total, x * (((a * z + b) * z + c) * z + d)

    def _between(self, q: float, at: int) -> tuple[float, ...]:
        """The cubic of [K(q) - K(q - x q)] / x in x = 1 - rho that has its values and slopes at both ends of
        interval ``at``, its first knot and K(q).

        With a sum S_j of a_k^2 over k > j it is sum_j S_j rho^j."""
        squares = np.square(self._coefficients(q))
        tails = squares[::-1].cumsum()[-2::-1]
        knots = 1 - np.cos(np.array([at, at + 1]) * (np.pi / self.pieces))
        powers = (1 - knots)[:, None] ** self._orders[:-1]
        values, slopes = powers @ tails, -(powers[:, :-1] @ (self._orders[1:-1] * tails[1:]))
        cubic = CubicHermiteSpline(knots, values, slopes).c[:, 0]
        return *cubic.tolist(), float(knots[0]), float(squares.sum())


def relu_kernel() -> ClosedForm:
    """phi(x) = max(x, 0): the arc-cosine kernel of degree one (Cho and Saul, 2009), its angle written with D,
    so that it is exact near one token."""
    angle = atan2(root(D), C)
    return ClosedForm((root(D) + (pi - angle) * C) / (2 * pi), (pi - angle) / (2 * pi), unit=np.inf)


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
