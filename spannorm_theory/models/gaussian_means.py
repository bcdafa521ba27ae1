"""Means of gates under a Gaussian, for the sizes of what is not modelled."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
from scipy.special import expit

from ..gaussian.closed_forms import Array


def _mean(function: Callable[[Array], Array], variance: float) -> float:
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    return float(weights @ function(sqrt(variance) * nodes) / weights.sum())


def sigmoid_square(variance: float) -> float:
    """E sigmoid(z)^2 for z ~ N(0, variance)."""
    return _mean(lambda z: np.asarray(expit(z) ** 2), variance)


def clamped_gate(variance: float, alpha: float, limit: float) -> float:
    """The second moment of SwiGLU's hidden layer over that of (up + 1) g sigmoid(alpha g), for independent up
    and g ~ N(0, variance), clamped at ``limit`` (g from above)."""
    swiglu = variance * _mean(lambda g: np.asarray((g * expit(g)) ** 2), variance)

    def gate(g: Array) -> Array:
        clamped = np.minimum(g, limit)
        return np.asarray((clamped * expit(alpha * clamped)) ** 2)

    up = _mean(lambda u: np.asarray((np.clip(u, -limit, limit) + 1) ** 2), variance)
    return swiglu / (up * _mean(gate, variance))
