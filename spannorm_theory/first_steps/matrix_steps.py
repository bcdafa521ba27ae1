r"""One matrix's step, as its output's tokens see it (T13.2 to T13.4).

A matrix W (d_in x d_out) reads X, whose rows of n tokens have the Gram Q, and the gradient at its output has
the Gram Gamma, both per coordinate. The step -U(X^T Delta) changes what it puts out by -X U, which is

    X U = K Delta + noise,     E (X U)(X U)^T / d_out = T,

K and T matrices of tokens. With Q^1/2 Gamma Q^1/2 = V diag(lambda) V^T and Y = Q^1/2 V, both are diagonal,
K = Y diag(k) Y^T and T = Y diag(t) Y^T:

    entrywise  k_i = d_in E z_i^2 s(sigma),   t_i = d_in (d_in - 1) lambda_i E z_i^2 s(sigma)^2 + d_in E U^2
    polar      k_i = sqrt(d_in/d_out) kappa_i,  t_i = d_in/d_out   (lambda_i > 0)

with z standard normal, sigma^2 = sum lambda_i z_i^2 the variance of an entry of G given one side, and s the
slope of U there. Rows of X that are no Gaussian (hidden units) are drawn instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from ..gaussian.closed_forms import Array
from ..gaussian.product_roots import mode_roots
from .optimisers import Optimiser

#: quasi-random draws of the modes, a power of 2: means of sigma are then right to 0.1 %
DRAWS = 1024


@dataclass(frozen=True)
class MatrixStep:
    """The step of one matrix at learning rate 1.

    Attributes:
        inputs, outputs: its shape.
        linear: K, (tokens, tokens).
        square: T.
        size: E |U|_F^2.
        l1, nuclear: E |G|_1 and E |G|_*.
    """

    inputs: int
    outputs: int
    linear: Array
    square: Array
    size: float
    l1: float
    nuclear: float


def matrix_step(
    rule: Optimiser,
    shape: tuple[int, int],
    read: Array,
    grad: Array,
    batch: int,
    squared: float,
    excess: float = 0.0,
) -> MatrixStep:
    """The step of a matrix whose input is Gaussian over coordinates.

    Args:
        shape: its inputs and outputs.
        read, grad: Q and Gamma.
        batch: sequences of a step.
        squared: E |G|_F^2, of which more is known than the Grams say.
        excess: V - 1/d of the input, by which networks' Grams spread around Q.
    """
    inputs, outputs = shape
    values, y = modes(read, grad)
    kappa = mode_roots(values, (inputs, outputs, degrees(excess, batch)), batch)
    sigma, z = spread(values, batch)
    if rule.entrywise:
        slope = rule.slope(sigma)
        k = inputs * z(slope)
        u2 = float(rule.square(sigma).mean())
        t = inputs * (inputs - 1) * values * z(slope**2) + inputs * u2
        size = inputs * outputs * u2
    else:
        k, t, size = _polar(rule, shape, values, kappa, batch)
    front = inputs * outputs
    return MatrixStep(
        inputs,
        outputs,
        y * k @ y.T,
        y * t @ y.T,
        squared if rule.kind == "sgd" else size,
        front * np.sqrt(2 / np.pi) * float(sigma.mean()),
        np.sqrt(front) * batch * float(kappa @ values),
    )


def degrees(excess: float, batch: int) -> float:
    """Degrees of the samples that Grams of a step's sequences are, whose covariances vary by ``excess``
    beyond what sampling d coordinates does."""
    return batch / excess if excess > 0 else np.inf


def _polar(
    rule: Optimiser, shape: tuple[int, int], values: Array, kappa: Array, batch: int
) -> tuple[Array, Array, float]:
    """k and t of each mode, and the size, of a polar factor."""
    inputs, outputs = shape
    factor, rank = rule.size(*shape), batch * int((kappa > 0).sum())
    k = factor * np.sqrt(inputs / outputs) * kappa
    t = np.where(kappa > 0, factor**2 * inputs / outputs, 0.0)
    return k, t, factor**2 * min(rank, inputs, outputs)


def modes(read: Array, grad: Array) -> tuple[Array, Array]:
    """lambda, (tokens,), and Y, (tokens, tokens)."""
    size, vectors = np.linalg.eigh(read)
    root = vectors * np.sqrt(np.maximum(size, 0)) @ vectors.T
    values, turned = np.linalg.eigh(root @ grad @ root)
    return np.maximum(values, 0), root @ turned


def spread(values: Array, batch: int) -> tuple[Array, ModeMeans]:
    """Draws of sigma, (DRAWS,), and the means E z_i^2 f over them."""
    squares = normal_draws(len(values) * batch, DRAWS) ** 2
    squares = squares / squares.mean(axis=0)
    sigma = np.sqrt(squares @ np.tile(values, batch))
    return np.maximum(sigma, np.finfo(float).tiny), ModeMeans(squares[:, : len(values)])


@dataclass(frozen=True)
class ModeMeans:
    """E z_i^2 f for a function f at the draws; ``squares`` are z_i^2, (DRAWS, modes)."""

    squares: Array

    def __call__(self, f: Array) -> Array:
        """The means for values f, (DRAWS,)."""
        return np.asarray(f @ self.squares / len(f))


@lru_cache(maxsize=8)
def normal_draws(count: int, draws: int, seed: int = 0) -> Array:
    """Quasi-random standard normal numbers, (draws, count)."""
    points = qmc.Sobol(count, seed=seed).random(draws)
    return np.asarray(ndtri(np.clip(points, 1e-12, 1 - 1e-12)))
