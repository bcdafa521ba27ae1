r"""Change of a branch's output: of its own matrices' steps, and of what its input moves by (T13.8).

At every place of a network the change of its value is linear in the gradient g there up to noise that has
nothing to do with it,

    Delta = -(K g + w),    K a matrix of tokens,    W the Gram of w per coordinate.

A Gaussian matrix of gain s keeps K and the whole second moment T = K Gamma K^T + W, the latter as noise, as
its gradient came through its own transpose:

    K' = s K + K_own,    W' = s T + W_own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.softmax_gradients import transposed
from .hidden_units import HiddenUnits
from .matrix_steps import MatrixStep
from .sized_steps import SizedStep

Gains = Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """What a value moves by.

    Attributes:
        linear: K, (tokens, tokens).
        noise: W.
    """

    linear: Array
    noise: Array

    @classmethod
    def none(cls, tokens: int) -> Change:
        """No change."""
        return cls(np.zeros((tokens, tokens)), np.zeros((tokens, tokens)))

    def total(self, grad: Array) -> Array:
        """T for the Gram of the gradient there."""
        return np.asarray(self.linear @ grad @ self.linear.T + self.noise)

    def scaled(self, factor: Array) -> Change:
        """The change behind, or in front of, a factor of each token."""
        both = np.outer(factor, factor)
        return Change(both * self.linear, both * self.noise)


def own(step: MatrixStep, grad: Array, rate: float) -> Change:
    """The change by a matrix's own step."""
    noise = step.square - step.linear @ grad @ step.linear.T
    return Change(rate * step.linear, rate**2 * noise)


def behind(gain: float, change: Change, total: Array, matrix: Change) -> Change:
    """The change behind a matrix, ``total`` being that of what it reads."""
    return Change(gain * change.linear + matrix.linear, gain * total + matrix.noise)


def through_units(
    units: HiddenUnits,
    behind_units: Array,
    entering: Mapping[str, Change],
    steps: Mapping[str, SizedStep],
    grads: Mapping[str, Array],
    rates: Mapping[str, float],
) -> tuple[Change, Array]:
    """The change of hidden units, and its second moment.

    Args:
        behind_units: Gamma_r, of the gradient at the units.
        entering: changes at the pre-activations that their matrices' input brings, by matrix.
        steps, grads, rates: of each matrix its step, gradient Gram and learning rate.
    """
    count, n = units.rows.shape
    moved, noise = np.zeros((count, n, n)), np.zeros((n, n))
    for name, slopes in units.slopes.items():
        step, rate, change = steps[name], rates[name], entering[name]
        kernel = change.linear + rate * step.slopes[:, None, None] * step.mean.linear
        moved += slopes[:, :, None] * kernel * slopes[:, None, :]
        both = slopes.T @ slopes / count
        own_both = (slopes * step.noises[:, None]).T @ slopes / count
        mean = step.mean.linear
        left = step.mean.square - mean @ grads[name] @ mean.T
        noise += both * change.noise + rate**2 * own_both * left
    linear = moved.mean(axis=0)
    total = (moved @ behind_units @ transposed(moved)).mean(axis=0) + noise
    return Change(linear, total - linear @ behind_units @ linear.T), total
