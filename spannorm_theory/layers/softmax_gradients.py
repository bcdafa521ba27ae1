r"""Gradients behind the softmax: from values and upstream gradient to queries and keys, averaged (T10.2).

With G_V the Gram of a head's values and Gamma that of the gradient behind the head, D = g V^T is Gaussian
with covariance Gamma_ik G_V,jl, and the gradient at the logits of row i is M_i D_i with M_i = diag(A_i) -
A_i A_i^T. Those at queries and keys, sum_j (M_i D_i)_j k_j and sum_i (M_i D_i)_j q_i over sqrt(d_h), have the
Grams

    at the queries  Gamma o F,  F_ik = tr(M_i G_V M_k Khat)
    at the keys     sum_ik H_ik M_i G_V M_k,  H = Qhat o Gamma

with Khat = K K^T / d_h and Qhat alike, which :func:`grams` sums in closed form. Under dropout of weights G_V
becomes G_V + e diag(G_V) where i = k (:func:`dropout_grams`).

Rotary embedding turns what arrives at token i back by its angle. The Grams then depend on distances
frequency by frequency, d_h / 2 closed sums; instead D is drawn as g w^T with few g and w of covariances Gamma
and G_V (:func:`rotated_grams`). The token mean of g is its own exact column, as it dominates some losses.

Arrays: A (signs, heads, n, n); G_V, Khat, Qhat, K, Q (heads, n, n or d_h); Gamma (n, n).
"""

from __future__ import annotations

import numpy as np

from ..gaussian.closed_forms import Array
from .rotary import Rotary, rotated

Paths = tuple[Array, Array]

#: draws of values and gradients for each head; their sampling error falls as its root
PROBES = 8


def grams(a: Array, values: Array, queries: Array, keys: Array, grad: Array) -> Paths:
    """Gradient Grams at queries and at keys, (heads, n, n); ``values``, G_V, and ``keys`` are centred over
    tokens."""
    at, khat, h = transposed(a), second_moments(keys), second_moments(queries) * grad
    av, ak, ha = a @ values, a @ khat, h @ a
    b = av @ at
    s = mean_rows(a @ (values * khat / 2) - av * ak, a)
    u = mean_columns(a, (h * b / 2) @ a - av * ha)
    at_queries = grad * (s + transposed(s) + (b * (ak @ at)).mean(axis=0))
    return at_queries, (values * (at @ ha)).mean(axis=0) + u + transposed(u)


def dropout_grams(a: Array, sizes: Array, queries: Array, keys: Array, grad: Array) -> Paths:
    """Additions of dropout to the Grams of :func:`grams`, for ``sizes`` = e G_V,jj, (heads, n).

    With E = A^2 diag(G_V) and S_i = sum_j E_ij, M_i diag(G_V) M_i = diag(E_i) - E_i A_i^T - A_i E_i^T +
    S_i A_i A_i^T.
    """
    ak = a @ keys
    e = a**2 * sizes[:, None, :]
    total = e.sum(axis=-1)
    kept = e @ np.square(keys) - 2 * (e @ keys) * ak + total[..., None] * np.square(ak)
    at_queries = diagonals(grad.diagonal() * kept.mean(axis=(0, 3)))
    h = grad.diagonal() * np.square(queries).mean(axis=-1)
    cross = mean_columns(a, h[..., None] * (total[..., None] * a / 2 - e))
    return at_queries, diagonals((h[..., None, :] @ e).mean(axis=(0, 2))) + cross + transposed(cross)


def rotated_grams(
    a: Array,
    values: Array,
    queries: Array,
    keys: Array,
    grad: Array,
    rotary: Rotary,
    random: np.random.Generator,
    sizes: Array | None = None,
    centred: bool = True,
) -> Paths:
    """Gradient Grams at queries and at keys in front of a rotation, (heads, n, n), by ``PROBES`` draws.

    Args:
        values: G_V, not centred; ``queries`` and ``keys`` are rotated.
        sizes: as in :func:`dropout_grams`; None without dropout.
        centred: whether rows add up to one, so that what all values have in common counts for nothing.
    """
    heads, n, size = keys.shape
    w = root(values) @ random.standard_normal((heads, n, PROBES))
    if centred:
        w = tokens_centred(w)
    aw = (a @ w)[..., None]
    back = (a @ _outer(w, keys)).reshape(*aw.shape[:-1], size) - aw * (a @ keys)[..., None, :]
    at_queries = grad * _gram(back, rotary)
    g = _gradients(grad, random, heads)
    gq, gawq = _outer(g, queries), _outer(g * aw[..., 0], queries)
    at = transposed(a)
    back = w[..., None] * (at @ gq).reshape(*aw.shape[:-1], size)
    at_keys = _gram(back - (at @ gawq).reshape(back.shape), rotary)
    if sizes is not None:
        at_queries = at_queries + dropout_grams(a, sizes, queries, keys, grad)[0]
        d = np.sqrt(sizes)[:, None, :] * random.standard_normal((heads, n, n))
        d = a * (d - (a * d).sum(axis=-1, keepdims=True)) * np.sqrt(grad.diagonal())[:, None]
        at_keys = at_keys + _gram((transposed(d) @ queries)[..., None, :], rotary)
    return at_queries, at_keys


def _outer(x: Array, y: Array) -> Array:
    """x_im y_ia with (m, a) joined, for (..., n, probes) and (heads, n, d_h)."""
    joined = x[..., :, None] * y[..., None, :]
    return np.asarray(joined.reshape(*joined.shape[:-2], -1))


def _gram(back: Array, rotary: Rotary) -> Array:
    """Mean Gram of each head of (signs, heads, n, probes, d_h), turned back by each token's angle."""
    turned = rotated(np.moveaxis(back, 2, 3), rotary, back=True)
    joined = turned.transpose(1, 3, 0, 2, 4).reshape(back.shape[1], back.shape[2], -1)
    return np.asarray(joined @ transposed(joined) / joined.shape[-1])


def _gradients(grad: Array, random: np.random.Generator, heads: int) -> Array:
    """(heads, n, PROBES) columns of covariance G, each with the whole token mean of it."""
    total = grad.sum()
    mean = grad.sum(axis=0) / np.sqrt(total) if total > 0 else np.zeros(len(grad))
    size, vectors = np.linalg.eigh(grad - np.outer(mean, mean))
    rest = vectors * np.sqrt(np.maximum(size, 0))
    return np.asarray(mean[:, None] + rest @ random.standard_normal((heads, len(grad), PROBES)))


def root(gram: Array) -> Array:
    """R with R R^T the Gram, (..., n, n): Cholesky's, the diagonal raised by what rounding may take from a
    collapsed Gram. Experts tell equal tokens apart by the root of what rounding leaves between them, which
    may take more: then by eigenvalues."""
    floor = gram.shape[-1] * np.finfo(float).eps * diagonal(gram)
    try:
        return np.asarray(np.linalg.cholesky(gram + floor[..., None] * np.eye(gram.shape[-1])), dtype=float)
    except np.linalg.LinAlgError:
        sizes, vectors = np.linalg.eigh(gram)
        return np.asarray(vectors * np.sqrt(np.maximum(sizes, 0))[..., None, :])


def mean_rows(left: Array, right: Array) -> Array:
    """Mean over signs of L R^T, head by head."""
    return np.asarray((left @ transposed(right)).mean(axis=0))


def mean_columns(left: Array, right: Array) -> Array:
    """Mean over signs of L^T R, head by head."""
    return np.asarray((transposed(left) @ right).mean(axis=0))


def diagonals(x: Array) -> Array:
    """Diagonal matrices of the last axis."""
    return np.asarray(x[..., None] * np.eye(x.shape[-1]))


def second_moments(x: Array) -> Array:
    """x x^T over the coordinates of a head."""
    return np.asarray(x @ transposed(x) / x.shape[-1])


def tokens_centred(x: Array) -> Array:
    """x less its mean over tokens, the second axis from the end."""
    return np.asarray(x - x.mean(axis=-2, keepdims=True))


def transposed(x: Array) -> Array:
    """The last two axes exchanged."""
    return x.swapaxes(-1, -2)


def diagonal(x: Array) -> Array:
    """Diagonals of matrices in the last two axes."""
    return x.diagonal(axis1=-2, axis2=-1)
