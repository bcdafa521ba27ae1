r"""Moments of the mixture-of-experts branch, whose router sends a token to k experts (T7.1 to T7.5).

    z = x W_router,   f(x) = a sum_e g_e(z) f_e(x) + sum of the n_s shared experts' f_s(x)

with gates g of the k largest logits (:mod:`spannorm_theory.softmax.gates`; k = 1 of a softmax is Switch,
arXiv:2101.03961; k = 2 renormalised is arXiv:2401.04088) and a factor a. With (K, B) the covariance and
backward gain of one expert between two tokens, the overlaps A, O, R of
:mod:`spannorm_theory.softmax.top_k` at the logits' variance v = s_router q and cosine rho, times a^2, and
Y = 1 or that of the shared experts' gate (:mod:`.shared_experts`),

    forward   second moment (A + n_s Y) K(q),   covariance (O + n_s Y) K(p)
    experts   gradient covariance x (O + n_s Y) B(p)
    router    gradient covariance x s_router R K(p)
    gate      gradient covariance x s_gate n_s Y' K(p)

Moments are means over pairs of tokens; routing differs from pair to pair at any width
(:meth:`MixtureOfExperts.scatter`). Left out: what the gradient knows of an expert's output, a share of the
branch in the stream (T9.13).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.activations import Activation
from ..gaussian.closed_forms import Array, Transfer
from ..softmax.gates import Gates
from ..softmax.top_k_table import GateOverlaps, gate_table
from ..spec.architecture import Architecture
from .feedforward import BranchInput, FeedForward, Gains
from .shared_experts import GATE as SHARED_GATE
from .shared_experts import SharedExperts


@dataclass(frozen=True)
class ExpertsInput(BranchInput):
    """All experts together at an input; ``hidden`` and ``paths`` are those of one expert.

    Attributes:
        outputs: K of one expert.
        overlaps: A + n_s Y and O + n_s Y.
        routers: R of one token, and R.
        slope: the part of ``back`` between two tokens that is no router's.
        routes: the overlaps of gates.
    """

    outputs: tuple[Any, Any]
    overlaps: tuple[Any, Any]
    routers: tuple[Any, Any]
    slope: Any
    routes: GateOverlaps


#: largest ratio of two tokens' second moments whose logits count as alike, and that of one number
UNLIKE, ALIKE = 1.5, 1e-6

#: least t that slopes in the cosine are divided by, in place of zero
SMALLEST_T = 1e-154


class MixtureOfExperts(FeedForward):
    """Moments of one branch of experts; ``hidden`` is the width of one expert.

    Squared weight gradients of "ffn.up", "ffn.gate" and "ffn.down" are summed over all experts, the shared
    ones included.
    """

    def __init__(
        self,
        activation: Activation,
        width: int,
        hidden: int,
        *,
        gates: Gates,
        unit_logits: float,
        shared: SharedExperts = SharedExperts(0),  # noqa: B008 a value
        factor: float = 1.0,
    ) -> None:
        """``unit_logits`` is v for an input of second moment 1, whose overlaps are not interpolated; the sum
        of the chosen experts is multiplied by ``factor``."""
        super().__init__(activation, width, hidden)
        self.gates, self.shared, self.factor = gates, shared, factor
        self._gates = gate_table(gates, unit_logits, factor)

    def _routes(self, q: Any, t: Any, gains: Gains) -> GateOverlaps:
        """Overlaps at t of tokens of second moment q."""
        return self._gates.at(gains["ffn.router"] * q, t)

    @property
    def takes(self) -> tuple[str, ...]:
        """The matrices whose gains the transfer takes."""
        return *super().takes, "ffn.router", *self.shared.takes

    @property
    def transfer(self) -> Transfer:
        """Function from the input (q, delta), the gains in the order of :attr:`takes`, and V (T9.1), zero by
        default, to the branch's (q, delta), for the loop over layers: V takes from the gap (T7.4)."""
        expert, overlaps, shared = super().transfer, self._gates.forward, self.shared.drop
        gated = len(self.shared.takes)

        def branch(
            q: float, delta: float, up: float, gate: float, down: float, router: float, *more: float
        ) -> tuple[float, float]:
            if not q:
                raise _no_order()
            k, drop = expert(q, delta, up, gate, down)
            t = sqrt(delta / (2 * q)) if 0 <= delta < 2 * q else float(delta > 0)
            own, gap = overlaps(router * q, t, more[gated] if len(more) > gated else 0.0)
            always, less = shared(q, delta, *more[:gated])
            own, gap = own + always, gap + less
            return own * k, own * drop + (k - drop) * gap

        return branch

    def unevenness(self, gains: Gains) -> tuple[float, float, float]:
        """Variance over tokens of the branch's squared size over the square of its mean, and the part of it
        that the gate of the shared experts makes; and ``size_share`` of :class:`GateStatistics`. All for an
        input of second moment 1."""
        table = self._gates.unit
        own = self.factor**2 * table.own
        size, gate = own + self.shared.overlap(1.0, 1.0, 1.0, gains), self.shared.spread(gains)
        return (table.uneven * own**2 + gate) / size**2, gate / size**2, table.size_share

    def output(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Covariance of the branch between two tokens of nearly equal second moments."""
        return self._overlap(q1, q2, c, gains) * super().output(q1, q2, c, gains)

    def gain(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Gain from the gradient at the branch output to that at its input, value and router path."""
        routes = self._routes(*_alike(q1, q2, c), gains)
        value = self._overlap(q1, q2, c, gains) * super().gain(q1, q2, c, gains)
        choosing = gains["ffn.router"] * routes.router + self.shared.back(q1, q2, c, gains)
        return value + super().output(q1, q2, c, gains) * choosing

    def _overlap(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """O + n_s Y."""
        routes = self._routes(*_alike(q1, q2, c), gains)
        return routes.own - routes.gap + self.shared.overlap(q1, q2, c, gains)

    def at(self, q: Array, delta: Array, gains: Gains) -> ExpertsInput:
        """All experts at an input (q, q - delta)."""
        own, routes = super().at(q, delta, gains), self._routes(q, _distance(delta / q), gains)
        outputs = gains["ffn.down"] * own.hidden[0], gains["ffn.down"] * own.hidden[1]
        pairs = (q, q, q, gains), (q, q, q - delta, gains)
        always, by_gate = ([f(*at) for at in pairs] for f in (self.shared.overlap, self.shared.back))
        overlaps = routes.own + always[0], routes.own - routes.gap + always[1]
        routers = routes.alone, routes.router
        one, two = (
            a * g + k * (gains["ffn.router"] * r + s)
            for a, g, k, r, s in zip(overlaps, own.back, outputs, routers, by_gate, strict=True)
        )
        return ExpertsInput(
            q,
            delta,
            gains,
            own.hidden,
            own.paths,
            (one, two),
            outputs=outputs,
            overlaps=overlaps,
            routers=routers,
            slope=overlaps[1] * own.back[1] + outputs[1] * by_gate[1],
            routes=routes,
        )

    def response(self, at: BranchInput, drop: Array) -> Array:
        """Slope of the branch's covariance in that of its input, (layers,): (O + n_s Y) B, K n_s dY/dp, and
        K times the slope of O, (d gap/dt)/(4 q t), which backward gains do not have."""
        assert isinstance(at, ExpertsInput)
        t = np.maximum(at.routes.t, SMALLEST_T)
        return np.asarray(at.slope + at.routes.gap_slope / (4 * at.q * t) * at.outputs[1])

    def scatter(self, at: BranchInput, drop: Array) -> Array:
        """Variance over pairs of tokens of the branch's covariance, (layers,): U_S K(p)^2 of routing, and
        that of the hidden layer for a ``drop`` of the branch."""
        assert isinstance(at, ExpertsInput)
        return np.asarray(at.routes.scatter * at.outputs[1] ** 2 + super().scatter(at, drop))

    def load_imbalance(self, at: ExpertsInput, tokens: int) -> Array:
        """Mean squared coefficient of variation of the numbers of tokens at the experts, (layers,):
        experts [1 + (n - 1) C] / (k n) - 1 (T7.5)."""
        share = self.gates.top_k / self.gates.experts
        return np.asarray((1 + (tokens - 1) * at.routes.common) / (share * tokens) - 1)

    def commonness(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Experts that two tokens have in common over those that they would by chance, k^2 / experts, element
        by element in the token Gram; less one, its mean over all pairs is :meth:`load_imbalance`."""
        return self.gates.experts / self.gates.top_k * self._routes(*_alike(q1, q2, c), gains).common

    def weight_grads(self, at: BranchInput, grad: Array, tokens: int) -> dict[str, Any]:
        """Squared gradient E |dLoss/dW|_F^2 of each kind of matrix by name, (layers,), summed over experts,
        from (gamma, c) at the branch output, (layers, 2)."""
        assert isinstance(at, ExpertsInput)
        found = super().weight_grads(at, np.stack(at.overlaps, axis=-1) * grad, tokens)
        (one, two), routers = at.outputs, {"ffn.router": at.routers}
        if self.shared.gated:
            pairs = (at.q, at.q, at.q, at.gains), (at.q, at.q, at.p, at.gains)
            routers[SHARED_GATE] = self.shared.slope(*pairs[0]), self.shared.slope(*pairs[1])
        gamma, cross = np.moveaxis(grad, -1, 0)
        for name, (alone, router) in routers.items():
            seen = at.q * one * alone * gamma + (tokens - 1) * at.p * two * router * cross
            found[name] = self.width**2 * tokens * seen
        return found

    def weight_grads_gram(self, q1: Any, q2: Any, c: Any, grad: Array, gains: Gains) -> dict[str, float]:
        """Squared gradients as in :meth:`weight_grads`, sums over token pairs as in
        :meth:`FeedForward.weight_grads_gram`."""
        found = super().weight_grads_gram(q1, q2, c, grad * self._overlap(q1, q2, c, gains), gains)
        routers = {"ffn.router": self._routes(*_alike(q1, q2, c), gains).router}
        if self.shared.gated:
            routers[SHARED_GATE] = self.shared.slope(q1, q2, c, gains)
        seen = c * grad * super().output(q1, q2, c, gains)
        return {**found, **{name: self.width**2 * float((seen * r).sum()) for name, r in routers.items()}}


def gates_of(arch: Architecture) -> Gates:
    """The gates of an architecture's router."""
    return Gates(arch.experts, arch.top_k, arch.gates, arch.expert_groups, arch.top_groups)


def _distance(drop: Any) -> Any:
    """t = sqrt((1 - rho)/2) from 1 - rho."""
    return np.sqrt(np.clip(drop, 0, 2) / 2)


def _no_order() -> AssumptionError:
    return AssumptionError(
        "the router of the experts reads zeros, whose logits have no largest: which experts it takes is not "
        "derived; give the norm in front of it a factor that is not zero, or use experts=1"
    )


def _alike(q1: Any, q2: Any, c: Any) -> tuple[Any, Any]:
    """Second moment and t of pairs of tokens; of two different second moments their geometric mean, to which
    overlaps are right but for the square of the difference: 0.05 % where they are ``UNLIKE`` apart.

    Raises:
        AssumptionError: the second moments of two tokens differ by more than a factor of ``UNLIKE``, or are
            zero.
    """
    if not np.all(q1):
        raise _no_order()
    most, q = np.max(np.maximum(q1 / q2, q2 / q1)), np.sqrt(q1 * q2)
    if most > UNLIKE:
        raise AssumptionError(
            f"experts choose by logits of one variance for all tokens (within a factor of {UNLIKE:g}), but "
            f"the feed-forward branch reads a stream whose second moments differ by {most:.3g} times between "
            "positions; use a placement that norms it, a smaller norm_epsilon, or no mask"
        )
    t = _distance(1 - c / q)
    return (np.max(q) if np.ndim(q) == 2 and most < 1 + ALIKE else q), t
