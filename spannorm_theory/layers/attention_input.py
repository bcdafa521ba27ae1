"""An attention branch's input: its logits, rows of weights and projections, at all layers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.head_norm import HeadNorm
from ..softmax.row_statistics import RowStatistics
from .latents import Latents


@dataclass(frozen=True)
class AttentionInput:
    """Logits, overlaps and projections of an attention branch at an input (q, q - delta).

    Attributes:
        q, delta: moments of the input, arrays of one shape.
        gains: sigma_W^2 of each matrix, floats or of that shape.
        rows: statistics of rows of weights.
        normed, head_norm: projections that carry a norm over each head, and its kernel.
        width: free coordinates of what keys and values read.
        logit_factor: factor of the logits' second moments beside the gains.
        masked: e = p_a / (1 - p_a), by which dropout raises second moments of weights, key by key.
        latents: those that projections read.
    """

    q: Array
    delta: Array
    gains: Mapping[str, Any]
    rows: RowStatistics
    normed: tuple[str, ...]
    head_norm: HeadNorm | None
    width: int
    logit_factor: float
    masked: float
    latents: Latents

    def _head_norm(self, name: str) -> HeadNorm | None:
        """The norm behind a projection."""
        return self.head_norm.of(name) if self.head_norm is not None and name in self.normed else None

    def _norm(self, name: str) -> HeadNorm | None:
        """The norm behind a projection, or in front of it."""
        return self._head_norm(name) or self.latents.of(name)

    def _front(self, name: str) -> Any:
        """Second moment in front of the norm of a projection at gain 1 of the matrix that stands there."""
        return self.gains[f"attn.{name}"] * self.q if self._head_norm(name) else self.q

    @cached_property
    def _apart(self) -> Array:
        """1 - rho of the input, (layers,); tokens that are zero are equal."""
        return np.divide(self.delta, self.q, out=np.zeros_like(self.q), where=self.q > 0)

    def _behind(self, name: str, norm: HeadNorm) -> tuple[Any, Array]:
        """The share of a projection's second moment that the norm's epsilon leaves, (layers,), and
        :meth:`HeadNorm.all` of the input, (3, layers)."""
        if name not in self._known:
            share = norm.share(self._front(name))
            self._known[name] = share, norm.all(self._apart, share**2)
        return self._known[name]

    @cached_property
    def _known(self) -> dict[str, tuple[Any, Array]]:
        return {}

    @cached_property
    def drop(self) -> Array:
        """1 - rho, (layers,), rho the token cosine of keys, behind norms where they have them; that of
        queries differs by a fifth of the inverse of the keys' width at most, and is taken as the same."""
        norm = self._norm("key")
        return self._apart if norm is None else self._behind("key", norm)[1][0]

    def projected(self, name: str) -> tuple[Any, Any]:
        """Second moment of a query, key or value coordinate, and its drop between tokens."""
        norm = self._head_norm(name)
        if norm is not None:
            share, (drop, *_) = self._behind(name, norm)
            moment = norm.moment(share)
            return moment, moment * drop
        gain, (q, delta) = self.gains[f"attn.{name}"], self.read(name)
        return gain * q, gain * delta

    def read(self, name: str) -> tuple[Any, Any]:
        """Second moment of what a projection reads, and its drop between tokens."""
        latent = self.latents.of(name)
        if latent is None:
            return self.q, self.delta
        return np.ones_like(self.q), self._behind(name, latent)[1][0]

    def back(self, name: str) -> tuple[Any, Any]:
        """Factors from (gamma, c) behind a projection's norm to (gamma, c) in front of it: 1 without a norm,
        or a K'(1) and a K'(rho) over the second moment there; its gain more is that at the stream. The norm
        of a latent counts as one."""
        norm = self._norm(name)
        if norm is None:
            return 1.0, 1.0
        share, (_, slope, _) = self._behind(name, norm)
        size = norm.moment(share) / self._front(name)
        return size * norm.slope(1.0, share**2), size * slope

    def reading(self, name: str, inner: bool) -> tuple[Any, Any, Any, Any, Any]:
        """Second moment of what a matrix reads and its drop, the factors of :meth:`back`, and their
        difference: of the projection's own (``inner``), or of the one in front of its latent."""
        if inner and self.latents.of(name) is not None:
            return *self.read(name), 1.0, 1.0, 0.0
        return self.q, self.delta, *self.back(name), self.fall(name)

    def fall(self, name: str) -> Any:
        """The difference of the two factors of :meth:`back`, without cancellation; zero without a norm."""
        norm = self._norm(name)
        if norm is None:
            return 0.0
        share, (*_, fall) = self._behind(name, norm)
        return norm.moment(share) * fall / self._front(name)

    @cached_property
    def logit_variance(self) -> Array:
        """v, the logit variance of uncorrelated tokens (T6.4); (layers,)."""
        return np.asarray(self.logit_factor * self.projected("query")[0] * self.projected("key")[0])

    @cached_property
    def logit_gradient(self) -> Any:
        """Factor of squared gradients of queries and keys beside the gains: of the logits' second moments,
        and what a keys' latent adds."""
        return self.logit_factor * self.latents.swing(np.square(1 - self._apart))

    @cached_property
    def _loose(self) -> Any:
        """The part of lengths of queries and keys that passes their norms, (layers,); zero without."""
        query, key = self._head_norm("query"), self._head_norm("key")
        if query is None or key is None:
            return 0.0
        return (1 - self._behind("query", query)[0]) * (1 - self._behind("key", key)[0])

    @cached_property
    def row_variance(self) -> Array:
        """s^2 = v (1 - rho), the variance of a row's logits; (layers,)."""
        return np.asarray(np.maximum(self.logit_variance * self.drop, np.finfo(float).tiny))

    @cached_property
    def _statistics(self) -> tuple[Array, Array]:
        return self.rows.all(self.logit_variance, self.drop, self._loose)

    @property
    def overlaps(self) -> Array:
        """Entries of :class:`~spannorm_theory.softmax.overlaps.HeadOverlaps`; shape (8, layers)."""
        return self._statistics[0]

    @property
    def chance(self) -> Array:
        """chi, (layers,): J at a query gains V chi by the tokens' sample correlations (T6.15)."""
        return np.asarray(self._statistics[1][2])

    @cached_property
    def jacobian_growth(self) -> Array:
        """Factor 1 + b_J / (J d) on J at a key, (layers,), as an exponential: positive at any width."""
        return np.asarray(np.exp(self._statistics[1][1] / (self.overlaps[2] * self.width)))

    @cached_property
    def value_bias(self) -> Array:
        """(1 - rho) b_V / d, (layers,): share of a value's second moment that a mixed value gains from the
        keys which its query picks (T6.15)."""
        return np.asarray(np.maximum(self.drop, 0) * self._statistics[1][0] / self.width)

    def turning(self, pair_variance: Any, inner: bool = True) -> Array:
        """Part of E r J11(r) that is due to tokens whose covariance is not the mean: (1 - rho)^2 V times its
        slope in the cosine r of queries (T6.15), which is the swing over (1 - rho^2)^2 / d_h; V is that of
        the queries' latent where ``inner``."""
        pair_variance = pair_variance + inner * self.latents.fresh("query")
        per_head = (self.rows.sphere or self.rows.head_width) / np.square(1 + np.maximum(1 - self.drop, 0))
        return np.asarray(pair_variance * per_head * self.overlaps[5])

    @cached_property
    def mixed(self) -> Array:
        """q_out / s_O, the second moment of a mixed value: (T6.2), the value bias, and dropout; (layers,)."""
        p2 = self.overlaps[0]
        q_v, delta_v = self.projected("value")
        return np.asarray(q_v - delta_v * (1 - p2) + q_v * (self.value_bias + self.masked * p2))

    @cached_property
    def apart(self) -> Array:
        """The drop of a mixed value between two tokens, (layers,)."""
        p2, p11, *_ = self.overlaps
        q_v, delta_v = self.projected("value")
        own = q_v * (self.value_bias * self.drop + self.masked * p2)
        return np.asarray(np.maximum(delta_v * (p2 - p11) + own, 0.0))
