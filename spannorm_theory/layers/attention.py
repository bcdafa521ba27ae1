r"""Moments of multi-head softmax attention over exchangeable tokens (T6.1 to T6.16); :mod:`.attention_op`
runs it.

For an input (q, delta), gains s_W, values of moments (q_V, delta_V), (gamma, c) at the branch output, and the
overlaps of rows of weights P2, P11, J, J11 and E r J11(r) (:mod:`spannorm_theory.softmax.overlaps`),

    forward   q_out = s_O [q_V - delta_V (1 - P2)],    delta_out = s_O delta_V (P2 - P11)
    values    s_O s_V [gamma P2 + (n-1) c P11]         (row sums of one fix the token mean)
    queries   s_O delta_V  s_K delta s_Q               [gamma J,  c J11]
    keys      s_O delta_V  s_K s_Q q [gamma J + (n-1) c E r J11(r)],  token covariance -that/(n-1)

Norms on queries, keys or values replace s_W (q, delta) by (1, 1 - K(rho)) forward and s_W by K'/q backward;
their epsilon leaves less (T6.13).
Heads of finite width change J and the rows of like queries (T6.12), norms take what points along each token
(T6.14), and a finite width d adds b_V, b_J and chi (T6.15): leading orders in 1/d_h and 1/d. Dropout of
weights (T6.16) is exact given the rest. Keys and values that several heads share change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array, Transfer
from ..gaussian.head_norm import HeadNorm
from ..softmax.overlap_variance import overlap_spread
from ..softmax.row_statistics import RowStatistics
from .attention_input import AttentionInput
from .attention_weights import leaning, projection_grads
from .latents import NO_LATENTS, Latents

Gains = Mapping[str, Any]


@dataclass(frozen=True)
class Attention:
    """Moments of one attention branch over ``tokens`` exchangeable tokens, per coordinate.

    Attributes:
        width, head_width: coordinates of the stream, and of a head.
        normed: which of "query", "key", "value" carry a norm over each head.
        head_norm: the kernel of that norm.
        unit_logits: v for an input of second moment 1; overlaps along its curve are tabulated.
        inner_norm: whether a norm stands in front of the output projection.
        logit_factor: factor on the logits' second moments beside the gains; 1/d_h for logits that are divided
            by the head width instead of its root.
        over_width: whether the norms run over all heads; ``head_norm`` is then the kernel over the whole
            width.
        dropout: p_a, the rate of dropout on attention weights.
        breadth: H d_h / d, coordinates of all heads over those of the stream.
        latents: those that queries, or keys and values, are projected from.
    """

    width: int
    tokens: int
    head_width: int
    normed: tuple[str, ...]
    head_norm: HeadNorm | None
    unit_logits: float = 1.0
    inner_norm: bool = False
    logit_factor: float = 1.0
    over_width: bool = False
    dropout: float = 0.0
    breadth: float = 1.0
    latents: Latents = NO_LATENTS

    @cached_property
    def _sphere(self) -> int:
        """Dimension of the sphere that a head's queries and keys lie on; 0 where they lie on none."""
        if self.over_width or self.head_norm is None or "query" not in self.normed:
            return 0
        return self.head_norm.size

    @cached_property
    def rows(self) -> RowStatistics:
        """Statistics of rows of attention weights."""
        return RowStatistics(self.tokens, self.head_width, self._sphere, self.unit_logits)

    @cached_property
    def _masked(self) -> float:
        """e = p_a / (1 - p_a), by which dropout raises second moments of weights, key by key (T6.16)."""
        return self.dropout / (1 - self.dropout)

    @property
    def takes(self) -> tuple[str, ...]:
        """The matrices whose gains the transfer takes."""
        return "attn.query", "attn.key", "attn.value", "attn.output"

    @property
    def transfer(self) -> Transfer:
        """Function from the input (q, delta) and the gains in the order of :attr:`takes` to the branch's
        (q, delta), for the loop over layers."""
        normed_keys = self.head_norm is not None and "key" in self.normed
        norm = self.head_norm.of("key") if self.head_norm is not None and normed_keys else None
        of_query = self.head_norm
        normed_values, inner_norm, rows = "value" in self.normed, self.inner_norm, self.rows.forward
        width, factor, masked = self._read_width, self.logit_factor, self._masked
        latent_queries, latent_keys = self.latents.queries is not None, self.latents.keys

        def branch(
            q: float, delta: float, query: float, key: float, values: float, output: float
        ) -> tuple[float, float]:
            loose = 0.0
            if norm is None or of_query is None:
                if latent_queries or latent_keys:
                    _require_input(q)
                read = q if latent_keys is None else 1.0
                v = factor * query * key * read * (1.0 if latent_queries else q)
                drop = delta / q if q else 0.0
                if latent_keys is not None:
                    q, drop = 1.0, latent_keys.drop(drop)
                    delta = drop
                q_v, delta_v = values * q, values * delta
            else:
                _require_input(query * key * q)
                of_q, of_k = of_query.share(query * q), norm.share(key * q)
                v, drop = factor * of_query.moment(of_q) * norm.moment(of_k), norm.drop(delta / q, of_k**2)
                loose, q_v, delta_v = (1 - of_q) * (1 - of_k), values * q, values * delta
                if normed_values:
                    _require_input(values * q)
                    of_v = norm.share(values * q)
                    q_v = norm.moment(of_v)
                    delta_v = q_v * norm.drop(delta / q, of_v**2)
            p2, p11, bias = rows(v, drop, loose)
            own = q_v * drop * bias / width
            mixed, apart = q_v - delta_v * (1 - p2) + own, delta_v * (p2 - p11) + own * drop
            if apart < 0:  # rounding near collapse
                apart = 0.0
            if masked:
                single = masked * q_v * p2
                mixed, apart = mixed + single, apart + single
            scale = output / mixed if inner_norm else output
            return scale * mixed, scale * apart

        return branch

    def forward(self, q: float, delta: float, gains: Gains) -> tuple[float, float]:
        """Second moment of the branch and its drop between tokens, for input (q, q - delta)."""
        return self.transfer(float(q), float(delta), *(gains[name] for name in self.takes))

    def second_moments(self, at: AttentionInput) -> Array:
        """Second moments of the branch, of the shape of the inputs."""
        if self.inner_norm:
            return np.full_like(at.q, at.gains["attn.output"])
        return np.asarray(at.gains["attn.output"] * at.mixed)

    def _shrunk(self, at: AttentionInput) -> Any:
        """Factor of the inner norm in second moments."""
        return 1 / at.mixed if self.inner_norm else 1.0

    def at(self, q: Array, delta: Array, gains: Gains) -> AttentionInput:
        """The branch at an input (q, q - delta), arrays over layers."""
        return AttentionInput(
            q,
            delta,
            gains,
            self.rows,
            self.normed,
            self.head_norm,
            self._read_width,
            self.logit_factor,
            self._masked,
            self.latents,
        )

    @property
    def _read_width(self) -> int:
        """Free coordinates of what keys and values read."""
        return self.latents.width("key", self.width)

    def undecided(self, at: AttentionInput) -> Array:
        """1 - P2: the share of attention rows that are more than a maximum, at each layer."""
        return np.asarray(1 - at.overlaps[0])

    def backward(self, at: AttentionInput, pair_variance: Any) -> dict[str, Array]:
        """Linear maps of (gamma, c) at the branch output, to the output of each projection and to the input.

        Args:
            pair_variance: V (T9.1), 1/d for Gaussian tokens; a number or (layers,).

        Returns:
            for "attn.query", "attn.key" and "attn.value" the map to that projection's output, behind its
            norm, and for "stream" their sum at the input; (layers, 2, 2) each.
        """
        n, gains, turning = self.tokens, at.gains, at.turning(pair_variance)
        p2, p11, j, j11, tilt, _, at_key, mean = at.overlaps
        pair_variance = pair_variance + self.latents.fresh("key")
        finite = (1 - p2) ** 2 * pair_variance
        q_v, delta_v = at.projected("value")
        output = gains["attn.output"] * self._shrunk(at)
        _, delta_k = at.projected("key")
        delta_k = at.logit_gradient * delta_k
        single = self._masked * q_v
        q_q, _ = at.projected("query")
        zero = np.zeros_like(p2)

        def rows(*entries: Any) -> Array:
            layers = [np.broadcast_to(np.asarray(e, dtype=float), p2.shape) for e in entries]
            return np.stack(layers, axis=-1).reshape((*p2.shape, 2, 2))

        total = (1.0, n - 1.0)  # the token mean of the gradient passes unchanged
        own = (p2, (n - 1) * p11)
        passed = ((t - o) / (n - 1) for t, o in zip(total, own, strict=True))
        value = rows((1 + self._masked) * p2, own[1], *passed)
        one = delta_k * (delta_v * (j * at.jacobian_growth**2 + at.chance * pair_variance) + single * j)
        query = rows(one, zero, zero, delta_k * delta_v * (j11 + finite))
        q_q = at.logit_gradient * q_q
        alone = q_q * (delta_v + single) * at.jacobian_growth
        alike = (n - 1) * q_q * delta_v * (tilt + turning)
        key = rows(alone * at_key, alike, alone * (at.drop * mean - at_key) / (n - 1), -alike / (n - 1))
        maps = {"attn.value": value, "attn.query": query, "attn.key": key}
        maps = {name: np.asarray(output)[..., None, None] * m for name, m in maps.items()}
        stream = np.zeros_like(value)
        for name, m in maps.items():
            one, two = (gains[name] * back for back in at.back(name.removeprefix("attn.")))
            stream += np.stack(np.broadcast_arrays(one, two, zero)[:2], axis=-1)[..., None] * m
        return {**maps, "stream": stream}

    def response(self, at: AttentionInput, drop: Array) -> Array:
        """Slope of the branch's covariance in that of its input, pair by pair, (layers,): eta of (T9.3) times
        ``drop`` / delta, ``drop`` being that of the branch's output."""
        s2 = at.row_variance
        return np.asarray(
            s2 / np.expm1(np.minimum(s2, 500.0)) * drop / np.where(at.delta == 0, 1.0, at.delta)
        )

    def scatter(self, at: AttentionInput, drop: Array) -> Array:
        """Variance over pairs of tokens of the branch's covariance beside the sampling by its last matrix,
        (layers,): V_f of (T9.3) times ``drop``^2, of the values' d coordinates and of the heads' rows."""
        overlaps = overlap_spread(at.row_variance, self.tokens, self.head_width)
        answer = Attention.response(self, at, drop) * at.delta  # to the queries' latent
        rows = self._sampling(drop) * (1 + overlaps * self.head_width)
        return np.asarray(rows + answer**2 * self.latents.fresh("query"))

    def _sampling(self, drop: Array) -> Array:
        """Variance over pairs of tokens by the sampling of all heads' coordinates alone, (layers,)."""
        return np.asarray(np.square(drop) / (self.breadth * self.width))

    def matrices(self, at: AttentionInput) -> Any:
        """Fresh matrices of d outputs that the mean mode passes: the output projection, that of values, and
        the one in front of a latent, whose norm leaves it the share of what tokens do not have in common."""
        return 1 + 1 / self.breadth + np.square(at.drop) * self.width * self.latents.fresh("value")

    def gating(self, at: AttentionInput) -> tuple[Any, Any]:
        """What an output gate leaves of a covariance between two tokens, and the branch's slope in that of
        the input by the gate alone; 1 and 0 without one."""
        return 1.0, 0.0

    def weight_grads(
        self, at: AttentionInput, pair_variance: Any, grad: Array, maps: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Squared gradient E |dLoss/dW|_F^2 of each matrix by name, (layers,) (T6.11).

        Args:
            pair_variance: V, as in :meth:`backward`.
            grad: (gamma, c) at the branch output, (layers, 2).
            maps: the result of :meth:`backward`.
        """
        output = at.gains["attn.output"] * self._shrunk(at)
        result = projection_grads(at, self.width, output, pair_variance, grad, maps)
        n, front = self.tokens, self.width**2 * self.tokens
        p2, p11, *_ = at.overlaps
        q_v, delta_v = at.projected("value")
        single = self._masked * q_v
        mixed, drop = q_v - delta_v * (1 - p2) + single * p2, delta_v * (p2 - p11) + single * p2
        plain = front * (mixed * grad[:, 0] + (n - 1) * (mixed - drop) * grad[:, 1])
        biased = front * q_v * leaning(at, grad)
        result["attn.output"] = self.breadth * (plain + biased) * self._shrunk(at)
        return result


def _require_input(size: float) -> None:
    """Refuse a norm of queries, keys or values that are zero."""
    if not size:
        raise ZeroDivisionError
