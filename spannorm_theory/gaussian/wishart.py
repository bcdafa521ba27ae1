"""Wishart matrices: Grams of Gaussian samples, drawn by Bartlett's decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaincinv

from .closed_forms import Array


def bartlett(normal: Array, uniform: Array, degrees: Any) -> Array:
    """T, lower triangular, with T T^T distributed as Z Z^T / m for Z standard normal of shape (n, m).

    Args:
        normal: standard normal numbers, (..., n, n), of which those below the diagonal are used.
        uniform: numbers between 0 and 1, (..., n).
        degrees: m, which need not be whole; a number or an array that goes with (...).
    """
    n = normal.shape[-1]
    k, m = np.arange(n), np.asarray(degrees, dtype=float)[..., None]
    squares = 2 * gammaincinv(np.maximum(m - k, 0) / 2, uniform)
    found = np.where(m[..., None] > k, np.tril(normal, -1), 0.0)
    found[..., k, k] = np.sqrt(np.where(m > k, squares, 0.0))
    return np.asarray(found / np.sqrt(m[..., None]))
