r"""The kernel of tanh at any size of its input, as a mean of error functions' kernels.

The slope of tanh, sech^2, is twice the density of a logistic variable of scale 1/2, which is a Gaussian of
random standard deviation S, Kolmogorov's statistic (Andrews and Mallows, J. R. Statist. Soc. B 36, 1974):

    tanh(x) = E erf(x / (sqrt(2) S)),     P(S < s) = sqrt(2 pi)/s sum_k exp(-(2k - 1)^2 pi^2 / (8 s^2)).

Each error function has the arc-sine kernel (T5.2), so that with S and S' independent

    K(q1, q2, c)  = (2/pi) E atan(c / root),     dK/dc = (2/pi) E 1 / root,
    root^2        = q1 q2 - c^2 + q1 S'^2 + q2 S^2 + (S S')^2,

at every q and c. Gauss quadrature in ln S makes both right to 5e-10 of themselves with eight nodes, from
q = 1e-8 to 1e12: 36 different pairs of S and S'.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .closed_forms import Array

#: nodes in S; one less is ten times less accurate
NODES = 8

#: points of two tokens evaluated at a time; more take memory, fewer take time
BLOCK = 1 << 11


class SigmoidKernel:
    """The kernel of E erf(x / (sqrt(2) S)) for positive ``scales`` S of probability ``weights``."""

    method = "quadrature"

    def __init__(self, scales: Array, weights: Array) -> None:
        self._squares, self._weights = scales**2, weights
        first, second = np.triu_indices(len(scales))
        x, y = self._squares[first], self._squares[second]
        self._sums, self._products = x + y, x * y
        self._pairs = 2 / np.pi * weights[first] * weights[second] * np.where(first == second, 1.0, 2.0)

    def _mean(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike, derivative: bool) -> Any:
        arrays = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (q1, q2, c)))
        flat = [x.ravel() for x in arrays]
        found = np.empty(flat[0].shape)
        for start in range(0, len(found), BLOCK):
            x, y, z = (part[start : start + BLOCK, None, None] for part in flat)
            det = np.maximum(x * y - z * z, 0.0)
            root = np.sqrt(det + x * self._squares + y * self._squares[:, None] + self._both)
            terms = 1 / root if derivative else np.arctan2(z, root)
            found[start : start + BLOCK] = 2 / np.pi * (terms @ self._weights @ self._weights)
        return found.reshape(arrays[0].shape)[()]

    @cached_property
    def _both(self) -> Array:
        return np.multiply.outer(self._squares, self._squares)

    def value(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """K(q1, q2, c)."""
        return self._mean(q1, q2, c, derivative=False)

    def slope(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """dK/dc."""
        return self._mean(q1, q2, c, derivative=True)

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q, q, q) and K(q, q, q) - K(q, q, q - delta), the latter without cancellation."""
        near = min(delta, 2 * q - delta)  # K is odd in c
        c, g = q - near, q * self._sums + self._products
        least, root = np.sqrt(g), np.sqrt((q + c) * near + g)
        # the tangent of a difference of two angles, whose own difference is taken by hand
        apart = near * (1 + c / q) * (q * q + g) / (root + c / q * least)
        top = float(self._pairs @ np.arctan2(q, least))
        fall = float(self._pairs @ np.arctan2(apart, least * root + q * c))
        return top, fall if delta <= q else 2 * top - fall

    def pair(self, q: Array, delta: Array) -> tuple[Any, Any, Any, Any]:
        """K and K' of one token, then between two."""
        c, g = q - delta, np.multiply.outer(self._sums, q) + self._products[:, None]
        least, root = np.sqrt(g), np.sqrt((q + c) * delta + g)
        angles = np.arctan2(q, least), 1 / least, np.arctan2(c, root), 1 / root
        one, steepest, two, slope = (self._pairs @ angle for angle in angles)
        return one, steepest, two, slope


class LogisticKernel:
    """The kernel of 1 / (1 + e^-x) = (1 + tanh(x / 2)) / 2."""

    method = "quadrature"

    def __init__(self, tanh: SigmoidKernel) -> None:
        self._tanh = tanh

    def value(self, q1: Any, q2: Any, c: Any) -> Any:
        """K(q1, q2, c)."""
        return (1 + self._tanh.value(q1 / 4, q2 / 4, c / 4)) / 4

    def slope(self, q1: Any, q2: Any, c: Any) -> Any:
        """dK/dc."""
        return self._tanh.slope(q1 / 4, q2 / 4, c / 4) / 16

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q, q, q) and K(q, q, q) - K(q, q, q - delta), the latter without cancellation."""
        if not q:
            return 0.25, 0.0
        one, apart = self._tanh.drop(q / 4, delta / 4)
        return (1 + one) / 4, apart / 4

    def pair(self, q: Array, delta: Array) -> tuple[Any, Any, Any, Any]:
        """K and K' of one token, then between two."""
        one, steepest, two, slope = self._tanh.pair(q / 4, delta / 4)
        return (1 + one) / 4, steepest / 16, (1 + two) / 4, slope / 16


@lru_cache(maxsize=1)
def tanh_kernel() -> SigmoidKernel:
    """phi(x) = tanh(x)."""
    z = np.arange(-2.2, 1.6, 0.02)
    s = np.exp(z)
    return SigmoidKernel(*_gauss(z, _kolmogorov_density(s) * s * 0.02))


def _kolmogorov_density(s: Array) -> Array:
    """Density of S, by each of its two series where it converges fast."""
    k = np.arange(1, 12)[:, None]
    high = 8 * s * ((-1.0) ** (k - 1) * k**2 * np.exp(-2 * (k * s) ** 2)).sum(axis=0)
    a = (2 * k - 1) ** 2 * np.pi**2 / 8
    low = np.sqrt(2 * np.pi) * (np.exp(-a / s**2) * (2 * a / s**4 - s**-2)).sum(axis=0)
    return np.asarray(np.where(s < 1, low, high))


def _gauss(z: Array, mass: Array) -> tuple[Array, Array]:
    """Scales and weights of the Gauss rule in z = ln S of the masses at ``z`` (Lanczos and Golub-Welsch)."""
    basis, alpha, beta = [np.sqrt(mass / mass.sum())], [], []
    for _ in range(NODES):
        alpha.append(float(basis[-1] @ (z * basis[-1])))
        rest = z * basis[-1]
        for _ in range(2):  # orthogonal to all digits
            rest = rest - np.array(basis).T @ (np.array(basis) @ rest)
        beta.append(float(np.linalg.norm(rest)))
        basis.append(rest / beta[-1])
    nodes, vectors = np.linalg.eigh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))
    return np.exp(nodes), vectors[0] ** 2


#: the kernel of gates
LOGISTIC = LogisticKernel(tanh_kernel())
