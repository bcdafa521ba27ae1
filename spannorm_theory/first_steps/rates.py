"""Learning rates of a step: one for all matrices, or one for each that moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base import arguments
from ..base.errors import InputError
from ..spec.architecture import Architecture


def rates_of(arch: Architecture, lr: Any) -> dict[str, float]:
    """The learning rate of each matrix of ``arch.weights``.

    Args:
        lr: a number, or a mapping of matrices' names to numbers; those that it does not name stay.

    Raises:
        UnknownNameError: a matrix that the architecture does not have.
        InputError: a rate that is no positive number, or none that is given.
    """
    if not isinstance(lr, Mapping):
        return dict.fromkeys(arch.weights, arguments.number("lr", lr))
    if not lr:
        raise InputError(f"lr names no matrix; give a number, or rates of some of {', '.join(arch.weights)}")
    for name in lr:
        arguments.choice("matrix", name, arch.weights)
    given = {name: arguments.number(f"lr of {name}", rate) for name, rate in lr.items()}
    return {name: given.get(name, 0.0) for name in arch.weights}
