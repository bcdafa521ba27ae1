"""Linear recursions over layers, in the time of a few vectorised operations."""

from __future__ import annotations

import numpy as np
from scipy.linalg.blas import dtbsv

from ..gaussian.closed_forms import Array


def iterated(maps: Array, start: Array, added: Array | None = None) -> Array:
    """x_0 to x_L, (L + 1, numbers), of x_{l+1} = A_l x_l + b_l.

    All of it is one triangular system whose band BLAS solves by substitution, which is this recursion.

    Args:
        maps: A_l, (L, numbers, numbers).
        start: x_0.
        added: b_l, (L, numbers); zero by default.
    """
    layers, size = len(maps), len(start)
    # each column of the system is kept from its diagonal downwards: A_l below the unit matrix of layer l
    band = np.zeros((layers + 1, size, 2 * size))
    for column in range(size):
        band[:-1, column, size - column : 2 * size - column] = -maps[:, :, column]
    right = np.zeros((layers + 1, size))
    right[0] = start
    if added is not None:
        right[1:] = added
    columns = band.reshape(-1, 2 * size).T
    return np.asarray(dtbsv(2 * size - 1, columns, right.ravel(), lower=1, diag=1)).reshape(right.shape)
