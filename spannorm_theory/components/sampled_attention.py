r"""Attention of any mask and logit scale on token Grams, by sampled heads.

Given the token Gram X of the branch input, the queries and keys of one head are Gaussian: with
R R^T = X and standard normal arrays Xi of shape (tokens, head width), a head is one draw of

    Q = sqrt(s_Q) R Xi_Q,   K = sqrt(s_K) R Xi_K,   A = softmax(mask(Q K^T / sqrt(d_h)))

(head norms act on the rows of Q and K). That is the law of a head in a wide stream at its own head
width d_h, the lean of the keys along the query that reads them included. Means over the values and over
the gradient are in closed form. With V the Gram of the values, G that of the gradient behind the head
(s_O times that at the branch output), M_i = diag(A_i) - A_i A_i^T the softmax Jacobian of row i,
Khat = K K^T / d_h, Qhat alike, and "o" the element-wise product, the Grams are

    output         s_O E[A V A^T]
    at the values  E[A^T G A]
    at the queries G o E[F],  F_ik = tr(M_i V M_k Khat):  F = S + S^T + B o (A Khat A^T),
                   S = (A (V o Khat) / 2 - (A V) o (A Khat)) A^T,  B = A V A^T
    at the keys    E sum_ik H_ik M_i V M_k,  H = Qhat o G:  V o (A^T H A) + U + U^T,
                   U = A^T ((H o B) A / 2 - (A V) o (H A))

Since M_i 1 = 0, V and K enter centred over tokens in the last two, and so does X in the keys' weight
gradient, which keeps the vanishing of these paths under rank collapse accurate.

Finite width: values are read from the same d coordinates as keys, whose sample covariances over d and
then d_h coordinates make up Khat. So given the keys, the values' Gram is not s_V X but, off its diagonal,

    V = s_V [(1 - w) X + w Khat / s_K],   w = d_h / (d + d_h)

(least squares), with a diagonal that a norm fixes: the part that is not seen through the keys is
rescaled for each token to keep it. In a stack, X itself differs from network to network: the variance V_x of
its entries off the token mean is 1/d and more (:mod:`spannorm_theory.theory.spread`). With the covariances
of a Wishart matrix, V_x (X_ac X_bd + X_ad X_bc), it adds V_x t t^T to F, t_i = tr(M_i V): (V_x - 1/d) t t^T
for the queries, whose keys and values share the 1/d already, and all of it in the keys' weight
gradient, which reads X twice.

A norm on queries or keys takes from each token's gradient what points along it: of a query
z_i M_i V M_i z_i^T / d_h with its logits z_i, of a key sum_ik G_ik z_ij z_kj (M_i V M_k)_jj / d_h. As weights
follow logits, these exceed the 1/d_h of a random direction, and for keys add up over the rows that read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .kernels import Array
from .norms import HeadNorm

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
    """

    width: int
    causal: bool
    normed: tuple[str, ...]
    norm: str
    head_norm: HeadNorm | None

    def forward(self, gram: Array, gains: Gains, noise: Array) -> tuple[Array, float]:
        """Token Gram of the branch output from that of its input, (tokens, tokens) both; and how many of a
        head's rows of weights are more than a maximum, E sum_i (1 - sum_j A_ij^2)."""
        _, keys, a = self._heads(gram, gains, noise)
        mixed = _mean_rows(a @ self._values(keys, gram, gains), a)
        undecided = len(gram) - float(np.einsum("shij,shij->", a, a)) / (2 * len(keys))
        return gains["attn.output"] * _symmetric(mixed), undecided

    def backward(
        self, gram: Array, output: Array, grad: Array, gains: Gains, noise: Array, spread: float
    ) -> tuple[Array, dict[str, float]]:
        """Gradient Gram at the branch input, and E |dLoss/dW|_F^2 of each matrix.

        Args:
            gram, output: token Grams of the branch input and output.
            grad: token Gram of the gradient at the branch output.
            spread: V_x, at least 1/d.
        """
        queries, keys, weights = self._heads(gram, gains, noise)
        # rows that are one maximum have no Jacobian; the expansions would leave their rounding errors
        a = weights * (1 - weights.max(axis=-1, keepdims=True) > DECIDED)
        at = _transposed(a)
        values = _centred(self._values(keys, gram, gains))
        khat, qhat = _second_moments(_tokens_centred(keys)), _second_moments(queries)
        g = gains["attn.output"] * grad
        h = qhat * g
        av, ak, ha = a @ values, a @ khat, h @ a
        b = av @ at
        s = _mean_rows(a @ (values * khat / 2) - av * ak, a)
        u = _mean_columns(a, (h * b / 2) @ a - av * ha)
        query, key, value = (self._projected(name, gram, gains) for name in ("query", "key", "value"))
        t = ((a @ _diagonal(values)[..., None])[..., 0] - _diagonal(b)).reshape(-1, len(gram))
        shared = t.T @ t / len(t) * key.trace() / value.trace()
        at_output = {
            "query": g * (s + s.T + (b * (ak @ at)).mean(axis=(0, 1)) + (spread - 1 / self.width) * shared),
            "key": (values * (at @ ha)).mean(axis=(0, 1)) + u + u.T,
            "value": _mean_columns(weights, g @ weights),
        }
        for name in sorted({"query", "key"} & set(self.normed)):
            z = queries @ _transposed(keys) / np.sqrt(keys.shape[-1])
            if name == "query":
                y = a * z - a * (a * z).sum(axis=-1, keepdims=True)
                along = g.diagonal() * ((y @ values) * y).sum(axis=-1).mean(axis=(0, 1))
            else:
                y = a * z
                along = (_diagonal(values)[:, None] * y - 2 * av * y) * (g @ y) + ((g * b) @ y) * y
                along = along.sum(axis=-2).mean(axis=(0, 1))
            # the isotropic share is in the norm's kernel
            at_output[name] -= np.diag(along - at_output[name].diagonal()) / keys.shape[-1]
        stream, norms = np.zeros_like(gram), {}
        for name, found in at_output.items():
            back = self._before_norm(name, gram, gains)
            stream += gains[f"attn.{name}"] * back * found
            read = _centred(back * gram) if name == "key" else back * gram
            norms[f"attn.{name}"] = self.width**2 * float((read * found).sum())
        norms["attn.key"] += self.width**2 * spread * float((query * g * shared).sum() / gains["attn.key"])
        norms["attn.output"] = self.width**2 * float((output * grad).sum() / gains["attn.output"])
        return _symmetric(stream), norms

    def _heads(self, gram: Array, gains: Gains, noise: Array) -> tuple[Array, Array, Array]:
        """Queries and keys, (heads, tokens, head width); weights, (2, heads, tokens, tokens)."""
        root = _root(gram)
        queries, keys = (
            self._normalised(name, np.sqrt(gains[f"attn.{name}"]) * (root @ xi))
            for name, xi in zip(("query", "key"), noise, strict=True)
        )
        logits = queries @ _transposed(_tokens_centred(keys)) / np.sqrt(queries.shape[-1])
        return queries, keys, _softmax(np.stack([logits, -logits]), self.causal)

    def _values(self, keys: Array, gram: Array, gains: Gains) -> Array:
        """Gram of the values given the keys, (heads, tokens, tokens)."""
        w = keys.shape[-1] / (self.width + keys.shape[-1])
        mean = self._projected("value", gram, gains)
        size = mean.diagonal()
        ratio = np.sqrt(w * size / self._projected("key", gram, gains).diagonal())
        seen = _second_moments(ratio[:, None] * keys)
        rest = np.sqrt(np.maximum(1 - _diagonal(seen) / size, 0))
        return np.asarray(seen + rest[:, :, None] * mean * rest[:, None, :])

    def _normalised(self, name: str, x: Array) -> Array:
        if name not in self.normed:
            return x
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


def _root(gram: Array) -> Array:
    """Cholesky factor; the diagonal is raised by what rounding may take from a collapsed Gram."""
    floor = len(gram) * np.finfo(float).eps
    return np.asarray(np.linalg.cholesky(gram + np.diag(floor * gram.diagonal())), dtype=float)


def _softmax(logits: Array, causal: bool) -> Array:
    if causal:
        hidden = np.triu(np.ones(logits.shape[-2:], dtype=bool), 1)
        logits = np.where(hidden, -np.inf, logits)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True), dtype=float)


def _mean_rows(left: Array, right: Array) -> Array:
    """Mean over heads of L R^T, as one matrix product."""
    joined = [np.moveaxis(x, -2, 0).reshape(x.shape[-2], -1) for x in (left, right)]
    return np.asarray(joined[0] @ joined[1].T * (left.shape[-1] / joined[0].shape[-1]))


def _mean_columns(left: Array, right: Array) -> Array:
    """Mean over heads of L^T R, as one matrix product."""
    joined = [x.reshape(-1, x.shape[-1]) for x in (left, right)]
    return np.asarray(joined[0].T @ joined[1] * (left.shape[-2] / len(joined[0])))


def _second_moments(x: Array) -> Array:
    """x x^T over the coordinates of a head."""
    return np.asarray(x @ _transposed(x) / x.shape[-1])


def _tokens_centred(x: Array) -> Array:
    return np.asarray(x - x.mean(axis=-2, keepdims=True))


def _centred(x: Array) -> Array:
    """P x P, P the projection off the token mean, for symmetric x."""
    return _tokens_centred(_transposed(_tokens_centred(x)))


def _transposed(x: Array) -> Array:
    return x.swapaxes(-1, -2)


def _diagonal(x: Array) -> Array:
    return x.diagonal(axis1=-2, axis2=-1)


def _symmetric(x: Array) -> Array:
    return (x + x.T) / 2


def _scale(gram: Array) -> Array:
    root = np.sqrt(gram.diagonal())
    return np.outer(root, root)
