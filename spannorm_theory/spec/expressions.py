"""Expressions in (l, L, d), by which rules and placements multiply, as numbers at every layer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from sympy import Expr, lambdify

from ..base import symbols
from ..base.errors import InputError
from ..gaussian.closed_forms import Array
from .architecture import Architecture


@lru_cache(maxsize=1024)
def _compiled(expression: Expr) -> Any:
    return lambdify((symbols.layer, symbols.depth, symbols.width), expression, modules="numpy")


def over_layers(expression: Expr, arch: Architecture, layers: Array) -> Array:
    """An expression in (l, L, d) at each layer; shape (layers,), float64.

    Raises:
        InputError: it is no finite real number at some layer, or cannot be evaluated.
    """
    try:
        with np.errstate(all="ignore"):
            value = _compiled(expression)(layers, float(arch.depth), float(arch.width))
        found = np.broadcast_to(np.asarray(value, dtype=float), layers.shape)
    except (TypeError, ValueError, NameError) as error:
        raise InputError(
            f"the factor {expression} cannot be evaluated ({str(error).splitlines()[0]}); write it with "
            "powers, roots, exp and log of l, L and d, or Piecewise"
        ) from None
    if not np.isfinite(found).all():
        layer = int(layers[np.argmax(~np.isfinite(found))])
        raise InputError(f"the factor {expression} is no finite real number at layer {layer} of {arch.depth}")
    return found
