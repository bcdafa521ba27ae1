r"""The step of a projection to heads, from the gradients that drawn heads hand back (T13.6).

Gradients at a head's keys are nearly of rank one once tokens are aligned: they share what all queries have in
common, so that neither columns nor heads are samples of one Gram. A drawn column g has a variance sigma^2 =
g^T Q g of its own for an entry of G, and a slope s of its own; the polar factor is that of all heads of a
network together, given their columns:

    entrywise  X U = d_in s(sigma) Q g + noise
    polar      X U = sqrt(d_in) Q^1/2 (Q^1/2 g g^T Q^1/2)^(-1/2) Q^1/2 g,  kappa as in T13.4 for d_in alone
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.product_roots import ZERO, mode_roots
from ..layers.softmax_gradients import transposed
from .matrix_steps import MatrixStep, degrees
from .optimisers import Optimiser

TINY = np.finfo(float).tiny


@dataclass(frozen=True)
class HeadStep:
    """The step of one projection at learning rate 1.

    Attributes:
        mean: its norms, K and T.
        slope: <G, U(G)>.
        moved: what its output moves by in each head, (draws, heads, tokens, head width).
    """

    mean: MatrixStep
    slope: float
    moved: Array


@dataclass(frozen=True)
class _Draws:
    """Columns of the gradient in modes of the input: ``seen`` is R^T g for R R^T = Q."""

    rule: Optimiser
    shape: tuple[int, int]
    seen: Array
    batch: int
    random: np.random.Generator

    def noise(self) -> Array:
        return np.asarray(self.random.standard_normal(self.seen.shape))

    def variances(self) -> Array:
        """sigma^2 of each column; those of a step's other sequences are independent of this one's."""
        own = np.square(self.seen).sum(axis=-2)
        flat = own.ravel()
        others = (np.roll(flat, i * len(flat) // self.batch) for i in range(1, self.batch))
        return np.asarray(np.maximum(own + sum(x.reshape(own.shape) for x in others), TINY))


def head_step(
    rule: Optimiser,
    shape: tuple[int, int],
    read: Array,
    grad: Array,
    gradients: Array,
    heads: int,
    batch: int,
    squared: float,
    excess: float,
    random: np.random.Generator,
) -> HeadStep:
    """The step of a projection.

    Args:
        shape: its inputs and outputs.
        read, grad: Q and Gamma, Grams of its input and of the gradient at its output.
        gradients: at its output, of drawn heads, (draws, heads, tokens, head width).
        heads: how many a network has.
        batch: sequences of a step.
        squared: E |G|_F^2, of which more is known than the draws say.
        excess: V - 1/d of its input, by which networks' Grams spread around Q.
        random: source of noise.
    """
    front = shape[0] * shape[1]
    size, vectors = np.linalg.eigh(read)
    root = vectors * np.sqrt(np.maximum(size, 0))
    draws = _Draws(rule, shape, root.T @ gradients, batch, random)
    known = np.sqrt(squared / (front * float(draws.variances().mean())))
    draws = _Draws(rule, shape, known * draws.seen, batch, random)
    sigma = np.sqrt(draws.variances())
    turned, values, kappa = _polar_modes(draws, heads, excess)
    nuclear = float(np.sqrt(front) * batch * (kappa * values).sum(axis=-1).mean())
    if rule.entrywise:
        shown, noise, square = _entrywise(draws, sigma)
        slope, u2 = front * float((rule.slope(sigma) * sigma**2).mean()), float(rule.square(sigma).mean())
        entries = squared if rule.kind == "sgd" else front * u2
    else:
        shown, noise, square = _polar(draws, turned, values, kappa)
        factor, rank = rule.size(*shape), batch * int((kappa > 0).sum(axis=-1).max())
        slope, entries = factor * nuclear, factor**2 * min(rank, *shape)
    norms = entries, front * np.sqrt(2 / np.pi) * float(sigma.mean()), nuclear
    linear = root @ _linear(root.T @ grad @ root, draws.seen, shown) @ root.T
    mean = MatrixStep(*shape, linear, root @ square @ root.T, *norms)
    return HeadStep(mean, slope, root @ (shown + noise))


def _linear(gram: Array, seen: Array, shown: Array) -> Array:
    """K in modes: what columns of all heads move by, mode by mode of the Gram that they scatter around."""
    _, vectors = np.linalg.eigh(gram)
    came, gone = vectors.T @ seen, vectors.T @ shown
    along, size = (came * gone).sum(axis=(0, 1, 3)), np.square(came).sum(axis=(0, 1, 3))
    k = np.divide(along, size, out=np.zeros_like(size), where=size > ZERO * size.max())
    return np.asarray((vectors * k) @ vectors.T)


def _entrywise(draws: _Draws, sigma: Array) -> tuple[Array, Array, Array]:
    """What columns move by, in modes: along themselves, by noise, and T of both."""
    rule, inputs, seen = draws.rule, draws.shape[0], draws.seen
    slope, square = rule.slope(sigma)[..., None, :], rule.square(sigma)[..., None, :]
    # noise of d_in inputs, which along g itself has less than E U^2
    noise, own = draws.noise(), np.square(seen).sum(axis=-2, keepdims=True)
    along = seen * (seen * noise).sum(axis=-2, keepdims=True) / np.maximum(own, TINY)
    left = np.sqrt(np.maximum(square - slope**2 * own, 0))
    total = inputs * (inputs - 1) * _gram(slope * seen) + inputs * square.mean() * np.eye(seen.shape[-2])
    return inputs * slope * seen, np.sqrt(inputs) * (np.sqrt(square) * (noise - along) + left * along), total


def _polar_modes(draws: _Draws, heads: int, excess: float) -> tuple[Array, Array, Array]:
    """Modes of the columns of as many heads as a network has, for each head those of a network it is in:
    vectors, lambda and kappa."""
    inputs, outputs = draws.shape
    seen = draws.seen.reshape(-1, *draws.seen.shape[-2:])
    grams, count = seen @ transposed(seen), len(seen)
    networks = [np.arange(start, start + heads) % count for start in range(0, count, heads)]
    values, vectors = np.linalg.eigh(np.array([grams[at].sum(axis=0) for at in networks]) / outputs)
    values = np.maximum(values, 0)
    samples = inputs, degrees(excess, draws.batch)
    kappa = np.array([mode_roots(x, samples, draws.batch) for x in values])
    of = np.arange(count) // heads
    front = draws.seen.shape[:-2]
    return tuple(x[of].reshape(*front, *x.shape[1:]) for x in (vectors, values, kappa))  # type: ignore[return-value]


def _polar(draws: _Draws, vectors: Array, values: Array, kappa: Array) -> tuple[Array, Array, Array]:
    """What columns move by, in modes: along the columns of their network, by noise, and T of both."""
    inputs, outputs = draws.shape
    size = draws.rule.size(*draws.shape) * np.sqrt(inputs / outputs)
    back = transposed(vectors)
    left = np.sqrt(np.where(kappa > 0, np.maximum(1 - kappa**2 * values, 0), 0.0))
    shown = (vectors * kappa[..., None, :]) @ (back @ draws.seen)
    noise = (vectors * left[..., None, :]) @ draws.noise()
    kept = (vectors * (kappa > 0)[..., None, :]) @ back
    return size * shown, size * noise, size**2 * kept.mean(axis=(0, 1))


def _gram(seen: Array) -> Array:
    """Mean Gram of columns."""
    return np.asarray((seen @ transposed(seen)).mean(axis=(0, 1)) / seen.shape[-1])
