r"""Biases of attention rows towards the directions that their queries pick, leading order in 1/d (T6.15).

The sample Gram X of the tokens varies by 1/d around G, and a query's weights, whose logits are s z_j, lean
towards the part z_j z_k / d of it. By Stein's lemma, E[f z_j z_k] = s^2 E[d^2 f / da_j da_k], sums over
j != k are polynomials in the power sums p_k of a row of weights A, with M = diag(A) - A A^T:

    b_V, value bias      E sum A_j A_k z_j z_k       = s^2 E[1 - 5 p2 + 4 p3 + 6 p2^2 - 6 p4]
    b_J, Jacobian bias   E sum (M^2)_jk z_j z_k      = s^2 E[-3 p2 + 14 p3 + 3 p2^2 - 22 p4 - 32 p2 p3 + 40 p5
                                                             + 20 p2^3 - 20 p2 p4]
    chi, chance          E sum (M_jk^2 + M_jj M_kk)  = E[1 - 3 p2 + 2 p3 + 2 p2^2 - 2 p4]

Where tokens share a mean their sizes vary too, and the terms with j = k enter with the share 1 - (1 - rho)^2:
s^2 E[4 p2 - 10 p3 + 6 p4] in b_V, s^2 E[4 p2 + 4 p2^2 - 28 p3 - 20 p2 p3 + 60 p4 + 20 p2 p4 - 40 p5] in b_J
and E[2 p2 - 4 p3 + 2 p4] in chi.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from ..base.tables import made_once
from ..gaussian.closed_forms import Array
from ..gaussian.spline import Spline1D
from .overlaps import query_norms
from .rows import row_powers

#: nodes in sigma = s / (s + 4), 1/48 apart, up to the largest s of the quadrature: splines through them are
#: right to 2e-4 of each bias; and another s, from which and the largest the limit at infinity follows
NODES, LARGEST, NEAR = 41, 20.0, 14.0

#: s at which sigma is one half: nodes are densest around it
MIDDLE = 4.0

#: powers of w = 1 + s^2 that make these finite at both ends, the first two biases over s^2: j != k, and j = k
POWERS = np.array([[1.5, 1.5, 0.5], [1.0, 1.5, 0.5]])


class Biases(NamedTuple):
    """The biases b_V and b_J, and chi, in units of a value's second moment times (1 - rho)/d, 1/d and V."""

    value: float
    jacobian: float
    chance: float


def query_biases(s2: float, rho: float, keys: int, head_width: int) -> Biases:
    """Biases in heads of ``head_width`` coordinates, whose queries differ in size, by quadrature at the logit
    variance ``s2`` of rows and the token cosine ``rho``."""
    found = np.zeros(3)
    for share, weight in zip(*query_norms(head_width), strict=True):
        apart, alone = one_row_biases(sqrt(s2 * share), keys)
        found += weight * (apart + rho * (2 - rho) * alone) * [s2 * share, s2 * share, 1.0]
    return Biases(*found.tolist())


class BiasTable:
    """Splines in sigma of :func:`query_biases`, at any (s^2, rho)."""

    def __init__(self, keys: int, head_width: int) -> None:
        end = LARGEST / (LARGEST + MIDDLE)
        sigma = np.append(np.linspace(0, end, NODES), 1.0)
        s = MIDDLE * sigma[:-1] / (1 - sigma[:-1])
        rows = _spline(sigma, np.array([one_row_biases(x, keys) for x in s.tolist()]) * _scale(s**2))
        found = np.zeros((NODES, 2, 3))
        for share, weight in zip(*query_norms(head_width), strict=True):
            at = rows(_sigma(s**2 * share)) / _scale(s**2 * share)
            found += weight * at * np.array([share, share, 1.0])
        table = _spline(sigma, found * _scale(s**2))
        self._spline = Spline1D(sigma, table(sigma).reshape(-1, 6), ("clamped", "not-a-knot"))
        self._values = Spline1D(sigma, table(sigma)[..., 0], ("clamped", "not-a-knot"))

    def value(self, s2: float, rho: float) -> float:
        """b_V at one point (a microsecond, for the loop over layers)."""
        s, w = sqrt(s2), 1 + s2
        apart, alone = self._values.at(s / (s + MIDDLE))
        return s2 / w * (apart / sqrt(w) + rho * (2 - rho) * alone)

    def all(self, s2: Array, rho: Array) -> Array:
        """b_V, b_J and chi at each point; shape (3, points)."""
        apart, alone = self._spline(_sigma(s2)).reshape(2, 3, -1) / np.moveaxis(_scale(s2), 0, -1)
        return np.asarray((apart + rho * (2 - rho) * alone) * np.stack([s2, s2, np.ones_like(s2)]))


def _sigma(s2: Array) -> Array:
    s = np.sqrt(s2)
    return np.asarray(s / (s + MIDDLE))


def _scale(s2: Array) -> Array:
    return np.asarray((1 + s2)[:, None, None] ** POWERS)


def _spline(sigma: Array, values: Array) -> CubicSpline:
    """Spline through ``values`` at all nodes but the last, s = infinity, where functions tend to a constant
    as a + b / s^2."""
    near, last = CubicSpline(sigma[:-1], values)(NEAR / (NEAR + MIDDLE)), values[-1]
    limit = last + (last - near) / ((LARGEST / NEAR) ** 2 - 1)
    return CubicSpline(sigma, [*values, limit], bc_type=("clamped", "not-a-knot"))


def one_row_biases(s: float, n: int) -> Array:
    """b_V and b_J over s^2, and chi, of a row of ``n`` Gaussian logits; (2, 3), of j != k and of j = k."""
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


@made_once(maxsize=64)
def bias_table(keys: int, head_width: int) -> BiasTable:
    """The cached :class:`BiasTable`."""
    return BiasTable(keys, head_width)
