r"""The step of a matrix whose outputs are unlike: hidden units, or heads, with gradients of their own size.

Given its unit or head a column of the gradient is Gaussian, with the Gram of the mean one times a size c of
its own: its step has the shape of the mean column's, a slope f times that, and noise f^2 c times that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..gaussian.closed_forms import Array
from .matrix_steps import MatrixStep
from .optimisers import Optimiser

#: sizes below which a column has no gradient
OFF = 1e-20


@dataclass(frozen=True)
class SizedStep:
    """The step of one matrix.

    Attributes:
        mean: the step of the mean column, with the norms of all.
        slopes: f of each unit or head that is drawn, (draws,).
        noises: f^2 c.
    """

    mean: MatrixStep
    slopes: Array
    noises: Array

    @classmethod
    def of(cls, rule: Optimiser, mean: MatrixStep, own: Array, square: float) -> SizedStep:
        """The step whose columns have entries of G of these variances, in any unit, (draws,); ``square`` is
        that of the mean one."""
        sizes = own / max(float(own.mean()), np.finfo(float).tiny)
        some = sizes > OFF
        mean = replace(mean, l1=mean.l1 * float(np.sqrt(sizes).mean()), size=mean.size * float(some.mean()))
        if not rule.entrywise:
            return cls(mean, np.ones_like(sizes), sizes)
        scale = np.sqrt(square * np.maximum(sizes, OFF))
        slopes = np.where(some, rule.slope(scale) / rule.slope(np.sqrt(np.array([square]))), 0.0)
        return cls(mean, slopes, slopes**2 * sizes)
