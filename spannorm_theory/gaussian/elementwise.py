r"""Second moments of an element-wise function of one token, at any size of its input (T5.7).

M(q) = E phi(u)^2 and S(q) = E phi'(u)^2 for u ~ N(0, q). With u = +-sqrt(q) e^s the trapezoidal rule in s
converges exponentially for analytic phi and covers all scales at once: those of a function that saturates at
u ~ 1 under a Gaussian of any width. Logarithms are kept as a cubic spline in ln q, to 1e-9, so that an
iteration of ten thousand blocks costs what its arithmetic costs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import exp, log
from typing import Any

import numpy as np

from ..base.errors import AssumptionError
from .activations import ACTIVATIONS
from .closed_forms import Array
from .spline import Spline1D

#: s = ln |u| / sqrt(q): a Gaussian has nothing beyond, and 1e-16 of its mass below; a step twice as long
#: costs 1e-9
POINTS = np.arange(-37.0, 2.5, 0.05)

#: ln q between which the spline is kept, and its spacing, whose fourth power its error follows; moments
#: beyond are refused
LOWEST, HIGHEST, SPACING = -120.0, 60.0, 0.05

#: step of the derivative, of fourth order, relative beyond u = 1: error and rounding stay below 1e-12
STEP = 1e-3


class OneToken:
    """M and S of a function, for numbers and arrays.

    :meth:`value` and :meth:`slope` raise AssumptionError for a second moment that is out of range.
    """

    def __init__(self, function: Callable[[Array], Array], name: str) -> None:
        self.name = name
        t = np.arange(LOWEST, HIGHEST + SPACING, SPACING)
        rows = np.array([_moments(function, exp(x)) for x in t])
        self._logs = Spline1D(t, np.log(np.maximum(rows, 1e-300)))

    def _at(self, which: int, q: Any) -> Any:
        if isinstance(q, np.ndarray):
            x = np.log(q)
            self._require(float(x.min()), float(x.max()))
            return np.exp(self._logs(x)[which])
        y = log(q)
        self._require(y, y)
        return exp(self._logs.at(y)[which])

    def _require(self, low: float, high: float) -> None:
        if not (low >= LOWEST and high <= HIGHEST):
            raise AssumptionError(
                f"the moments of {self.name} are known for second moments of {exp(LOWEST):.0e} to "
                f"{exp(HIGHEST):.0e}, got {exp(min(low, high)):.3g} to {exp(min(max(low, high), 700)):.3g}"
            )

    def value(self, q: Any) -> Any:
        """M(q)."""
        return self._at(0, q)

    def slope(self, q: Any) -> Any:
        """S(q)."""
        return self._at(1, q)


def _moments(function: Callable[[Array], Array], q: float) -> tuple[float, float]:
    size = np.exp(POINTS)
    weight = np.exp(-(size**2) / 2) * size * (POINTS[1] - POINTS[0]) / np.sqrt(2 * np.pi)
    u = np.concatenate([-size[::-1], size]) * np.sqrt(q)
    h = STEP * np.sqrt(1 + u**2)
    near, far = (np.asarray(function(u + k * h)) - np.asarray(function(u - k * h)) for k in (1, 2))
    slope = (8 * near - far) / (12 * h)
    both = np.concatenate([weight[::-1], weight])
    return float(both @ np.asarray(function(u)) ** 2), float(both @ slope**2)


def one_token(activation: str) -> OneToken:
    """The moments of a registered activation."""
    return _tabulated(ACTIVATIONS[activation].function, activation)


_tabulated = lru_cache(maxsize=64)(OneToken)
