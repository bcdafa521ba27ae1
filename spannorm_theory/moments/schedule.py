"""Layer-dependent multipliers and gains of an architecture, evaluated once for all layers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from sympy import Expr, lambdify

from ..base import symbols
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from ..spec.graph import SUBLAYERS, Branch


@lru_cache(maxsize=1024)
def _compiled(expression: Expr) -> Any:
    return lambdify((symbols.layer, symbols.depth, symbols.width), expression, modules="numpy")


def over_layers(expression: Expr, arch: Architecture, layers: Array) -> Array:
    """An expression in (l, L, d) at each layer; shape (layers,), float64."""
    value = _compiled(expression)(layers, float(arch.depth), float(arch.width))
    return np.broadcast_to(np.asarray(value, dtype=float), layers.shape)


def branch_gains(branch: Branch, arch: Architecture, layers: Array) -> dict[str, Array]:
    """sigma_W^2 of each matrix of a branch at each layer, the scaling rule included."""
    if branch.elementwise:
        return {}
    prefix = SUBLAYERS[branch.kind]
    gains = {}
    for name, base in arch.base_gains.items():
        if name.startswith(prefix):
            rule = branch.gains.get(name)
            factor = np.ones_like(layers) if rule is None else over_layers(rule, arch, layers)
            gains[name] = base * factor**2
    return gains
