r"""Spectrum of token differences that are unlike from pair to pair: two Marchenko-Pastur laws in one (T9.7).

The free multiplicative convolution of Marchenko-Pastur laws of aspects y1 = (n-1)/d, of the sample of d
coordinates, and y2 = (n-1)(V - 1/d), of what covariances vary by beyond it: the law of a product of two
Gaussian matrices, of mean 1 and second moment 1 + y1 + y2. In psi(1/lambda) = sum_k m_k lambda^-k, with
a = y1 + y2 + y1 y2 and b = y1 y2 (Mueller, 2002, IEEE Trans. Inf. Theory 48),

    lambda = (1 + psi)(1 + y1 psi)(1 + y2 psi) / psi = 1/psi + 1 + y1 + y2 + a psi + b psi^2,

and the density is |Im psi| / (pi lambda). At psi = r e^{-i phi}, phi in (0, pi), lambda is real where
2 b cos(phi) r^3 + a r^2 = 1; it falls from the largest eigenvalue to the smallest.
"""

from __future__ import annotations

import numpy as np

from .closed_forms import Array

#: steps of Newton's method, which meets r from one side (27 b^2 <= a^3 keeps it from the other root): one
#: less leaves errors of 1e-6 at aspects of one
STEPS = 5


def difference_law(first: Array, second: Array, nodes: int) -> tuple[Array, Array]:
    """Eigenvalues in falling order and their share of the law, at the nodes of a midpoint rule in phi.

    Args:
        first, second: y1 > 0 and y2 >= 0, of one shape.
    Returns:
        arrays of shape (nodes, ...); mass at zero, where y1 > 1 or y2 > 1, is left out.
    """
    phi = ((np.arange(nodes) + 0.5) * np.pi / nodes).reshape(-1, *[1] * np.ndim(first))
    cosine, sine = np.cos(phi), np.sin(phi)
    a, b = first + second + first * second, first * second
    r = 1 / np.sqrt(a) + 0 * phi
    for _ in range(STEPS):
        r -= ((2 * b * cosine * r + a) * r**2 - 1) / ((6 * b * cosine * r + 2 * a) * r)
    around = b * sine * r**2 / (3 * b * cosine * r + a)  # dr/dphi
    real = 2 * cosine**2 - 1
    eigenvalues = cosine / r + 1 + first + second + a * r * cosine + b * r**2 * real
    outward = a * cosine - cosine / r**2 + 2 * b * r * real
    fall = sine / r + a * r * sine + 4 * b * r**2 * sine * cosine - outward * around
    return eigenvalues, r * sine * fall / (eigenvalues * nodes)
