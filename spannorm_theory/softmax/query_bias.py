r"""Biases of attention's rows towards the directions that their queries pick, at leading order in 1/d.

Normed tokens of a finite width d have sample cosines X_jk, of variance 1/d. A query's logits are s z_j, z_j
the coordinate of token j along one direction, so that weights answer to the part z_j z_k / d of X_jk and
to no other. By Stein's lemma E[f z_j z_k] = s^2 E[d^2 f / da_j da_k] for any function f of a row's logits a.
With p_k the sum of the k-th powers of its weights, M = diag(A) - A A^T, and sums over j != k,

    value bias     E sum A_j A_k z_j z_k       = s^2 E[1 - 5 p2 + 4 p3 + 6 p2^2 - 6 p4]
    Jacobian bias  E sum (M^2)_jk z_j z_k      = s^2 E[-3 p2 + 14 p3 + 3 p2^2 - 22 p4 - 32 p2 p3 + 40 p5
                                                       + 20 p2^3 - 20 p2 p4]
    chance         E sum (M_jk^2 + M_jj M_kk)  = E[1 - 3 p2 + 2 p3 + 2 p2^2 - 2 p4]

The value bias over d is what a row's reading gains over P2, in units of a value's second moment;
J + V chance + 2/d times the Jacobian bias is E tr(M X M X), which a query's gradient sums, for other parts of
X that are independent and of variance V; and J + 1/d times the Jacobian bias is E tr(M X M), which a key's
does.

X_jj is one for normed tokens of cosine rho = 0. What the mean token leaves of the others' sizes varies by
2 (1 - (1 - rho)^2) / d, which adds this share of the terms with j = k to the three sums:

    s^2 E[4 p2 - 10 p3 + 6 p4],  s^2 E[4 p2 + 4 p2^2 - 28 p3 - 20 p2 p3 + 60 p4 + 20 p2 p4 - 40 p5],
    E[2 p2 - 4 p3 + 2 p4].
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from ..gaussian.closed_forms import Array
from ..gaussian.spline import Spline1D
from .overlaps import query_norms
from .rows import row_powers

#: nodes in sigma = s / (s + 4), 1/48 apart, up to the largest s of the quadrature, to 2e-4 of each bias;
#: another s for the law at large s
NODES, LARGEST, NEAR = 41, 20.0, 14.0

#: s at which sigma is one half
MIDDLE = 4.0

#: powers of w = 1 + s^2 that make these finite at both ends, the first two biases over s^2: j != k, and j = k
POWERS = np.array([[1.5, 1.5, 0.5], [1.0, 1.5, 0.5]])


class Biases(NamedTuple):
    """Value bias, Jacobian bias and chance as defined above."""

    value: float
    jacobian: float
    chance: float


def query_biases(s2: float, rho: float, keys: int, head_width: int) -> Biases:
    """Biases of heads of ``head_width`` coordinates, whose queries differ in size, by quadrature at rows'
    logit variance s^2 and tokens' cosine rho."""
    found = np.zeros(3)
    for share, weight in zip(*query_norms(head_width), strict=True):
        apart, alone = _one_row(sqrt(s2 * share), keys)
        found += weight * (apart + rho * (2 - rho) * alone) * [s2 * share, s2 * share, 1.0]
    return Biases(*found.tolist())


class BiasTable:
    """:func:`query_biases` at any (s^2, rho), as splines in sigma."""

    def __init__(self, keys: int, head_width: int) -> None:
        end = LARGEST / (LARGEST + MIDDLE)
        sigma = np.append(np.linspace(0, end, NODES), 1.0)
        s = MIDDLE * sigma[:-1] / (1 - sigma[:-1])
        rows = _spline(sigma, np.array([_one_row(x, keys) for x in s.tolist()]) * _scale(s**2))
        found = np.zeros((NODES, 2, 3))
        for share, weight in zip(*query_norms(head_width), strict=True):
            at = rows(_sigma(s**2 * share)) / _scale(s**2 * share)
            found += weight * at * np.array([share, share, 1.0])
        table = _spline(sigma, found * _scale(s**2))
        self._spline = Spline1D(sigma, table(sigma).reshape(-1, 6), ("clamped", "not-a-knot"))
        self._values = Spline1D(sigma, table(sigma)[..., 0], ("clamped", "not-a-knot"))

    def value(self, s2: float, rho: float) -> float:
        """The value bias at one point (a microsecond, for the layer loop)."""
        s, w = sqrt(s2), 1 + s2
        apart, alone = self._values.at(s / (s + MIDDLE))
        return s2 / w * (apart / sqrt(w) + rho * (2 - rho) * alone)

    def all(self, s2: Array, rho: Array) -> Array:
        """All three at each point; shape (3, points)."""
        apart, alone = self._spline(_sigma(s2)).reshape(2, 3, -1) / np.moveaxis(_scale(s2), 0, -1)
        return np.asarray((apart + rho * (2 - rho) * alone) * np.stack([s2, s2, np.ones_like(s2)]))


def _sigma(s2: Array) -> Array:
    s = np.sqrt(s2)
    return np.asarray(s / (s + MIDDLE))


def _scale(s2: Array) -> Array:
    return np.asarray((1 + s2)[:, None, None] ** POWERS)


def _spline(sigma: Array, values: Array) -> CubicSpline:
    """Through values at all nodes but the last, s = infinity, of functions that tend there to a constant as
    a + b / s^2."""
    near, last = CubicSpline(sigma[:-1], values)(NEAR / (NEAR + MIDDLE)), values[-1]
    limit = last + (last - near) / ((LARGEST / NEAR) ** 2 - 1)
    return CubicSpline(sigma, [*values, limit], bc_type=("clamped", "not-a-knot"))


def _one_row(s: float, n: int) -> Array:
    """The first two biases over s^2, and chance, of a row of Gaussian logits: of j != k, and of j = k; shape
    (2, 3)."""
    p = row_powers(s, n)
    value = 1 - 5 * p.p2 + 4 * p.p3 + 6 * p.p22 - 6 * p.p4
    jacobian = (
        -3 * p.p2 + 14 * p.p3 + 3 * p.p22 - 22 * p.p4 - 32 * p.p23 + 40 * p.p5 + 20 * p.p222 - 20 * p.p24
    )
    chance = 1 - 3 * p.p2 + 2 * p.p3 + 2 * p.p22 - 2 * p.p4
    own_value = 4 * p.p2 - 10 * p.p3 + 6 * p.p4
    own_jacobian = 4 * p.p2 + 4 * p.p22 - 28 * p.p3 - 20 * p.p23 + 60 * p.p4 + 20 * p.p24 - 40 * p.p5
    own_chance = 2 * p.p2 - 4 * p.p3 + 2 * p.p4
    return np.array([[value, jacobian, chance], [own_value, own_jacobian, own_chance]])


@lru_cache(maxsize=64)
def bias_table(keys: int, head_width: int) -> BiasTable:
    """The cached :class:`BiasTable`."""
    return BiasTable(keys, head_width)
