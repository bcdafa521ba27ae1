"""Bicubic splines on a rectangle, in pieces that numbers and arrays evaluate alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from .closed_forms import Array


def pieces(x: Array, y: Array, values: Array, ends: Any = "not-a-knot") -> Array:
    """Coefficients of the spline through ``values`` (len(x), len(y), functions), of shape (cells of x, cells
    of y, functions, 16), for :func:`bicubic`; ``ends`` is ``CubicSpline``'s boundary condition."""
    along = CubicSpline(x, values, axis=0, bc_type=ends).c
    # (power of y, cell of y, power of x, cell of x, function)
    both = CubicSpline(y, along, axis=2, bc_type=ends).c
    return np.ascontiguousarray(both.transpose(3, 1, 4, 0, 2).reshape(len(x) - 1, len(y) - 1, -1, 16))


def bicubic(c: Any, u: Any, v: Any) -> Any:
    """A piece's value at u, v from its corner in x and y: coefficients of v^3 u^3, v^3 u^2, ... to 1."""
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13, c14, c15 = c
    cubed, squared = ((c0 * u + c1) * u + c2) * u + c3, ((c4 * u + c5) * u + c6) * u + c7
    linear, constant = ((c8 * u + c9) * u + c10) * u + c11, ((c12 * u + c13) * u + c14) * u + c15
    return ((cubed * v + squared) * v + linear) * v + constant
