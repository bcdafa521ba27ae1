"""Layer-dependent multipliers and gains of an architecture, evaluated once for all layers."""

from __future__ import annotations

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from ..spec.expressions import over_layers
from ..spec.graph import VALUE_PATH, Branch
from .one_token import scale_free


def branch_gains(branch: Branch, arch: Architecture, layers: Array) -> dict[str, Array]:
    """sigma_W^2 of each matrix of a branch at each layer, (layers,), the scaling rule included, with its
    factors on what matrices put out."""
    if branch.elementwise:
        return {}
    gains = {}
    for name, base in arch.base_gains.items():
        if branch.owns(name):
            gains[name] = np.full_like(layers, base)
            if name in branch.std:
                gains[name] = arch.weights[name][0] * over_layers(branch.std[name], arch, layers) ** 2
            if name in branch.gains:
                gains[name] = gains[name] * over_layers(branch.gains[name], arch, layers) ** 2
    for name, factor in output_factors(branch, arch, layers).items():
        gains[name] = gains[name] * factor
    return gains


def output_factors(branch: Branch, arch: Architecture, layers: Array) -> dict[str, Array]:
    """Square of the scaling rule's factor on what each matrix puts out, (layers,), where there is one: the
    matrix' squared gradient has it beside the gain."""
    own = {} if branch.elementwise else branch.outputs
    return {
        name: over_layers(factor, arch, layers) ** 2
        for name, factor in own.items()
        if name in arch.weights and branch.owns(name)
    }


def relative_gain(branch: Branch, arch: Architecture, layers: Array) -> Array:
    """The scaling rule's factor on a branch's second moment at each layer, (layers,), beside the
    architecture's own initialisation; factors on matrices in front of a norm drop out.

    Raises:
        AssumptionError: a gate, which has no size that a factor multiplies.
    """
    if branch.gates:
        raise AssumptionError("bounds of gains are not derived for gates")
    gains, total = branch_gains(branch, arch, layers), np.ones_like(layers)
    for name in VALUE_PATH[branch.kind][scale_free(branch) :]:
        total = total * gains[name] / arch.base_gains[name]
    return total
