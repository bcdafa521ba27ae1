"""Sampled heads of attention on a token Gram: queries, keys, rows of weights and values (T10.1, T10.3).

With R R^T = X the Gram of the input and standard normal Xi of shape (tokens, d_h), a head is one draw of

    Q = sqrt(s_Q) R Xi_Q,   K = sqrt(s_K) R Xi_K,   A = softmax(mask(Q K^T / sqrt(d_h)))

(norms act on the rows of Q and K, rotary embedding turns them; R is that of what they read, which of a latent
is drawn: :mod:`.head_input`). Values are not drawn: their Gram G_V given
the keys is s_V [(1 - w) X + w Khat / s_K] off its diagonal, with w = d_h / (d + d_h) and Khat = K K^T / d_h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.head_norm import HeadNorm
from .head_input import HeadInput
from .latents import NO_LATENTS, Latents
from .rotary import Rotary, hidden, rotated
from .softmax_gradients import diagonal, second_moments, tokens_centred, transposed

Gains = Mapping[str, float]


@dataclass(frozen=True)
class SampledHeads:
    """The law of a head.

    ``noise`` is standard normal, (2, heads, tokens, head width), for Xi_Q and Xi_K; each head is used
    with both signs of its logits.

    Attributes:
        width: coordinates of the stream.
        causal: whether a token sees no token behind it.
        normed: which of "query", "key", "value" carry a norm over each head.
        norm: "rms" or "layer", the kind of that norm.
        head_norm: its kernel.
        window: how many tokens a token sees under the causal mask; None for all.
        rotary: how queries and keys are rotated by their positions; None where they are not.
        logit_factor: factor on the logits' second moments beside the gains; 1/d_h for logits that are divided
            by the head width instead of its root.
        over_width: whether the norms run over all heads; ``head_norm`` is then the kernel over the whole
            width.
        sinks: whether each row has one more logit, of 0, whose value is nothing: rows of weights then add up
            to less than one, and see what all keys or values have in common.
        sequences: how many sequences of one length the tokens are, that do not see each other.
        latents: those that queries, or keys and values, are projected from.
    """

    width: int
    causal: bool
    normed: tuple[str, ...]
    norm: str
    head_norm: HeadNorm | None
    window: int | None = None
    rotary: Rotary | None = None
    logit_factor: float = 1.0
    over_width: bool = False
    sinks: bool = False
    sequences: int = 1
    latents: Latents = NO_LATENTS

    def draw(self, at: HeadInput, gains: Gains, noise: Array) -> tuple[Array, Array, Array, Array]:
        """Keys at gain 1, then queries and keys as the logits read them, (heads, tokens, head width);
        weights, (2, heads, tokens, tokens).

        Raises:
            ZeroDivisionError: a norm reads zeros.
        """
        if not all(gains[f"attn.{name}"] * at.gram.diagonal().all() for name in self.normed):
            raise ZeroDivisionError
        query, key = (at.factor(x) @ z for x, z in zip(("query", "key"), noise, strict=True))
        plain = self._normalised("key", key, at.gram, gains)
        queries = np.sqrt(self.gain("query", gains)) * self._normalised("query", query, at.gram, gains)
        keys = np.sqrt(self.gain("key", gains)) * plain
        if self.rotary is not None:
            queries, keys = rotated(queries, self.rotary), rotated(keys, self.rotary)
        logits = queries @ transposed(self.seen(keys)) * np.sqrt(self.logit_factor / queries.shape[-1])
        unseen = hidden(len(at.gram), self.causal, self.window, self.sequences)
        return plain, queries, keys, _softmax(np.stack([logits, -logits]), unseen, self.sinks)

    def seen(self, x: Array) -> Array:
        """The part of keys that rows of weights see: what differs from their mean over tokens, the second
        axis from the end, where they add up to one."""
        return x if self.sinks else tokens_centred(x)

    def values(self, plain: Array, at: HeadInput, gains: Gains) -> Array:
        """G_V at gain 1 given the keys, (heads, tokens, tokens): the part that is not seen through the keys
        is rescaled for each token, so that its second moment stays. That of a latent is drawn."""
        if self.latents.keys is not None:
            return at.read("value")
        w = plain.shape[-1] / (self.width + plain.shape[-1])
        mean, key = self.unit("value", at, gains), self.unit("key", at, gains).diagonal()
        size = mean.diagonal()
        seen = second_moments(np.sqrt(w * _ratio(size, key))[:, None] * plain)
        rest = np.sqrt(np.maximum(1 - _ratio(diagonal(seen), size), 0))
        return np.asarray(seen + rest[:, :, None] * mean * rest[:, None, :])

    def _normalised(self, name: str, x: Array, gram: Array, gains: Gains) -> Array:
        if name not in self.normed or self.head_norm is None:
            return x
        epsilon = self.head_norm.epsilon / gains[f"attn.{name}"]
        if self.over_width:  # the other heads' coordinates fix the norm
            return np.asarray(x / np.sqrt(gram.diagonal() + epsilon)[:, None])
        if self.norm == "layer":
            x = x - x.mean(axis=-1, keepdims=True)
        return np.asarray(x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + epsilon))

    def share(self, name: str, gram: Array, gains: Gains) -> Array:
        """Share of each token's second moment that the epsilon of a norm leaves, (tokens,)."""
        assert self.head_norm is not None
        return np.asarray(self.head_norm.of(name).share(gains[f"attn.{name}"] * gram.diagonal()))

    def unit(self, name: str, at: HeadInput, gains: Gains) -> Array:
        """Gram of queries, keys or values at gain 1, per coordinate, behind their norm; one for each head
        where they read a latent."""
        if name not in self.normed or self.head_norm is None:
            return at.read(name)
        norm, share = self.head_norm.of(name), self.share(name, at.gram, gains)
        size = np.sqrt(norm.moment(share))
        cosines = norm.value(at.gram / token_scales(at.gram), np.outer(share, share))
        return np.asarray(np.outer(size, size) * cosines)

    def before_norm(self, name: str, at: HeadInput, gains: Gains) -> Array | float:
        """Element-wise factor from the gradient Gram behind a projection's norm to that in front of it, or
        through the norm of its latent, head by head."""
        if name not in self.normed or self.head_norm is None:
            return at.back(name)
        gram = at.gram
        norm, share, scale = self.head_norm.of(name), self.share(name, gram, gains), token_scales(gram)
        size = np.sqrt(norm.moment(share) / gains[f"attn.{name}"])
        return np.asarray(np.outer(size, size) * norm.slope(gram / scale, np.outer(share, share)) / scale)

    def gain(self, name: str, gains: Gains) -> float:
        """Second moment of queries, keys or values over that at gain 1: s_W, which a norm takes away."""
        return 1.0 if name in self.normed else gains[f"attn.{name}"]

    def over_values(self, name: str, at: HeadInput, gains: Gains) -> float:
        """Second moment of queries or keys over that of values, both at gain 1; 0 where both are zero."""
        one, values = (diagonal(self.unit(x, at, gains)).mean() for x in (name, "value"))
        return float(one / values) if values else 0.0


def _softmax(logits: Array, unseen: Array | None, sinks: bool) -> Array:
    if unseen is not None:
        logits = np.where(unseen, -np.inf, logits)
    largest = logits.max(axis=-1, keepdims=True)
    if sinks:
        largest = np.maximum(largest, 0)
    weights = np.exp(logits - largest)
    total = weights.sum(axis=-1, keepdims=True) + (np.exp(-largest) if sinks else 0)
    return np.asarray(weights / total, dtype=float)


def token_scales(gram: Array) -> Array:
    """Products of the roots of tokens' second moments, which norms divide a Gram by, (tokens, tokens).

    Raises:
        ZeroDivisionError: one is zero.
    """
    root = np.sqrt(gram.diagonal())
    if not root.all():
        raise ZeroDivisionError
    return np.outer(root, root)


def _ratio(x: Array, y: Array) -> Array:
    """x / y, and 0 where both are zero."""
    return np.divide(x, y, out=np.zeros_like(x), where=y > 0)
