r"""Attention of any mask and logit scale on token Grams, by sampled heads (T10.1 to T10.3).

Of sampled heads (:mod:`.attention_heads`), with weights A, keys K and values' Gram G_V, means over values and
gradient are in closed form: with Gamma the Gram of the gradient behind the head (s_O times that at the branch
output), M_i = diag(A_i) - A_i A_i^T, Khat = K K^T / d_h, Qhat alike, and "o" the element-wise product,

    output         s_O E[A G_V A^T]
    at the values  E[A^T Gamma A]
    at the queries Gamma o E[F],  F_ik = tr(M_i G_V M_k Khat)
    at the keys    E sum_ik H_ik M_i G_V M_k,  H = Qhat o Gamma

(the last two in :mod:`.softmax_gradients`). G_V and K enter these centred over tokens, as M_i 1 = 0, which
keeps their vanishing under rank collapse accurate. Exact for wide streams at any head width; finite width to
leading order for even rows (T10.3): F and the keys' weight gradient have terms in V. Dropout of weights adds
to the diagonals of the output and of the gradient at the values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from .attention_heads import Gains, SampledHeads, token_scales
from .head_input import HeadInput
from .latents import NO_SAMPLES, Samples, down
from .matrix_grams import MatrixGrams, Reads
from .rotary import rotated
from .softmax_gradients import (
    diagonal,
    diagonals,
    dropout_grams,
    grams,
    mean_columns,
    mean_rows,
    rotated_grams,
    transposed,
)

#: share that the largest weight of a row leaves to the others, below which the row is one maximum and has no
#: gradient: its Jacobian's second moments are below rounding, which they would otherwise be made of
DECIDED = 1e-8


@dataclass(frozen=True)
class SampledAttention(SampledHeads):
    """Token Grams through one attention branch, there and back, per coordinate.

    Attributes:
        inner_norm: whether a norm stands in front of the output projection.
        dropout: p_a, the rate of dropout on attention weights.
        breadth: H d_h / d, coordinates of all heads over those of the stream.
    """

    inner_norm: bool = False
    dropout: float = 0.0
    breadth: float = 1.0

    def forward(
        self, gram: Array, gains: Gains, noise: Array, samples: Samples = NO_SAMPLES
    ) -> tuple[Array, float]:
        """Token Gram of the branch output, (tokens, tokens), from that of its input; and how many of a head's
        rows of weights are more than a maximum, E sum_i (1 - sum_j A_ij^2)."""
        at = HeadInput(gram, self.latents, samples)
        plain, _, _, a = self.draw(at, gains, noise)
        mixed = self.gain("value", gains) * self._mixed(plain, a, at, gains)
        largest = np.einsum("shij,shij->", a, a) + np.square(1 - a.sum(axis=-1)).sum()
        undecided = len(gram) - float(largest) / (2 * len(plain))
        return gains["attn.output"] * self._normed(mixed), undecided

    def _mixed(self, plain: Array, a: Array, at: HeadInput, gains: Gains) -> Array:
        """Gram of the mixed values at gain 1, E[A G_V A^T] and what dropout adds to its diagonal."""
        values = self.values(plain, at, gains)
        mixed = mean_rows(a @ values, a).mean(axis=0)
        if self.dropout:
            alone = a**2 @ diagonal(values)[..., None]
            mixed = mixed + np.diag(self._alone * alone.mean(axis=(0, 1))[:, 0])
        return _symmetric(mixed)

    def _normed(self, mixed: Array) -> Array:
        return mixed / token_scales(mixed) if self.inner_norm else mixed

    def backward(
        self,
        gram: Array,
        output: Array,
        grad: Array,
        gains: Gains,
        noise: Array,
        pair_variance: float,
        random: np.random.Generator | None = None,
        pairs: Array | float = 1.0,
        samples: Samples = NO_SAMPLES,
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the branch input, and E |dLoss/dW|_F^2 of each matrix, for the weight ``pairs`` of
        each entry of a Gram; other arguments as in :meth:`backward_grams`."""
        stream, reads = self.backward_grams(gram, output, grad, gains, noise, pair_variance, random, samples)
        return stream, {name: x.squared(pairs) for name, x in reads.items()}

    def backward_grams(
        self,
        gram: Array,
        output: Array,
        grad: Array,
        gains: Gains,
        noise: Array,
        pair_variance: float,
        random: np.random.Generator | None = None,
        samples: Samples = NO_SAMPLES,
    ) -> tuple[Array, Reads]:
        """Gradient Gram at the branch input, and the Grams on both sides of each matrix.

        Args:
            gram, output: token Grams of the branch input and output.
            grad: token Gram of the gradient at the branch output.
            pair_variance: V (T9.1), at least 1/d.
            random: source of the draws of values and gradients under rotary embedding; else it is not used.
            samples: what is drawn of latents; the heads' Grams are averaged behind their norms.
        """
        at = HeadInput(gram, self.latents, samples)
        plain, queries, keys, weights = self.draw(at, gains, noise)
        # rows that are one maximum have no Jacobian; the expansions would leave their rounding errors
        a = weights * (1 - weights.max(axis=-1, keepdims=True) > DECIDED)
        values, gain = self.values(plain, at, gains), self.gain("value", gains)
        g = gains["attn.output"] * grad
        if self.inner_norm:
            g = g / (gain * token_scales(self._mixed(plain, weights, at, gains)))
        at_values = mean_columns(weights, g @ weights)
        if self.dropout:
            alone = g.diagonal() @ np.square(weights).mean(axis=0)
            at_values = at_values + diagonals(self._alone * alone)
        at_queries, at_keys = self._paths(a, values, queries, keys, g, random)
        if self.rotary is None:
            # keys and values are read from the same coordinates, or from a latent that is drawn
            beyond = pair_variance - (1 / self.width if self.latents.keys is None else 0.0)
            at_queries = at_queries + beyond * g * self._answers(a, values, at, gains)
        at_output = {"query": gain * at_queries, "key": gain * at_keys, "value": at_values}
        if not samples:  # else they meet what each head has read
            at_output = {name: _over_heads(x) for name, x in at_output.items()}
        if self.head_norm is not None and self.norm_per_head:
            m = self.head_norm.size
            for name in sorted({"query", "key"} & set(self.normed)):
                found = at_output[name] * (keys.shape[-1] / m)  # LayerNorm: fewer coordinates are free
                along = gain * self._along(name, a, self._grams_seen(values), queries, keys, g) / m
                # the isotropic share is in the norm's kernel
                taken = 1 - np.square(1 - self.share(name, gram, gains))
                rest = taken * (found.diagonal() / m - along) / (1 - taken / m)
                at_output[name] = found + np.diag(rest)
        reads: Reads = {}
        twice = pair_variance * gain * g * self._read_twice(a, values, queries, at, gains)
        stream = np.zeros_like(gram)

        def matrix(name: str, read: Array, back: Array | float) -> MatrixGrams:
            # gradients at keys have no token mean, unless each is turned by an angle of its own
            seen = back * read
            seen = self._grams_seen(seen) if name == "key" and self.rotary is None else seen
            product = seen * at_output[name] + (twice if name == "key" else 0.0)
            sides = _over_heads(read), _over_heads(back * at_output[name])
            return MatrixGrams(self.width**2, *sides, _over_heads(product))

        for name, found in at_output.items():
            own, back = gains[f"attn.{name}"], self.before_norm(name, at, gains)
            stream += own * _over_heads(back * found)
            grams = matrix(name, gram, back)
            if self.latents.of(name) is not None:
                through = grams.scaled(own / gains[down(name)])
                reads[down(name)] = reads[down(name)] + through if down(name) in reads else through
                grams = matrix(name, at.read(name), 1.0).scaled(self.latents.share(name, self.width))
            reads[f"attn.{name}"] = grams
        # a projection that starts at zero has a gradient, but no output to tell what it reads
        read = (
            output / gains["attn.output"]
            if gains["attn.output"]
            else self._normed(gain * self._mixed(plain, weights, at, gains))
        )
        reads["attn.output"] = MatrixGrams(self.breadth * self.width**2, read, grad, read * grad)
        return _symmetric(stream), reads

    @property
    def _alone(self) -> float:
        """e = p_a / (1 - p_a), by which dropout raises second moments of weights (T6.16)."""
        return self.dropout / (1 - self.dropout)

    def _paths(
        self,
        a: Array,
        values: Array,
        queries: Array,
        keys: Array,
        grad: Array,
        random: np.random.Generator | None,
    ) -> tuple[Array, Array]:
        """Gradient Grams at queries and keys, in front of a rotation."""
        keys = self.seen(keys)
        sizes = self._alone * diagonal(values) if self.dropout else None
        if self.rotary is not None:
            assert random is not None
            found = rotated_grams(
                a, values, queries, keys, grad, self.rotary, random, sizes, centred=not self.sinks
            )
        else:
            found = grams(a, self._grams_seen(values), queries, keys, grad)
            if sizes is not None:
                more = dropout_grams(a, sizes, queries, keys, grad)
                found = found[0] + more[0], found[1] + more[1]
        return self.logit_factor * found[0], self.logit_factor * found[1]

    def _grams_seen(self, x: Array) -> Array:
        """The part of Grams that rows of weights see: off the token mean where these add up to one."""
        return self.seen(transposed(self.seen(x)))

    @property
    def norm_per_head(self) -> bool:
        """Whether norms on queries and keys hold each head to a sphere."""
        return bool(self.normed) and not self.over_width

    def _along(self, name: str, a: Array, values: Array, queries: Array, keys: Array, grad: Array) -> Array:
        """d_h times the second moment of a query's or key's gradient along it, (tokens,): (T10.3)."""
        z = queries @ transposed(keys) * np.sqrt(self.logit_factor / keys.shape[-1])
        y = a * z
        if name == "query":
            y = y - a * y.sum(axis=-1, keepdims=True)
            return np.asarray(grad.diagonal() * ((y @ values) * y).sum(axis=-1).mean(axis=(0, 1)))
        av = a @ values
        b = av @ transposed(a)
        along = (diagonal(values)[:, None] * y - 2 * av * y) * (grad @ y) + ((grad * b) @ y) * y
        return np.asarray(along.sum(axis=-2).mean(axis=(0, 1)))

    def _answers(self, a: Array, values: Array, at: HeadInput, gains: Gains) -> Array:
        """t t^T with t_i = tr(M_i G_V), (tokens, tokens), in the units of F, to which it adds V times
        (T10.3)."""
        centred = self._grams_seen(values)
        t = (a * (diagonal(centred)[:, None, :] - a @ centred)).sum(axis=-1).reshape(-1, a.shape[-1])
        size = self.logit_factor * self.gain("key", gains) * self.over_values("key", at, gains)
        return np.asarray(size * (t.T @ t / len(t)))

    def _read_twice(self, a: Array, values: Array, queries: Array, at: HeadInput, gains: Gains) -> Array:
        """t_i t_k q_i.q_k / d_h, (tokens, tokens), in the units of the keys' weight gradient over that at the
        branch output: it reads X twice, and gains V times this (T10.3). Under rotation the parts of t keep
        the angles of their keys."""
        values = self._grams_seen(values)
        at_keys = a * (diagonal(values)[:, None, :] - a @ values)
        if self.rotary is not None:
            # sum_j t_ij R_{i-j} q_i: R_j^T of the rotated query, coordinate pair by coordinate pair
            ones = np.ones((a.shape[-1], queries.shape[-1] // 2))
            turns = rotated(np.concatenate([ones, np.zeros_like(ones)], axis=-1), self.rotary)
            cos, sin = np.split(at_keys @ turns, 2, axis=-1)
            first, second = np.split(queries, 2, axis=-1)
            t = np.concatenate([first * cos + second * sin, second * cos - first * sin], axis=-1)
            twice = mean_rows(t, t).mean(axis=0) / t.shape[-1]
        else:
            t = at_keys.sum(axis=-1).reshape(-1, a.shape[-1])
            twice = self.gain("query", gains) * self.unit("query", at, gains) * (t.T @ t / len(t))
        in_front = 1 / gains["attn.key"] if "key" in self.normed else 1.0
        return np.asarray(self.logit_factor * in_front * self.over_values("key", at, gains) * twice)


def _over_heads(x: Array) -> Array:
    """Mean over heads, where there is a Gram for each."""
    return x.mean(axis=0) if x.ndim > 2 else x


def _symmetric(x: Array) -> Array:
    return (x + x.T) / 2
