"""Products of matrices applied to a vector, exponents apart, so that none under- or overflows (T8.2)."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, log

import numpy as np

from ..gaussian.closed_forms import Array


def scaled_product(matrices: Iterable[Array], vector: Array, exponent: float = 0.0) -> tuple[Array, Array]:
    """x_0 = vector e^exponent and x_{k+1} = M_k x_k of each matrix, as mantissas and natural exponents.

    A vector whose largest entry is not a positive number is kept as it is, and so is what follows from it.

    Args:
        matrices: M_0, M_1, ... of shape (numbers, numbers).
    Returns:
        mantissas of shape (matrices + 1, numbers), of which all but the first have the largest entry 1, and
        exponents of shape (matrices + 1,).
    """
    mantissas, exponents = [np.asarray(vector, dtype=float)], [exponent]
    for matrix in matrices:
        vector = matrix @ mantissas[-1]
        size = float(vector.max())
        if 0 < size < inf:
            vector = vector / size
            exponent += log(size)
        mantissas.append(vector)
        exponents.append(exponent)
    return np.array(mantissas), np.array(exponents)
