r"""Hidden units of a feed-forward branch, drawn: where its matrices' steps are no functions of Grams (T13.5).

What W_down reads, h = phi(u), and the gradient at a pre-activation, phi'(u) r, are not Gaussian over units
once tokens are aligned: a unit is then on or off for all of them. Units are drawn, u with its Gram and r
Gaussian: the step of W_down is averaged over their rows h, that of W_up over their columns D r with D =
diag(phi'(u)), each of which has a size sigma_D^2 = tr(D Q D Gamma_r) of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.feedforward import FeedForward
from .matrix_steps import MatrixStep, matrix_step, normal_draws
from .optimisers import Optimiser
from .sized_steps import SizedStep

#: units that are drawn in each run, and the step of a derivative
UNITS, STEP = 256, 1e-4


@dataclass(frozen=True)
class HiddenUnits:
    """Units of one branch.

    Attributes:
        rows: h, (units, tokens).
        others: h of as many units that are independent of these.
        slopes: D by the matrix of its pre-activation, (units, tokens).
    """

    rows: Array
    others: Array
    slopes: Mapping[str, Array]

    @classmethod
    def draw(cls, component: FeedForward, gram: Array, gains: Mapping[str, float], seed: int) -> HiddenUnits:
        """Units that read a Gaussian input of this Gram."""
        rows, slopes = _units(component, gram, gains, 2 * seed)
        return cls(rows, _units(component, gram, gains, 2 * seed + 1)[0], slopes)


def _units(
    component: FeedForward, gram: Array, gains: Mapping[str, float], seed: int
) -> tuple[Array, dict[str, Array]]:
    """h and D of quasi-random units, whose largest modes come first in the draws."""
    size, vectors = np.linalg.eigh(gram)
    root = (vectors * np.sqrt(np.maximum(size, 0)))[:, ::-1]
    phi, gated = component.activation.function, component.activation.gated
    noise = normal_draws(len(gram) * (1 + gated), UNITS, seed)
    # the modes of both inputs alternate, so that the largest of both come first
    u = np.sqrt(gains["ffn.gate" if gated else "ffn.up"]) * (noise[:, :: 1 + gated] @ root.T)
    value, slope = phi(u), (phi(u + STEP) - phi(u - STEP)) / (2 * STEP)
    if not gated:
        return value, {"ffn.up": slope}
    up = np.sqrt(gains["ffn.up"]) * (noise[:, 1::2] @ root.T) + component.activation.up_offset
    return value * up, {"ffn.up": value, "ffn.gate": slope * up}


def front_step(
    rule: Optimiser,
    shape: tuple[int, int],
    read: Array,
    behind: Array,
    slopes: Array,
    batch: int,
    squared: float,
    excess: float,
) -> SizedStep:
    """The step of a matrix in front of units with slopes D; ``behind`` is Gamma_r, of the gradient at h."""
    grad = behind * (slopes.T @ slopes / len(slopes))
    mean = matrix_step(rule, shape, read, grad, batch, squared, excess)
    own = np.einsum("us,st,ut->u", slopes, read * behind, slopes)
    return SizedStep.of(rule, mean, own, batch * float((read * grad).sum()))


def back_step(
    rule: Optimiser,
    shape: tuple[int, int],
    units: HiddenUnits,
    read: Array,
    grad: Array,
    batch: int,
    squared: float,
    excess: float,
) -> MatrixStep:
    """The step of a matrix that reads units, whose Gram ``read`` is known better than they say it.

    Entrywise rules are averaged over the rows; a polar factor and the nuclear norm see Grams alone.
    """
    inputs, outputs = shape
    plain = matrix_step(rule, shape, read, grad, batch, squared, excess)
    rows, others = units.rows, units.others
    sigma, sigma_others = _sizes(rows, grad, batch), _sizes(others, grad, batch)
    front = inputs * outputs
    known = np.sqrt(batch * float((read * grad).sum()) / np.square(sigma).mean())
    l1 = front * np.sqrt(2 / np.pi) * float(sigma.mean()) * known
    if not rule.entrywise:
        return MatrixStep(inputs, outputs, plain.linear, plain.square, plain.size, l1, plain.nuclear)
    slope = rule.slope(sigma)
    linear = inputs * (rows * slope[:, None]).T @ rows / len(rows)
    u2 = rule.square(sigma)
    own = (rows * u2[:, None]).T @ rows / len(rows)
    size = front * float(u2.mean())
    cosine = rows @ grad @ others.T / np.outer(sigma, sigma_others)
    both = _pairs(rule, sigma, sigma_others, np.clip(cosine, -1, 1))
    square = inputs * (inputs - 1) * rows.T @ both @ others / both.size
    square = (square + square.T) / 2 + inputs * own
    size = squared if rule.kind == "sgd" else size
    return MatrixStep(inputs, outputs, linear, square, size, l1, plain.nuclear)


def _sizes(rows: Array, grad: Array, batch: int) -> Array:
    """sigma of each row; rows of a step's other sequences are independent of this one's."""
    squares = np.einsum("us,st,ut->u", rows, grad, rows)
    total = squares + sum(np.roll(squares, i * len(rows) // batch) for i in range(1, batch))
    return np.asarray(np.sqrt(np.maximum(total, np.finfo(float).tiny)))


def _pairs(rule: Optimiser, sigma: Array, others: Array, cosine: Array) -> Array:
    """E U(G_ij) U(G_kj) of entries of sizes ``sigma`` and ``others`` and of correlations ``cosine``; of adam
    as of sign descent with the slope of each size."""
    slopes = np.outer(rule.slope(sigma) * sigma, rule.slope(others) * others)
    return np.asarray(slopes * (cosine if rule.kind == "sgd" else np.arcsin(cosine)))
