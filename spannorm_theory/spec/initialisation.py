"""Base initialisation: the gain of every weight matrix before the scaling rule touches it.

A gain is sigma_W^2 = inputs x Var(W_ij): what the matrix multiplies a second moment by.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import sqrt

from scipy.optimize import brentq

from ..base.errors import AssumptionError
from ..gaussian.activations import Activation

NAMED_INITS = ("fan-in", "unit-branch", "xavier")


def matrix_gains(
    init: str | float,
    shapes: Mapping[str, tuple[int, int]],
    activation: Activation,
    logit_product: float | None = None,
) -> dict[str, float]:
    """sigma_W^2 of each matrix.

    Args:
        init: "fan-in" (1), "unit-branch" (fan-in with ffn.up set so that the feed-forward branch has
            second moment 1 for unit input: He's initialisation for ReLU), "xavier"
            (2 inputs / (inputs + outputs)), or a standard deviation s (inputs x s^2).
        shapes: (inputs, outputs) of each matrix.
        activation: decides the gain of ffn.up under "unit-branch".
        logit_product: if given, the product of the gains of attn.query and attn.key, which are equal.
    """
    if isinstance(init, str):
        gains = {
            name: 2 * rows / (rows + columns) if init == "xavier" else 1.0
            for name, (rows, columns) in shapes.items()
        }
    else:
        gains = {name: rows * init**2 for name, (rows, _) in shapes.items()}
    if init == "unit-branch":
        gains["ffn.up"] = _unit_branch_gain(activation)
    if logit_product is not None:
        gains["attn.query"] = gains["attn.key"] = sqrt(logit_product)
    return gains


@lru_cache(maxsize=256)
def _unit_branch_gain(activation: Activation) -> float:
    def second_moment(q: float) -> float:
        return float(activation.kernel.value(q, q, q))

    if activation.gated:  # the up projection multiplies the gate linearly
        gain = 1 / second_moment(1.0) - activation.up_offset**2
        if gain > 0:
            return gain
    low, high = 1e-6, 1e4
    if activation.gated or not second_moment(low) < 1 < second_moment(high):
        raise AssumptionError(
            f"no gain of ffn.up gives a {activation.name} branch the second moment 1 (it saturates); "
            "use init='fan-in'"
        )
    return float(brentq(lambda q: second_moment(q) - 1, low, high, xtol=1e-14, rtol=1e-14))
