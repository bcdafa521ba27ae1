r"""Squared gradients of the matrices of queries, keys and values of exchangeable tokens (T6.11, T6.19).

They are (T4.3) with the gradients of :meth:`.attention.Attention.backward`, and see sample correlations that
those of the stream do not (T6.15): they read the tokens' Gram once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from .attention_input import AttentionInput
from .latents import down


def projection_grads(
    at: AttentionInput,
    width: int,
    output: Any,
    pair_variance: Any,
    grad: Array,
    maps: Mapping[str, Array],
) -> dict[str, Array]:
    """Squared gradient E |dLoss/dW|_F^2 of each projection's matrix, and of those in front of latents, by
    name; (layers,).

    Args:
        width: d.
        output: what the gradient at the branch's output is multiplied by on its way to the heads.
        pair_variance: V (T9.1).
        grad: (gamma, c) at the branch output, (layers, 2).
        maps: of it to the output of each projection.
    """
    latents = at.latents
    own = _squares(at, True, 1.0, output, pair_variance, grad, maps)
    found = {f"attn.{name}": width**2 * latents.share(name, width) * x for name, x in own.items()}
    if not latents.names:
        return found
    through = _squares(at, False, at.width / width, output, pair_variance, grad, maps)
    for name in latents.names:
        gain = at.gains[f"attn.{name}"] / at.gains[down(name)]
        found[down(name)] = found.get(down(name), 0.0) + width**2 * gain * through[name]
    return found


def leaning(at: AttentionInput, grad: Array) -> Array:
    """Part of the gradient that rows biased towards similar keys see, over the second moment of a value."""
    common = (at.rows.keys - 1) * (1 - at.drop)
    return np.asarray(at.value_bias * (grad[:, 0] + common * grad[:, 1]))


def _squares(
    at: AttentionInput,
    inner: bool,
    lean: float,
    output: Any,
    pair_variance: Any,
    grad: Array,
    maps: Mapping[str, Array],
) -> dict[str, Array]:
    """Squared gradients of the matrices of queries, keys and values by name, over d^2 and for d inputs; or,
    if not ``inner``, of those in front of their latents, times their gain over that of the own matrix.
    ``lean`` is the bias of what they read, over that of what keys and values do."""
    n = at.rows.keys
    p2, _, j, *_, mean = at.overlaps
    result = {}
    for name in ("query", "value"):
        one, two = np.einsum("lij,lj->il", maps[f"attn.{name}"], grad)
        q, delta, to_one, to_two, _ = at.reading(name, inner)
        result[name] = n * (q * one * to_one + (n - 1) * (q - delta) * two * to_two)
    q_v, delta_v = at.projected("value")
    q_q, _ = at.projected("query")
    _, delta_k = at.projected("key")
    q, _, to_one, *_ = at.reading("query", inner)
    size = at.logit_gradient * output * delta_k * delta_v * to_one * q
    result["query"] = result["query"] + n * size * (n - 1) * at.turning(pair_variance, inner) * grad[:, 1]
    q, delta, _, to_two, fall = at.reading("key", inner)
    # the token mean of the gradient at keys vanishes, or nearly: no cancellation where tokens collapse
    apart = n * (delta * to_two + q * fall)
    at_keys = np.einsum("lj,lj->l", maps["attn.key"][:, 0], grad)
    size = at.logit_gradient * output * q_q
    left = size * (delta_v + at.masked * q_v) * at.jacobian_growth * at.drop * mean * grad[:, 0]
    common = n * (q - delta) * to_two
    growth, v = at.jacobian_growth, pair_variance + inner * at.latents.fresh("key")
    own = j * growth * (growth - 1) + at.chance * v
    others = (1 - p2) ** 2 * v * (n - 1) * (1 - at.drop)
    twice = size * delta_v * (own * grad[:, 0] + others * grad[:, 1])
    result["key"] = apart * (at_keys + twice) + common * left
    # rows biased towards similar keys add to what values receive, as to what they give
    q, _, to_one, *_ = at.reading("value", inner)
    result["value"] = result["value"] + n * output * to_one * q * lean * leaning(at, grad)
    return result
