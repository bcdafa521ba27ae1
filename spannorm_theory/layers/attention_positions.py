r"""Attention under a mask with positions as a coordinate, there and back (T11.5 to T11.9).

Grams are those of :mod:`.position_grid`: smooth in two positions, and one entry for a token with itself. Rows of
attention weights average smooth parts as uniform means over their keys do, and single keys by the statistics of
rows of their length (:mod:`spannorm_theory.softmax.row_lengths`) at the logit variance that is left beyond what
a row's keys have in common. With c the uniform weights, a tilde for "less its means over the keys of rows i and
k", L the logits' covariance over that of keys, E = N P11 and E' = N J11 of two rows (P2 and J of one),

    output         c p c + [delta E + p~_jj (E - 1)] over shared keys + L a S,     S = sum c c p~ k~
    at the values  sum_ik Gamma c c [E of one key, else even]
    at the queries Gamma o [ (delta_v delta_k + delta_k p~_jj + delta_v k~_jj) E' over shared keys + a S ]
    at the keys    sum_ik Gamma L c c [a p~_jl, and of one key (delta + p~_jj) E' - a p~_jj]

a being what the softmax leaves of a smooth difference between keys: chi for one row, (1 - P2)(1 - P2) for two
rows that are independent. Beyond that V enters as in (T10.3). Left out: the part along each token that norms of
heads take (1/d_h), and what rows pick of keys that are alike beyond first order in L.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from .position_rows import Gains, PositionRows, RowLaw, scales


@dataclass(frozen=True)
class PositionAttention:
    """One attention branch on Grams (m, m + 1), per coordinate.

    Attributes:
        law: the rows of weights that it has.
        width: coordinates of the stream.
        inner_norm: whether a norm stands in front of the output projection.
    """

    law: RowLaw
    width: int
    inner_norm: bool = False

    def at(self, gram: Array, gains: Gains) -> PositionRows:
        """Rows of weights and projections of an input.

        Raises:
            ZeroDivisionError: a norm reads zeros.
        """
        if not all(gains[f"attn.{name}"] * gram[:, -1].all() for name in self.law.normed):
            raise ZeroDivisionError
        return PositionRows(self.law, gram, gains)

    def forward(self, gram: Array, gains: Gains) -> tuple[Array, float]:
        """Gram of the branch output, and how many of a head's rows of weights are more than a maximum,
        sum_i (1 - P2)."""
        at = self.at(gram, gains)
        undecided = float(self.law.grid.counts @ (1 - at.one.p2))
        return gains["attn.output"] * self._mixed(at), undecided

    def backward(
        self, gram: Array, grad: Array, gains: Gains, pair_variance: float
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the branch input, and E |dLoss/dW|_F^2 of each matrix.

        Args:
            gram: Gram of the branch input.
            grad: Gram of the gradient at the branch output.
            pair_variance: V (T9.1).
        """
        at, pairs = self.at(gram, gains), self.law.grid.pairs
        g = gains["attn.output"] * grad
        if self.inner_norm:
            g = g / (at.gain("value") * scales(at.mixed))
        found = {
            "query": at.gain("value") * at.at_queries(g, pair_variance),
            "key": at.gain("value") * at.at_keys(g),
            "value": at.at_values(g),
        }
        stream, norms, front = np.zeros_like(gram), {}, self.width**2
        for name, moments in found.items():
            back = at.before_norm(name)
            stream = stream + gains[f"attn.{name}"] * back * moments
            read = back * gram
            if name == "key" and not self.law.rope:  # gradients at keys have no token mean
                read = read - float((pairs * read).sum()) / self.law.grid.tokens**2
            norms[f"attn.{name}"] = front * float((pairs * read * moments).sum())
        norms["attn.key"] += front * at.gain("value") * at.key_correlations(g, pair_variance)
        norms["attn.output"] = front * float((pairs * self._mixed(at) * grad).sum())
        return stream, norms

    def _mixed(self, at: PositionRows) -> Array:
        """Gram of the mixed values, behind the inner norm where there is one."""
        return at.mixed / scales(at.mixed) if self.inner_norm else at.gain("value") * at.mixed
