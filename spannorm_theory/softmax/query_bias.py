r"""What attention's rows owe to the directions that their queries pick, at leading order in 1/d.

Normed tokens of a finite width d have sample cosines X_jk, of variance 1/d. A query's logits are s z_j, z_j
the coordinate of token j along one direction, so that weights answer to the part z_j z_k / d of X_jk and
to no other. By Stein's lemma E[f z_j z_k] = s^2 E[d^2 f / da_j da_k] for any function f of a row's logits a.
With p_k the sum of the k-th powers of its weights, M = diag(A) - A A^T, and sums over j != k,

    lean    E sum A_j A_k z_j z_k        = s^2 E[1 - 5 p2 + 4 p3 + 6 p2^2 - 6 p4]
    turn    E sum (M^2)_jk z_j z_k       = s^2 E[-3 p2 + 14 p3 + 3 p2^2 - 22 p4 - 32 p2 p3 + 40 p5 + 20 p2^3
                                                - 20 p2 p4]
    chance  E sum (M_jk^2 + M_jj M_kk)   = E[1 - 3 p2 + 2 p3 + 2 p2^2 - 2 p4]

lean/d is what a row's reading gains over P2, in units of a value's second moment; J + V chance + 2 turn/d is
E tr(M X M X), which a query's gradient sums, for other parts of X that are independent and of variance V; and
J + turn/d is E tr(M X M), which a key's does.

X_jj is one for normed tokens of cosine rho = 0. What the mean token leaves of the others' sizes varies by
2 (1 - (1 - rho)^2) / d, which adds this share of the terms with j = k to the three sums:

    s^2 E[4 p2 - 10 p3 + 6 p4],  s^2 E[4 p2 + 4 p2^2 - 28 p3 - 20 p2 p3 + 60 p4 + 20 p2 p4 - 40 p5],
    E[2 p2 - 4 p3 + 2 p4].
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.interpolate import CubicSpline

from ..gaussian.closed_forms import Array
from .overlaps import query_norms
from .rows import row_powers

#: nodes in sigma = s / (s + 4), 1/48 apart, up to the largest s of the quadrature; another s for the law at
#: large s
NODES, LARGEST, NEAR = 41, 20.0, 14.0

#: s at which sigma is one half
MIDDLE = 4.0

#: powers of w = 1 + s^2 that make these finite at both ends, lean and turn over s^2: j != k, and j = k
POWERS = np.array([[1.5, 1.5, 0.5], [1.0, 1.5, 0.5]])


class RowLeans:
    """lean, turn and chance of heads of ``head_width`` coordinates without norms, averaged over the norms of
    queries, as splines in sigma."""

    def __init__(self, keys: int, head_width: int) -> None:
        end = LARGEST / (LARGEST + MIDDLE)
        sigma = np.append(np.linspace(0, end, NODES), 1.0)
        s = MIDDLE * sigma[:-1] / (1 - sigma[:-1])
        scale = _scale(s**2)
        row = _Spline(sigma, np.array([_one_row(x, keys) for x in s]) * scale)
        found = np.zeros((NODES, 2, 3))
        for share, weight in zip(*query_norms(head_width), strict=True):
            at = row.at(s**2 * share) / _scale(s**2 * share)
            found += weight * at * np.array([share, share, 1.0])
        self._spline = _Spline(sigma, found * scale)

    def cubics(self, cells: int) -> Array:
        """The two functions of sigma that make lean, w^{3/2} and w times what multiplies s^2 and
        s^2 rho (2 - rho), in equal cells of (0, 1) that do not straddle nodes: (cells, 2, 4), powers 3 to 0
        of the distance from a cell's start over its width."""
        inside = np.array([1, 3, 5, 7]) / 8
        values = self._spline.found((np.arange(cells)[:, None] + inside) / cells)[..., 0]
        return np.asarray(np.linalg.solve(np.vander(inside, 4), values).swapaxes(1, 2))

    def all(self, s2: Array, rho: Array) -> Array:
        """All three at each point; shape (3, points)."""
        fixed, free = (self._spline.at(s2) / _scale(s2)).swapaxes(0, 1)
        found = fixed + (rho * (2 - rho))[:, None] * free
        return np.asarray(found.T * np.stack([s2, s2, np.ones_like(s2)]))


def _scale(s2: Array) -> Array:
    return np.asarray((1 + s2)[:, None, None] ** POWERS)


class _Spline:
    """Cubic splines in sigma of functions that tend to a constant as a + b / s^2."""

    def __init__(self, sigma: Array, values: Array) -> None:
        far = CubicSpline(sigma[:-1], values, bc_type=("clamped", "not-a-knot"))
        near, last = far(NEAR / (NEAR + MIDDLE)), values[-1]
        limit = last + (last - near) / ((LARGEST / NEAR) ** 2 - 1)
        self.found = CubicSpline(sigma, [*values, limit], bc_type=("clamped", "not-a-knot"))

    def at(self, s2: Array) -> Array:
        """Values at each point."""
        s = np.sqrt(s2)
        return np.asarray(self.found(s / (s + MIDDLE)))


def _one_row(s: float, n: int) -> list[tuple[float, float, float]]:
    """lean and turn over s^2, and chance, of a row of Gaussian logits: of j != k, and of j = k."""
    p = row_powers(s, n)
    lean = 1 - 5 * p.p2 + 4 * p.p3 + 6 * p.p22 - 6 * p.p4
    turn = -3 * p.p2 + 14 * p.p3 + 3 * p.p22 - 22 * p.p4 - 32 * p.p23 + 40 * p.p5 + 20 * p.p222 - 20 * p.p24
    chance = 1 - 3 * p.p2 + 2 * p.p3 + 2 * p.p22 - 2 * p.p4
    own_turn = 4 * p.p2 + 4 * p.p22 - 28 * p.p3 - 20 * p.p23 + 60 * p.p4 + 20 * p.p24 - 40 * p.p5
    own_chance = 2 * p.p2 - 4 * p.p3 + 2 * p.p4
    return [(lean, turn, chance), (4 * p.p2 - 10 * p.p3 + 6 * p.p4, own_turn, own_chance)]


@lru_cache(maxsize=64)
def row_leans(keys: int, head_width: int) -> RowLeans:
    """The cached :class:`RowLeans`."""
    return RowLeans(keys, head_width)
