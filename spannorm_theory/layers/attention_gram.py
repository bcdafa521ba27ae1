r"""Attention of any mask and logit scale on token Grams, by sampled heads.

Given the token Gram X of the branch input, the queries and keys of one head are Gaussian: with
R R^T = X and standard normal arrays Xi of shape (tokens, head width), a head is one draw of

    Q = sqrt(s_Q) R Xi_Q,   K = sqrt(s_K) R Xi_K,   A = softmax(mask(Q K^T / sqrt(d_h)))

(head norms act on the rows of Q and K). That is the law of a head in a wide stream at its own head
width d_h, the bias of the keys along the query that reads them included. Means over the values and over
the gradient are in closed form. With V the Gram of the values, G that of the gradient behind the head
(s_O times that at the branch output), M_i = diag(A_i) - A_i A_i^T the softmax Jacobian of row i,
Khat = K K^T / d_h, Qhat alike, and "o" the element-wise product, the Grams are

    output         s_O E[A V A^T]
    at the values  E[A^T G A]
    at the queries G o E[F],  F_ik = tr(M_i V M_k Khat)
    at the keys    E sum_ik H_ik M_i V M_k,  H = Qhat o G

Since M_i 1 = 0, V and K enter centred over tokens in the last two, and so does X in the keys' weight
gradient (without rotations), which keeps the vanishing of these paths under rank collapse accurate.

(:mod:`.softmax_gradients`). Rotary embedding turns queries and keys at their positions and the gradients that
arrive there back. Logits over d_h instead of its root scale queries' and keys' gradients alike. Heads that
share keys and values have the same averages (:mod:`.attention`). Dropout of the weights adds, with
e = p / (1 - p), e sum_j A_ij^2 V_jj to the output's diagonal and e sum_i A_ij^2 G_ii to that at the values.

Finite width: values are read from the same d coordinates as keys, whose sample covariances over d and
then d_h coordinates make up Khat. So given the keys, the values' Gram is not s_V X but, off its diagonal,

    V = s_V [(1 - w) X + w Khat / s_K],   w = d_h / (d + d_h)

(least squares), with a diagonal that a norm fixes: the part that is not seen through the keys is
rescaled for each token to keep it. In a stack, X itself differs from network to network: the variance V_x of
its entries off the token mean is 1/d and more (:mod:`spannorm_theory.prediction.pair_variance`). With the
covariances of a Wishart matrix, V_x (X_ac X_bd + X_ad X_bc), it adds V_x t t^T to F, t_i = tr(M_i V): (V_x -
1/d) t t^T for the queries, whose keys and values share the 1/d already, and all of it in the keys' weight
gradient, which reads X twice; under rotation the terms of t keep their keys' angles (left out for queries).

A norm on queries or keys takes from each token's gradient what points along it: of a query
z_i M_i V M_i z_i^T / d_h with its logits z_i, of a key sum_ik G_ik z_ij z_kj (M_i V M_k)_jj / d_h. As weights
follow logits, these exceed the 1/d_h of a random direction, and for keys add up over the rows that read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.head_norm import HeadNorm
from .rotary import hidden, rotated
from .softmax_gradients import (
    diagonal,
    dropout_grams,
    grams,
    mean_columns,
    mean_rows,
    root,
    rotated_grams,
    second_moments,
    tokens_centred,
    transposed,
)

Gains = Mapping[str, float]

#: a row of attention weights whose largest leaves less than this to the others is one maximum: its
#: Jacobian's second moments are below rounding
DECIDED = 1e-8


@dataclass(frozen=True)
class SampledAttention:
    """Gram maps of one attention branch.

    ``noise`` is standard normal, (2, heads, tokens, head width), for Xi_Q and Xi_K; each head is used
    with both signs of its logits.

    Attributes:
        normed: which of "query", "key", "value" carry a norm over each head.
        norm: "rms" or "layer", the kind of that norm.
        head_norm: its kernel.
        inner_norm: whether a norm stands in front of the output projection.
        window: how many tokens a token sees under the causal mask; None for all.
        rope: whether queries and keys are rotated by their positions.
        logit_factor: 1, or 1/d_h for logits that are divided by the head width instead of its root.
        over_width: the norms run over all heads; ``head_norm`` is then that of the whole width.
        dropout: rate of dropout on attention weights.
    """

    width: int
    causal: bool
    normed: tuple[str, ...]
    norm: str
    head_norm: HeadNorm | None
    inner_norm: bool = False
    window: int | None = None
    rope: bool = False
    logit_factor: float = 1.0
    over_width: bool = False
    dropout: float = 0.0

    def forward(self, gram: Array, gains: Gains, noise: Array) -> tuple[Array, float]:
        """Token Gram of the branch output from that of its input, (tokens, tokens) both; and how many of a
        head's rows of weights are more than a maximum, E sum_i (1 - sum_j A_ij^2)."""
        keys, _, _, a = self._heads(gram, gains, noise)
        mixed = self._mixed(keys, a, gram, gains)
        undecided = len(gram) - float(np.einsum("shij,shij->", a, a)) / (2 * len(keys))
        return gains["attn.output"] * self._normed(mixed), undecided

    def _mixed(self, keys: Array, a: Array, gram: Array, gains: Gains) -> Array:
        """Gram of the mixed values."""
        values = self._values(keys, gram, gains)
        mixed = mean_rows(a @ values, a)
        if self.dropout:
            alone = a**2 @ diagonal(values)[..., None]
            mixed = mixed + np.diag(self._alone * alone.mean(axis=(0, 1))[:, 0])
        return _symmetric(mixed)

    def _normed(self, mixed: Array) -> Array:
        return mixed / _scale(mixed) if self.inner_norm else mixed

    def backward(
        self,
        gram: Array,
        output: Array,
        grad: Array,
        gains: Gains,
        noise: Array,
        spread: float,
        random: np.random.Generator | None = None,
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the branch input, and E |dLoss/dW|_F^2 of each matrix.

        Args:
            gram, output: token Grams of the branch input and output.
            grad: token Gram of the gradient at the branch output.
            spread: V_x, at least 1/d.
            random: draws values and gradients under rotary embedding.
        """
        plain, queries, keys, weights = self._heads(gram, gains, noise)
        # rows that are one maximum have no Jacobian; the expansions would leave their rounding errors
        a = weights * (1 - weights.max(axis=-1, keepdims=True) > DECIDED)
        values, g = self._values(plain, gram, gains), gains["attn.output"] * grad
        if self.inner_norm:
            g = g / _scale(self._mixed(plain, weights, gram, gains))
        at_values = mean_columns(weights, g @ weights)
        if self.dropout:
            alone = g.diagonal() @ np.square(weights).mean(axis=(0, 1))
            at_values = at_values + np.diag(self._alone * alone)
        at_queries, at_keys = self._paths(a, values, queries, keys, g, random)
        if not self.rope:
            at_queries = at_queries + (spread - 1 / self.width) * g * self._answers(a, values, gram, gains)
        at_output = {"query": at_queries, "key": at_keys, "value": at_values}
        if self.head_norm is not None and self.norm_per_head:
            m = self.head_norm.size
            for name in sorted({"query", "key"} & set(self.normed)):
                found = at_output[name] * (keys.shape[-1] / m)  # LayerNorm: fewer coordinates are free
                along = self._along(name, a, _centred(values), queries, keys, g) / m
                # the isotropic share is in the norm's kernel
                at_output[name] = found + np.diag((found.diagonal() / m - along) / (1 - 1 / m))
        stream, norms = np.zeros_like(gram), {}
        for name, found in at_output.items():
            back = self._before_norm(name, gram, gains)
            stream += gains[f"attn.{name}"] * back * found
            # gradients at keys have no token mean, unless each is turned by an angle of its own
            read = _centred(back * gram) if name == "key" and not self.rope else back * gram
            norms[f"attn.{name}"] = self.width**2 * float((read * found).sum())
        twice = self._read_twice(a, _centred(values), queries, gram, gains)
        norms["attn.key"] += self.width**2 * spread * float((g * twice).sum())
        # a projection that starts at zero has a gradient, but no output to tell what it reads
        read = (
            output / gains["attn.output"]
            if gains["attn.output"]
            else self._normed(self._mixed(plain, weights, gram, gains))
        )
        norms["attn.output"] = self.width**2 * float((read * grad).sum())
        return _symmetric(stream), norms

    @property
    def _alone(self) -> float:
        """p / (1 - p) of the weights' dropout."""
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
        keys = tokens_centred(keys)
        sizes = self._alone * diagonal(values) if self.dropout else None
        if self.rope:
            assert random is not None
            found = rotated_grams(a, values, queries, keys, grad, random, sizes)
        else:
            found = grams(a, _centred(values), queries, keys, grad)
            if sizes is not None:
                more = dropout_grams(a, sizes, queries, keys, grad)
                found = found[0] + more[0], found[1] + more[1]
        return self.logit_factor * found[0], self.logit_factor * found[1]

    @property
    def norm_per_head(self) -> bool:
        """Whether norms on queries and keys hold each head to a sphere."""
        return bool(self.normed) and not self.over_width

    def _along(self, name: str, a: Array, values: Array, queries: Array, keys: Array, grad: Array) -> Array:
        """d_h times what a query's or key's gradient has along it, (tokens,)."""
        z = queries @ transposed(keys) * np.sqrt(self.logit_factor / keys.shape[-1])
        y = a * z
        if name == "query":
            y = y - a * y.sum(axis=-1, keepdims=True)
            return np.asarray(grad.diagonal() * ((y @ values) * y).sum(axis=-1).mean(axis=(0, 1)))
        av = a @ values
        b = av @ transposed(a)
        along = (diagonal(values)[:, None] * y - 2 * av * y) * (grad @ y) + ((grad * b) @ y) * y
        return np.asarray(along.sum(axis=-2).mean(axis=(0, 1)))

    def _answers(self, a: Array, values: Array, gram: Array, gains: Gains) -> Array:
        """t t^T, in units of what queries receive."""
        key, value = (self._projected(name, gram, gains) for name in ("key", "value"))
        centred = _centred(values)
        t = (a * (diagonal(centred)[:, None, :] - a @ centred)).sum(axis=-1).reshape(-1, len(gram))
        return np.asarray(self.logit_factor * (t.T @ t / len(t)) * key.trace() / value.trace())

    def _read_twice(self, a: Array, values: Array, queries: Array, gram: Array, gains: Gains) -> Array:
        """t_i t_k q_i.q_k / d_h, in units of what the keys' weight gradient reads."""
        query, key, value = (self._projected(name, gram, gains) for name in ("query", "key", "value"))
        at_keys = a * (diagonal(values)[:, None, :] - a @ values)
        if self.rope:
            # sum_j t_ij R_{i-j} q_i: R_j^T of the rotated query, coordinate pair by coordinate pair
            ones = np.ones((a.shape[-1], queries.shape[-1] // 2))
            turns = rotated(np.concatenate([ones, np.zeros_like(ones)], axis=-1))
            cos, sin = np.split(at_keys @ turns, 2, axis=-1)
            first, second = np.split(queries, 2, axis=-1)
            t = np.concatenate([first * cos + second * sin, second * cos - first * sin], axis=-1)
            twice = mean_rows(t, t) / t.shape[-1]
        else:
            t = at_keys.sum(axis=-1).reshape(-1, len(gram))
            twice = query * (t.T @ t / len(t))
        return np.asarray(self.logit_factor * twice * key.trace() / value.trace() / gains["attn.key"])

    def _heads(self, gram: Array, gains: Gains, noise: Array) -> tuple[Array, Array, Array, Array]:
        """Keys as they are, then queries and keys as the logits read them, (heads, tokens, head width);
        weights, (2, heads, tokens, tokens)."""
        factor = root(gram)
        queries, keys = (
            self._normalised(name, np.sqrt(gains[f"attn.{name}"]) * (factor @ xi), gram, gains)
            for name, xi in zip(("query", "key"), noise, strict=True)
        )
        plain = keys
        if self.rope:
            queries, keys = rotated(queries), rotated(keys)
        logits = queries @ transposed(tokens_centred(keys)) * np.sqrt(self.logit_factor / queries.shape[-1])
        unseen = hidden(len(gram), self.causal, self.window)
        return plain, queries, keys, _softmax(np.stack([logits, -logits]), unseen)

    def _values(self, keys: Array, gram: Array, gains: Gains) -> Array:
        """Gram of the values given the keys, (heads, tokens, tokens)."""
        w = keys.shape[-1] / (self.width + keys.shape[-1])
        mean = self._projected("value", gram, gains)
        size = mean.diagonal()
        ratio = np.sqrt(w * size / self._projected("key", gram, gains).diagonal())
        seen = second_moments(ratio[:, None] * keys)
        rest = np.sqrt(np.maximum(1 - diagonal(seen) / size, 0))
        return np.asarray(seen + rest[:, :, None] * mean * rest[:, None, :])

    def _normalised(self, name: str, x: Array, gram: Array, gains: Gains) -> Array:
        if name not in self.normed:
            return x
        if self.over_width:  # the other heads' coordinates fix the norm
            return np.asarray(x / np.sqrt(gains[f"attn.{name}"] * gram.diagonal())[:, None])
        if self.norm == "layer":
            x = x - x.mean(axis=-1, keepdims=True)
        return np.asarray(x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True)))

    def _projected(self, name: str, gram: Array, gains: Gains) -> Array:
        """Gram of queries, keys or values per coordinate, behind their norm."""
        if name not in self.normed or self.head_norm is None:
            return gains[f"attn.{name}"] * gram
        return np.asarray(self.head_norm.value(gram / _scale(gram)))

    def _before_norm(self, name: str, gram: Array, gains: Gains) -> Array | float:
        """From the gradient Gram behind a projection's norm to that in front of it."""
        if name not in self.normed or self.head_norm is None:
            return 1.0
        scale = _scale(gram)
        return np.asarray(self.head_norm.slope(gram / scale) / (gains[f"attn.{name}"] * scale))


def _softmax(logits: Array, unseen: Array | None) -> Array:
    if unseen is not None:
        logits = np.where(unseen, -np.inf, logits)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=float)


def _centred(x: Array) -> Array:
    """P x P, P the projection off the token mean, for symmetric x."""
    return tokens_centred(transposed(tokens_centred(x)))


def _symmetric(x: Array) -> Array:
    return (x + x.T) / 2


def _scale(gram: Array) -> Array:
    root = np.sqrt(gram.diagonal())
    return np.outer(root, root)
