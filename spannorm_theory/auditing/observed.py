"""The standard deviations of each role over the layers, with their errors and the law of their entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..spec.scaling import WEIGHTS
from .matrices import Measured, gaussian_reach

Array = NDArray[np.float64]

#: standard errors that a layer may stray from a rule, and a constant from its reading
STRAY = 4.5

#: laws by what entries reach, in standard deviations of what is left, and the part that is left of the std
CUTS = {
    "uniform": (3**0.5, 1.0),
    "cut at 2 std": (2 / 0.879626, 0.879626),
    "cut at 3 std": (3.04080, 0.986579),
}


@dataclass(frozen=True)
class Observed:
    """The standard deviations of one role.

    Attributes:
        outputs: of the parameter, all pieces of a fused one.
        layers: the blocks that have it.
        stds, errors: of each of these, and their relative standard errors.
        reach: largest absolute value of a matrix over its standard deviation, the median over matrices; they
        have
            ``entries`` numbers.
    """

    role: str
    inputs: int
    outputs: int
    layers: Array
    stds: Array
    errors: Array
    reach: float
    entries: int

    @property
    def law(self) -> str:
        """In words, where entries are not Gaussian: uniform, or cut."""
        slack = STRAY * float(self.errors.max())
        if not self.reach or self.reach > (0.9 - slack) * gaussian_reach(self.entries):
            return ""
        for name, (bound, _) in CUTS.items():
            if 0.97 - slack < self.reach / bound < 1.005 + slack:
                return name
        return f"cut at {self.reach:.2g} of its std"

    @property
    def left(self) -> float:
        """Share of the standard deviation that was asked for which the law of the entries leaves."""
        return CUTS[self.law][1] if self.law in CUTS else 1.0

    @property
    def constant_error(self) -> float:
        """Relative standard error of a constant fitted to all layers."""
        return float(np.square(self.errors).sum() ** 0.5 / len(self.errors))


def observed(measured: Iterable[Measured]) -> list[Observed]:
    """The roles of all blocks in an architecture's order, matrices of one role and layer taken together."""
    groups: dict[str, dict[int, list[Measured]]] = {}
    for matrix in measured:
        if matrix.layer is not None:
            groups.setdefault(matrix.role, {}).setdefault(matrix.layer, []).append(matrix)
    result = []
    for role, layers in groups.items():
        every = [m for own in layers.values() for m in own]
        entries = np.array([sum(m.entries for m in own) for own in layers.values()])
        second = np.array([sum(m.entries * m.second for m in own) for own in layers.values()]) / entries
        fourth = np.array([sum(m.entries * m.fourth for m in own) for own in layers.values()]) / entries
        with np.errstate(invalid="ignore", divide="ignore"):
            kurtosis = np.where(second > 0, fourth / second**2 - 1, 0)
        result.append(
            Observed(
                role,
                every[0].inputs,
                every[0].whole,
                np.array(list(layers), dtype=float),
                np.sqrt(second),
                np.sqrt(np.maximum(kurtosis, 1e-12) / entries) / 2,
                float(np.median([m.reach for m in every if m.second] or [0.0])),
                max(m.entries for m in every),
            )
        )
    return sorted(result, key=lambda o: WEIGHTS.index(o.role) if o.role in WEIGHTS else len(WEIGHTS))
