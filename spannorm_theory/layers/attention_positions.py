r"""Attention over unlike tokens with positions as a coordinate, there and back (T10.8).

Grams are those of :mod:`.position_grid`: smooth in two positions, and one entry for a token with itself. With
v and k the Grams of values and keys, smooth parts v_jl and k_jl and what a single token has more, dv_j and
dk_j, and A, E, E', L, a, S and the tilde of :mod:`.position_rows`,

    output         A v A + sum_j [dv_j E + v~_jj (E - 1)] / (N_i N_k) + L a S
    at the values  sum_ik Gamma_ik A_ij A_kl, times E where j = l, and less elsewhere by as much
    at the queries Gamma_ik {sum_j [dv_j dk_j + dk_j v~_jj + dv_j k~_jj] E' / (N_i N_k) + a S}
    at the keys    sum_ik Gamma_ik L_ik A_ij A_kl [a v~_jl + E' dv~_jl], and s (E' - a) v~_jj more where j = l

with sums over j over the keys that two rows share, and v~, k~ and dv~, which is that of dv_j [j = l], behind
a gradient around means in A; beside dv~ and v~ alone E' is over that of even weights; s is the share of the
rows' logit variances that single keys have for themselves.
V (T9.1) enters as in (T10.3). Left out: what rows pick of keys that are alike beyond first order in L.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..gaussian.closed_forms import Array
from .latents import down
from .position_rows import Gains, PositionRows, RowLaw
from .smooth_gram import doubled, joined, open_share, products, scales


class LeftOut(NamedTuple):
    """What a branch has of that beyond which something is left out.

    Attributes:
        linear: share L a S of the mixed values' second moment, which is linear in how alike keys are.
        logits: largest second moment of a row's logits.
        unlike: largest second moment of a key over the smallest, less 1.
        turned: squared mean cosine of tokens that rotary embedding turns away from each other.
    """

    linear: float
    logits: float
    unlike: float
    turned: float


NOTHING = LeftOut(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PositionAttention:
    """One attention branch on Grams (m, m + 1), per coordinate.

    Attributes:
        law: the rows of weights that it has.
        width: coordinates of the stream.
        inner_norm: whether a norm stands in front of the output projection.
        breadth: H d_h / d, coordinates of all heads over those of the stream.
    """

    law: RowLaw
    width: int
    inner_norm: bool = False
    breadth: float = 1.0

    def at(self, gram: Array, gains: Gains) -> HeadGrams:
        """Heads at an input.

        Raises:
            ZeroDivisionError: a norm reads zeros.
        """
        normed = all(gains[f"attn.{name}"] * gram[:, -1].all() for name in self.law.normed)
        if not normed or (self.inner_norm and not gains["attn.value"]):
            raise ZeroDivisionError
        return HeadGrams(PositionRows(self.law, gram, gains))

    def forward(self, gram: Array, gains: Gains) -> tuple[Array, float, LeftOut]:
        """Gram of the branch output; how many of a head's rows of weights are more than a maximum,
        sum_i (1 - P2); and what is left out."""
        at = self.at(gram, gains)
        undecided = float(self.law.grid.counts @ (1 - at.rows.one.p2))
        return gains["attn.output"] * self._mixed(at), undecided, self._left_out(at)

    def _left_out(self, at: HeadGrams) -> LeftOut:
        grid, gram, logits = self.law.grid, at.rows.gram, at.rows.logits[1]
        keys = at.rows.unit("key")[1]
        own, mixed = gram[:, -1], float(grid.counts @ at.mixed[:, -1])
        cosine = float((grid.pairs * gram).sum()) / (grid.tokens * float(grid.counts @ own))
        return LeftOut(
            linear=float(grid.counts @ at.linear[:, -1]) / mixed if mixed else 0.0,
            logits=float((logits * (grid.key_means @ keys)).max()),
            unlike=float(keys.max() / keys.min()) - 1,
            turned=0.0 if self.law.rotary is None else cosine**2,
        )

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
            g = g / (at.rows.gain("value") * scales(at.mixed))
        found = {
            "query": at.rows.gain("value") * at.at_queries(g, pair_variance + self.law.latents.fresh("key")),
            "key": at.rows.gain("value") * at.at_keys(g),
            "value": at.at_values(g),
        }
        norms: dict[str, float] = {}
        stream, front, latents = np.zeros_like(gram), self.width**2, self.law.latents

        def squared(name: str, read: Array, v: float) -> float:
            if name != "key":
                return front * float((pairs * read * found[name]).sum())
            more = at.rows.gain("value") * at.key_correlations(g, read, v)
            if self.law.rotary is None:  # gradients at keys have no token mean
                read = read - float((pairs * read).sum()) / self.law.grid.tokens**2
            return front * (float((pairs * read * found[name]).sum()) + more)

        for name, moments in found.items():
            own, back = gains[f"attn.{name}"], at.rows.before_norm(name)
            stream = stream + own * back * moments
            norm = squared(name, back * gram, pair_variance)
            if latents.of(name) is not None:
                norms[down(name)] = norms.get(down(name), 0.0) + own / gains[down(name)] * norm
                v = pair_variance + latents.fresh(name)
                norm = latents.share(name, self.width) * squared(name, at.rows.read(name), v)
            norms[f"attn.{name}"] = norm
        norms["attn.output"] = self.breadth * front * float((pairs * self._mixed(at) * grad).sum())
        return stream, norms

    def _mixed(self, at: HeadGrams) -> Array:
        """Gram of the mixed values, behind the inner norm where there is one."""
        return at.mixed / scales(at.mixed) if self.inner_norm else at.rows.gain("value") * at.mixed


@dataclass(frozen=True)
class HeadGrams:
    """Grams in front of and behind the heads, at gain 1 of values, (m, m + 1)."""

    rows: PositionRows

    @cached_property
    def mixed(self) -> Array:
        """Gram of the mixed values at gain 1, (m, m + 1)."""
        values, grid = self.rows.values, self.rows.law.grid
        weights = self.rows.mean_weights
        own = joined(
            np.zeros_like(values.p),
            self.rows.open_values * self.rows.one.value_bias / self.rows.law.read_width,
        )
        return (
            doubled(weights @ values.p @ weights.T + values.level)
            + doubled(grid.both_rows(values.single)) * self.rows.peaks
            + doubled(values.apart(np.ones(len(values.p)))) * (self.rows.peaks - 1)
            + self.linear
            + own
        )

    @cached_property
    def linear(self) -> Array:
        """L a S, the part of ``mixed`` that is linear in how alike a row's keys are, (m, m + 1)."""
        return joined(*self.rows.logits) * self.rows.left * self.rows.spread

    def at_queries(self, grad: Array, pair_variance: float) -> Array:
        """Gradient Gram at the queries from ``grad`` behind the head, with V."""
        values, keys, grid = self.rows.values, self.rows.keys, self.rows.law.grid
        single = grid.both_rows(values.single * keys.single)
        crossed = values.apart(keys.single) + keys.apart(values.single)
        open_ = self.rows.open_values * self.rows.open_keys
        closed = 1 - self.rows.one.p2
        random = joined(
            np.sqrt(np.outer(open_, open_)) * np.outer(closed, closed) * pair_variance,
            open_ * (self.rows.one.query * (self._growth**2 - 1) + self.rows.one.chance * pair_variance),
        )
        one = doubled(single) * self.rows.jacobians + doubled(crossed) * self.rows.smooth_jacobians
        read = one + self.rows.left * self.rows.mean_spread + random
        return self._turned_back(self.rows.logit_gradient * self.rows.gain("key") * grad * read)

    def _turned_back(self, gram: Array) -> Array:
        """Gradient Gram in front of a rotary embedding: each token's is turned by an angle of its own. That
        of two tokens falls by m of their distance; so does what two rows and two keys have in common, which
        is taken by the product of both."""
        turned = self.rows.law.turned
        return gram if turned is None else gram * joined(turned.mean, np.ones(len(gram)))

    @cached_property
    def _growth(self) -> Array:
        """Factor on J by the keys that a query picks, (m,) (T6.15)."""
        j = np.where(self.rows.one.query > 0, self.rows.one.query, 1.0)
        return np.asarray(np.exp(self.rows.one.jacobian_bias / (j * self.rows.law.read_width)))

    def at_values(self, grad: Array) -> Array:
        """Gradient Gram at the values from ``grad`` behind the head."""
        one = self._over_weights(grad * self.rows.peaks).diagonal()
        return joined(self._over_weights(grad * (1 - (self.rows.peaks - 1) * self._elsewhere)), one)

    def _over_weights(self, x: Array) -> Array:
        """sum_ik x_ik A_ij A_kl over rows, (m, m), of a Gram of rows (m, m + 1)."""
        t, p, tilt = self._row_sums, x[:, :-1], self.rows.tilt
        return np.asarray(t @ p @ t.T + self.rows.law.grid.both_keys(x[:, -1] - p.diagonal(), tilt, tilt))

    @cached_property
    def _row_sums(self) -> Array:
        """Sums over the rows that see each key of A_ij x_i, (keys, rows)."""
        return np.asarray(self.rows.law.grid.row_sums * self.rows.tilt.T)

    @cached_property
    def _elsewhere(self) -> Array:
        """s / (1 - s) with s the share of pairs of keys of two rows that are one key, (m, m + 1): what one
        key has more, pairs of two have less."""
        shared = doubled(self.rows.law.grid.shared)
        return np.divide(shared, 1 - shared, out=np.zeros_like(shared), where=shared < 1)

    def _over_weights_apart(self, x: Array) -> Array:
        """sum_ik x_ik A_ij A_kl p~_jl of the values around their means in A, (m, m)."""
        t, grid, tilt = self._row_sums, self.rows.law.grid, self.rows.tilt
        p, own = x[:, :-1], x[:, -1] - x[:, :-1].diagonal()
        means = self.rows.mean_weights @ self.rows.values.p
        one = ((t @ p) * means.T) @ t.T + grid.both_keys(own, tilt * means, tilt)
        both = means @ self.rows.mean_weights.T
        return np.asarray(
            self._over_weights(x) * self.rows.values.p + self._over_weights(x * doubled(both)) - one - one.T
        )

    def at_keys(self, grad: Array) -> Array:
        """Gradient Gram at the keys from ``grad`` behind the head."""
        grid, values, q = self.rows.law.grid, self.rows.values, self.rows.queries[1]
        size = self.rows.logit_gradient * self.rows.gain("query") * grad
        alike = size * joined(*self.rows.queries)  # L over the gain of keys
        # rows weigh one key by the cosine of their two queries, which varies from head to head
        tilted = size * joined(
            np.sqrt(np.outer(q, q)) * self.rows.two[2],
            grid.keys * self.rows.one.key * self.rows.across * self._growth * q,
        )
        # one key has more than a pair next to it by what only its own logit does
        more = alike * (self.rows.smooth_jacobians - self.rows.left) * products(np.sqrt(self.rows.alone))
        # all that arrives at a row's keys adds up to nothing
        rest = more * doubled(values.apart(np.ones(len(q)))) * (1 + self._elsewhere)
        tilted = np.divide(tilted, self.rows.others, out=np.zeros_like(tilted), where=self.rows.others > 0)
        smooth = self._over_weights_apart(alike * self.rows.left) - self._in_means(tilted)
        one = values.single * self._over_weights(tilted).diagonal()
        one = one + (smooth + self._over_weights_apart(more)).diagonal()
        return self._turned_back(joined(smooth - self._over_weights(rest), one))

    def _in_means(self, x: Array) -> Array:
        """What single values have less around their means in A, so that the keys of each row add up to
        nothing, (m, m): sum_ik x_ik A_ij A_kl {dv_j A_kj + dv_l A_il - sum_h dv_h A_ih A_kh}."""
        grid, tilt, single = self.rows.law.grid, self.rows.tilt, self.rows.values.single
        p, own = x[:, :-1], x[:, -1] - x[:, :-1].diagonal()
        one = grid.both_keys(np.ones(len(p)), tilt * (self._row_sums @ p).T, tilt)
        one = single[:, None] * (one + grid.both_keys(own / grid.keys, tilt**2, tilt))
        return np.asarray(one + one.T - self._over_weights(x * doubled(grid.both_rows(single))))

    def key_correlations(self, grad: Array, read: Array, pair_variance: float) -> float:
        """Addition of V and of keys that queries pick to the squared gradient, over d^2, of a matrix of keys
        in front of which the Gram is ``read``."""
        grid, (p, q) = self.rows.law.grid, self.rows.queries
        open_ = self.rows.open_values * open_share(grid, read[:, :-1], read[:, -1])
        closed, growth = 1 - self.rows.one.p2, self._growth
        both = p * np.sqrt(np.outer(open_, open_)) * np.outer(closed, closed) * pair_variance
        one = q * open_ * (self.rows.one.query * growth * (growth - 1) + self.rows.one.chance * pair_variance)
        size = self.rows.logit_gradient * self.rows.gain("query")
        return float((size * grid.pairs * grad * joined(both, one)).sum())
