"""Gaussian kernels of any smooth nonlinearity: Hermite series, by Gauss-Hermite quadrature (T5.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import exp, floor, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..base.errors import AssumptionError
from .closed_forms import Array
from .spline import through_nodes

#: knots of ln q that a polynomial goes through: its error between the middle ones is below 1e-12
KNOTS = np.arange(8)

#: shares of a second moment: that which its Hermite terms leave out by rounding alone, and that of a term
#: which is dropped; larger ones cost digits near one token
ROUNDING, NEGLIGIBLE = 1e-14, 1e-20


@lru_cache(maxsize=1)
def _hermite_rule(nodes: int, terms: int) -> tuple[Array, Array, Array]:
    """Nodes z, probability weights w and orthonormal Hermite polynomials h_k(z), k < terms, times w."""
    from scipy.special import roots_hermitenorm

    z, w = roots_hermitenorm(nodes)
    w = w / w.sum()
    h = np.ones((terms, nodes))
    h[1] = z
    for k in range(1, terms - 1):
        h[k + 1] = (z * h[k] - np.sqrt(k) * h[k - 1]) / np.sqrt(k + 1)
    return z, w, h * w


class HermiteSeries:
    """Kernel K = sum_k a_k(q1) a_k(q2) rho^k (Mehler), with a_k(q) = E phi(sqrt(q) z) h_k(z).

    The rest that the first terms leave of E phi^2 is put into one last term, so that K is right at rho = 1;
    it also bounds the error elsewhere and is checked against ``tolerance``.

    Attributes:
        nodes, terms: of the quadrature and of the series; more reach functions of larger slope and cost time.
        tolerance: share of E phi^2 that the series may leave out.
        knots: of coefficients for each unit of ln q; their polynomials' error grows as the eighth power
            of the distance.

    Raises:
        AssumptionError: the series has not converged (phi jumps or grows too fast).
    """

    method = "quadrature"
    nodes, terms, tolerance, knots = 300, 96, 1e-4, 32

    def __init__(self, function: Callable[[Array], Array], name: str) -> None:
        self.function = function
        self.name = name
        self._coefficients = lru_cache(maxsize=8192)(self._interpolate)
        self._tails = lru_cache(maxsize=8192)(self._sums)
        self._table = lru_cache(maxsize=4096)(self._knots)
        self._node = lru_cache(maxsize=4096)(self._compute)
        self._orders = np.arange(self.terms, dtype=float)

    def _interpolate(self, q: float) -> Array:
        """a_k, between knots of ln q."""
        at = self.knots * log(q)
        first = floor(at) - 3
        try:
            table = self._table(first)
        except AssumptionError:  # the series ends between the knots
            return self._compute(q)
        return np.asarray(through_nodes(KNOTS / 3.5 - 1, np.array([(at - first) / 3.5 - 1]))[0] @ table)

    def _knots(self, first: int) -> Array:
        """a_k at eight knots."""
        return np.stack([self._node(exp(knot / self.knots)) for knot in first + KNOTS])

    def _compute(self, q: float) -> Array:
        """a_k by quadrature."""
        z, w, h = _hermite_rule(self.nodes, self.terms - 1)
        phi = np.asarray(self.function(sqrt(q) * z), dtype=float)
        a: Array = h @ phi
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused
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
        """K(q, q, q) and K(q, q, q) - K(q, q, q - delta) = delta/q sum_j S_j rho^j, S_j the sum of a_k^2 over
        k > j."""
        total, tails = self._tails(q)
        rest, rho = 0.0, max(1 - delta / q, -1.0)
        for tail in tails:  # Horner
            rest = rest * rho + tail
        return total, delta / q * rest

    def _sums(self, q: float) -> tuple[float, list[float]]:
        """K(q, q, q), and the S_j of :meth:`drop` from the last to the first."""
        sums = np.square(np.trim_zeros(self._coefficients(q), "b"))[::-1].cumsum()
        return float(sums[-1]), sums[:-1].tolist()
