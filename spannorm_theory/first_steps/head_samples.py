r"""Attention heads, drawn with their values and gradients: what its projections' steps see (T13.6).

A head hands back little but what a few weights of its rows say, so that gradients at queries and keys are no
sample of many coordinates: heads differ in size, and all of a head's columns share one draw. Heads are drawn
whole, weights A, queries Q, keys K, values V and the gradient g behind them. With f the factor on logits,

    g_V = A^T g,    g_Q = f D K,    g_K = f D^T Q,    D = A o (g V^T - its row means under A)

and a change of all three moves what the head puts out by A dV + (A o (dL - its row means under A)) V, with
dL = f (dQ K^T + Q dK^T).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.attention_gram import SampledAttention
from ..layers.head_input import HeadInput
from ..layers.latents import NO_SAMPLES
from ..layers.rotary import rotated
from ..layers.softmax_gradients import root, second_moments, tokens_centred, transposed
from .branch_changes import Change
from .head_steps import HeadStep

Gains = Mapping[str, float]

PROJECTIONS = "query", "key", "value"


class HeadSamples:
    """Heads of one branch, each with both signs of its logits.

    Args:
        attention, gains: the branch.
        gram: Gram of its input.
        noise: random numbers of queries and keys.
        heads: how many a network has: as many are drawn, or more, of which some share queries and keys.
        random: those of values, gradients and changes.
        grad: Gram of the gradient behind the heads.
    """

    def __init__(
        self,
        attention: SampledAttention,
        gains: Gains,
        gram: Array,
        noise: Array,
        heads: int,
        random: np.random.Generator,
        grad: Array,
    ) -> None:
        self._attention, self._gains, self._gram, self._grad = attention, gains, gram, grad
        self._random = random
        at = HeadInput(gram, attention.latents, NO_SAMPLES)
        plain, queries, keys, weights = attention.draw(at, gains, noise)
        again = -(-heads // (2 * len(queries)))
        self._weights = np.concatenate([weights] * again)
        self._size = queries.shape[-1]
        self._factor = np.sqrt(attention.logit_factor / self._size)
        self._queries, self._keys = np.stack([queries, -queries] * again), attention.seen(keys)
        self._values_gram = attention.gain("value", gains) * attention.values(plain, at, gains)
        self._values = root(self._values_gram) @ random.standard_normal(self._queries.shape)
        if "value" in attention.normed:
            self._values /= np.sqrt(np.square(self._values).mean(axis=-1, keepdims=True))
        self._behind = root(grad) @ random.standard_normal(self._queries.shape)
        self._sides = {"query": self._turned(self._queries), "key": self._turned(keys), "value": self._values}

    @cached_property
    def gradients(self) -> dict[str, Array]:
        """Gradients at each projection, in front of its norm; (2, heads, tokens, head width)."""
        a, g = self._weights, self._behind
        at_logits = self._factor * self._centred(g @ transposed(self._values))
        found = {
            "query": self._turned(at_logits @ self._keys),
            "key": self._turned(transposed(at_logits) @ self._queries),
            "value": transposed(a) @ g,
        }
        return {name: self._norm(name, x) for name, x in found.items()}

    def _centred(self, logits: Array) -> Array:
        """A o (x - its row means under A): the softmax's derivative."""
        a = self._weights
        return np.asarray(a * (logits - (a * logits).sum(axis=-1, keepdims=True)))

    def _turned(self, x: Array) -> Array:
        """Queries or keys, or gradients there, in front of a rotation."""
        rotary = self._attention.rotary
        return x if rotary is None else rotated(x, rotary, back=True)

    def _norm(self, name: str, x: Array) -> Array:
        """The derivative of the norm behind a projection, where there is one; it is symmetric."""
        if name not in self._attention.normed:
            return x
        side = self._sides[name]
        along = (x * side).sum(axis=-1, keepdims=True) / np.square(side).sum(axis=-1, keepdims=True)
        return np.asarray(self._scale(name)[:, None] * (x - along * side))

    def _scale(self, name: str) -> Array:
        """What the norm behind a projection multiplies each token by."""
        norm = self._attention.head_norm
        if norm is None or name not in self._attention.normed:
            return np.ones(len(self._gram))
        size = self._gains[f"attn.{name}"] * self._gram.diagonal()
        return np.asarray(1 / np.sqrt(size + norm.of(name).epsilon))

    def change(
        self,
        entering: Mapping[str, Change],
        steps: Mapping[str, HeadStep],
        rates: Mapping[str, float],
    ) -> tuple[Change, Array]:
        """The change behind heads without rotation, and its second moment.

        Args:
            entering: changes at the projections that their input brings.
            steps, rates: of each projection its step and its learning rate.
        """
        kernels, moved = {}, {}
        for name in PROJECTIONS:
            came, step, rate = entering[name], steps[name], rates[name]
            kernel = came.linear + rate * step.mean.linear
            change = came.linear @ self.gradients[name] + rate * step.moved
            change += _draw(came.noise, np.asarray(self._random.standard_normal(change.shape)))
            scale, kept = self._scale(name), 1 - (name in self._attention.normed) / self._size
            kernels[name], moved[name] = kept * np.outer(scale, scale) * kernel, self._norm(name, change)
        at_logits = moved["query"] @ transposed(self._keys) + self._queries @ transposed(moved["key"])
        out = self._weights @ moved["value"] + self._centred(self._factor * at_logits) @ self._values
        total = second_moments(out).mean(axis=(0, 1))
        mean = self._linear(kernels).mean(axis=(0, 1))
        return Change(mean, total - mean @ self._grad @ mean.T), total

    def _linear(self, kernels: Mapping[str, Array]) -> Array:
        """K behind each head, from those at its projections behind their norms."""
        a, factor = self._weights, self._attention.logit_factor
        values = tokens_centred(transposed(tokens_centred(self._values_gram)))  # M_i 1 = 0
        by_query = _jacobians(a, values, second_moments(self._keys)) * kernels["query"]
        by_key = second_moments(self._queries) * _jacobians(a, values, kernels["key"])
        return np.asarray(a @ kernels["value"] @ transposed(a) + factor * (by_query + by_key))


def _draw(gram: Array, noise: Array) -> Array:
    """Gaussian numbers of this Gram over tokens; what sampling leaves below zero of it counts for nothing."""
    size, vectors = np.linalg.eigh((gram + gram.T) / 2)
    return np.asarray((vectors * np.sqrt(np.maximum(size, 0))) @ noise)


def _jacobians(a: Array, values: Array, other: Array) -> Array:
    """tr(M_i G M_k H) for M_i = diag(A_i) - A_i A_i^T and symmetric G = ``values`` and H = ``other``, for all
    i and k, head by head."""
    at = transposed(a)
    ag, ah = a @ values, a @ other
    cross = (ag * ah) @ at
    return np.asarray((a @ (values * other)) @ at - cross - transposed(cross) + (ag @ at) * (ah @ at))
