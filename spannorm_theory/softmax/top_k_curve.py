"""Overlaps of routing along t = sqrt((1 - rho)/2), as cubic pieces.

Pieces are of h = (A - O)/t, R, C and U/t, which are smooth in t (:mod:`.top_k` has the letters).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from ..gaussian.closed_forms import Array

#: points on a circle of :class:`~.top_k.Routing`, which are knots here
POINTS = 64

#: knots in t
KNOTS = np.sin(np.pi * np.arange(POINTS // 2 + 1) / POINTS)

#: the largest t of two uncorrelated tokens, and its knot
UNCORRELATED = 0.5**0.5
MIDDLE = POINTS // 4


@dataclass(frozen=True)
class Overlaps:
    """Overlaps of pairs of tokens at points t.

    Attributes:
        own: A.
        alone: R of one token.
        t: the points.
        z: from the knot below.
        pieces: coefficients of the four functions there, powers 3 to 0; shape (4, 4, points).
    """

    own: Any
    alone: Any
    t: Array
    z: Array
    pieces: Array

    def fewer(self, factor: Any) -> Overlaps:
        """The same where R is less by a factor."""
        if np.all(factor == 1):
            return self
        pieces = self.pieces.copy()
        pieces[1] /= factor
        return replace(self, alone=self.alone / factor, pieces=pieces)

    @property
    def gap(self) -> Array:
        """A - O."""
        return self.t * self._value(0)

    @property
    def gap_slope(self) -> Array:
        """d gap / dt."""
        (a, b, c, _), z = self.pieces[0], self.z
        return np.asarray(self._value(0) + self.t * ((3 * a * z + 2 * b) * z + c))

    @property
    def router(self) -> Array:
        """R."""
        return self._value(1)

    @property
    def common(self) -> Array:
        """C."""
        return self._value(2)

    @property
    def scatter(self) -> Array:
        """U."""
        return self.t * self._value(3)

    def _value(self, function: int) -> Array:
        (a, b, c, d), z = self.pieces[function], self.z
        return np.asarray(((a * z + b) * z + c) * z + d)


@dataclass(frozen=True)
class Curve:
    """Overlaps at one logit variance.

    Attributes:
        own, alone: as in :class:`Overlaps`.
        pieces: (functions, powers, knots - 1).
    """

    own: float
    alone: float
    pieces: Array

    @classmethod
    def through(cls, own: float, alone: float, values: Array) -> Curve:
        """From the four functions at ``KNOTS``, shape (knots, 4)."""
        return cls(own, alone, np.ascontiguousarray(CubicSpline(KNOTS, values).c.transpose(2, 0, 1)))

    def at(self, t: Any) -> Overlaps:
        """Overlaps at points t."""
        t = np.asarray(t, dtype=float)
        knot = knot_below(t)
        return Overlaps(self.own, self.alone, t, t - KNOTS[knot], self.pieces[:, :, knot])


def knot_below(t: Array) -> Any:
    """Number of the piece that holds each t."""
    return np.clip(np.searchsorted(KNOTS, t, side="right") - 1, 0, len(KNOTS) - 2)
