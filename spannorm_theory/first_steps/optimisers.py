r"""Optimisers by their first step W <- W - lr U(G), G the gradient of a matrix (T13.1).

    sgd         U = G
    sign        U = sign G
    adam        U = G / (|G| + epsilon), its first step with corrected averages: beta_1 and beta_2 drop out
    orthogonal  U = P Q^T of the singular value decomposition G = P S Q^T, on the singular values that are
                not zero
    muon        U = factor times that, as published: an exact polar factor stands for the polynomial

The factor of "muon" is f sqrt(max(inputs, outputs)) with f = 0.2, which gives an entry of U the root mean
square f where G has full rank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from ..base.arguments import real
from ..base.errors import InputError
from ..base.registry import Registry
from ..gaussian.closed_forms import Array

#: nodes of the mean over a half-normal number, and where it ends
NODES, END = 64, 9.0


@dataclass(frozen=True)
class Optimiser:
    """A rule for the first step.

    Attributes:
        name: the name it is registered under.
        kind: "sgd", "sign", "adam", "orthogonal" or "muon", as above.
        epsilon: of "adam", in units of the gradient.
        factor: f of "muon".
    """

    name: str
    kind: str
    epsilon: float = 0.0
    factor: float = 1.0

    @property
    def entrywise(self) -> bool:
        """Whether an entry of U is a function of the entry of G alone."""
        return self.kind in ("sgd", "sign", "adam")

    def size(self, inputs: int, outputs: int) -> float:
        """Factor on the polar factor of a matrix of this shape; 1 for other rules."""
        return self.factor * sqrt(max(inputs, outputs)) if self.kind == "muon" else 1.0

    def apply(self, entries: Array) -> Array:
        """U of entries of G, where it is entrywise."""
        if self.kind == "sgd":
            return entries
        if self.kind == "sign":
            return np.sign(entries)
        size = np.abs(entries) + self.epsilon
        return np.divide(entries, size, out=np.zeros_like(entries), where=size > 0)

    def slope(self, sigma: Array) -> Array:
        """E z U(sigma z) / sigma for a standard normal z: U's linear part on a normal entry."""
        if self.kind == "sgd":
            return np.ones_like(sigma)
        if self.kind == "sign":
            return np.asarray(np.sqrt(2 / np.pi) / sigma)
        z, weight = _half_normal()
        return np.asarray((z**2 / (sigma[..., None] * z + self.epsilon)) @ weight)

    def square(self, sigma: Array) -> Array:
        """E U(sigma z)^2."""
        if self.kind == "sgd":
            return sigma**2
        if self.kind == "sign":
            return np.ones_like(sigma)
        z, weight = _half_normal()
        return np.asarray(self.apply(sigma[..., None] * z) ** 2 @ weight)


def _half_normal() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    z = END * (nodes + 1) / 2
    density = weights * np.exp(-(z**2) / 2)
    return z, density / density.sum()


OPTIMISERS: Registry[Optimiser] = Registry("optimiser")
for _entry in (
    Optimiser("sgd", "sgd"),
    Optimiser("sign", "sign"),
    Optimiser("adam", "adam", epsilon=1e-8),
    Optimiser("orthogonal", "orthogonal"),
    Optimiser("muon", "muon", factor=0.2),
):
    OPTIMISERS.add(_entry)


def optimiser(given: str | Optimiser, epsilon: float | None = None) -> Optimiser:
    """The optimiser of a name, with its own ``epsilon`` where that is given; an optimiser is taken as it is.

    Raises:
        UnknownNameError: there is none of this name.
        InputError: a negative epsilon, or one of a rule that has none.
    """
    found = given if isinstance(given, Optimiser) else OPTIMISERS[given]
    if epsilon is None:
        return found
    if found.kind != "adam":
        raise InputError(f"epsilon is of adam alone, got it with {found.name}; leave it out")
    value = real("epsilon", epsilon)
    if value < 0:
        raise InputError(f"epsilon must not be negative, got {epsilon!r}; 1e-8 is usual")
    return replace(found, epsilon=value)
