"""A kernel of phi whose input may be zero, behind a gain or a multiplier that is zero."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .closed_forms import Array, Kernel

#: step of the difference that stands for phi'(0); its error is about 1e-10
STEP = 1e-5

#: slopes below this are that error
SMALLEST = 1e-8


class AtZero:
    """K as it is where second moments are positive, and where one is zero K = phi(0)^2, dK/dc = phi'(0)^2.

    phi'(0) is taken from the left, which is what torch's relu, leaky_relu and their kin have at a kink (not
    clamp, maximum and abs). Tokens are zero together: the two second moments vanish both or not at all.
    """

    def __init__(self, kernel: Kernel, function: Callable[[Array], Array]) -> None:
        self.kernel, self.method, self._function = kernel, kernel.method, function

    @cached_property
    def _constants(self) -> tuple[float, float]:
        """phi(0)^2 and phi'(0)^2."""
        at, once, twice = np.asarray(self._function(-STEP * np.arange(3.0)), dtype=float).tolist()
        slope = (3 * at - 4 * once + twice) / (2 * STEP)
        return at**2, slope**2 if abs(slope) > SMALLEST else 0.0

    def value(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """K(q1, q2, c)."""
        return self._where_positive(0, self.kernel.value, q1, q2, c)

    def slope(self, q1: ArrayLike, q2: ArrayLike, c: ArrayLike) -> Any:
        """dK/dc."""
        return self._where_positive(1, self.kernel.slope, q1, q2, c)

    def _where_positive(self, which: int, function: Callable[..., Any], *moments: ArrayLike) -> Any:
        zero = np.equal(moments[0], 0) | np.equal(moments[1], 0)
        if not zero.any():
            return function(*moments)
        found = function(*(np.where(zero, 1.0, x) for x in moments))
        return np.where(zero, self._constants[which], found)

    def drop(self, q: float, delta: float) -> tuple[float, float]:
        """K(q, q, q) and K(q, q, q) - K(q, q, q - delta)."""
        return self.kernel.drop(q, delta) if q else (self._constants[0], 0.0)

    def pair(self, q: Array, delta: Array) -> tuple[Any, Any, Any, Any]:
        """K and K' of one token, then between two."""
        zero = q == 0
        if not zero.any():
            return self.kernel.pair(q, delta)
        found = self.kernel.pair(np.where(zero, 1.0, q), np.where(zero, 0.0, delta))
        one, slope, two, slope_two = (
            np.where(zero, constant, x) for constant, x in zip(2 * self._constants, found, strict=True)
        )
        return one, slope, two, slope_two
