r"""Moments of the mixture-of-experts branch, whose router sends a token to k experts (T7.1 to T7.5).

    z = x W_router,   f(x) = sum_e g_e(z) f_e(x) + sum of the n_s shared experts' f_s(x)

with gates g of the k largest logits, divided by their sum ("renormalised") or not ("softmax": k = 1 is
Switch, arXiv:2101.03961; k = 2 renormalised is arXiv:2401.04088). With (K, B) the covariance and backward
gain of one expert between two tokens, and the overlaps A, O, R of :mod:`spannorm_theory.softmax.top_k` at the
logits' variance v = s_router q and cosine rho,

    forward   second moment (A + n_s) K(q),   covariance (O + n_s) K(p)
    experts   gradient covariance x (O + n_s) B(p)
    router    gradient covariance x s_router R K(p)

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
from ..softmax.top_k_table import GateOverlaps, gate_table
from .feedforward import BranchInput, FeedForward, Gains


@dataclass(frozen=True)
class ExpertsInput(BranchInput):
    """All experts together at an input; ``hidden`` and ``paths`` are those of one expert.

    Attributes:
        outputs: K of one expert.
        overlaps: A + n_s and O + n_s.
        routers: R of one token, and R.
        value_path: (O + n_s) B, the part of ``back`` between two tokens that passes the experts.
        routes: the overlaps of gates.
    """

    outputs: tuple[Any, Any]
    overlaps: tuple[Any, Any]
    routers: tuple[Any, Any]
    value_path: Any
    routes: GateOverlaps


#: least t that slopes in the cosine are divided by, in place of zero
SMALLEST_T = 1e-154


class MixtureOfExperts(FeedForward):
    """Moments of one branch of experts; ``hidden`` is the width of one expert, ``shared`` is n_s.

    Squared weight gradients of "ffn.up", "ffn.gate" and "ffn.down" are summed over all experts, the shared
    ones included.
    """

    def __init__(
        self,
        activation: Activation,
        width: int,
        hidden: int,
        *,
        experts: int,
        top_k: int,
        shared: int,
        renormalised: bool,
        unit_logits: float,
    ) -> None:
        """``unit_logits`` is v for an input of second moment 1, whose overlaps are not interpolated."""
        super().__init__(activation, width, hidden)
        self.experts, self.top_k, self.shared = experts, top_k, shared
        self._gates = gate_table(experts, top_k, renormalised, unit_logits)

    def _routes(self, q: Any, t: Any, gains: Gains) -> GateOverlaps:
        """Overlaps at t of tokens of second moment q."""
        return self._gates.at(gains["ffn.router"] * q, t)

    @property
    def takes(self) -> tuple[str, ...]:
        """The matrices whose gains the transfer takes."""
        return *super().takes, "ffn.router"

    @property
    def transfer(self) -> Transfer:
        """Function from the input (q, delta), the gains in the order of :attr:`takes`, and V (T9.1), zero by
        default, to the branch's (q, delta), for the loop over layers: V takes from the gap (T7.4)."""
        expert, overlaps, shared = super().transfer, self._gates.forward, self.shared

        def branch(
            q: float,
            delta: float,
            up: float,
            gate: float,
            down: float,
            router: float,
            pair_variance: float = 0.0,
        ) -> tuple[float, float]:
            if not q:
                raise _no_order()
            k, drop = expert(q, delta, up, gate, down)
            t = sqrt(delta / (2 * q)) if 0 <= delta < 2 * q else float(delta > 0)
            own, gap = overlaps(router * q, t, pair_variance)
            own += shared
            return own * k, own * drop + (k - drop) * gap

        return branch

    def unevenness(self) -> tuple[float, float]:
        """``uneven`` and ``size_share`` of :class:`GateStatistics` for an input of second moment 1."""
        table = self._gates.unit
        return table.uneven, table.size_share

    def output(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Covariance of the branch between two tokens of equal second moments."""
        return self._shared_by_pairs(self._routes(*_alike(q1, q2, c), gains)) * super().output(
            q1, q2, c, gains
        )

    def gain(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Gain from the gradient at the branch output to that at its input, value and router path."""
        routes = self._routes(*_alike(q1, q2, c), gains)
        value = self._shared_by_pairs(routes) * super().gain(q1, q2, c, gains)
        return value + gains["ffn.router"] * super().output(q1, q2, c, gains) * routes.router

    def _shared_by_pairs(self, routes: GateOverlaps) -> Any:
        """O + n_s."""
        return routes.own - routes.gap + self.shared

    def at(self, q: Array, delta: Array, gains: Gains) -> ExpertsInput:
        """All experts at an input (q, q - delta)."""
        own, routes = super().at(q, delta, gains), self._routes(q, _distance(delta / q), gains)
        outputs = gains["ffn.down"] * own.hidden[0], gains["ffn.down"] * own.hidden[1]
        overlaps = routes.own + self.shared, self._shared_by_pairs(routes)
        routers = routes.alone, routes.router
        one, two = (
            a * g + gains["ffn.router"] * k * r
            for a, g, k, r in zip(overlaps, own.back, outputs, routers, strict=True)
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
            value_path=overlaps[1] * own.back[1],
            routes=routes,
        )

    def response(self, at: BranchInput, drop: Array) -> Array:
        """Slope of the branch's covariance in that of its input, (layers,): (O + n_s) B, and K times the
        slope of O, (d gap/dt)/(4 q t), which backward gains do not have."""
        assert isinstance(at, ExpertsInput)
        t = np.maximum(at.routes.t, SMALLEST_T)
        return np.asarray(at.value_path + at.routes.gap_slope / (4 * at.q * t) * at.outputs[1])

    def scatter(self, at: BranchInput, drop: Array) -> Array:
        """Variance over pairs of tokens of the branch's covariance, (layers,): U_S K(p)^2 of routing, and
        that of the hidden layer for a ``drop`` of the branch."""
        assert isinstance(at, ExpertsInput)
        return np.asarray(at.routes.scatter * at.outputs[1] ** 2 + super().scatter(at, drop))

    def load_imbalance(self, at: ExpertsInput, tokens: int) -> Array:
        """Mean squared coefficient of variation of the numbers of tokens at the experts, (layers,):
        experts [1 + (n - 1) C] / (k n) - 1 (T7.5)."""
        return np.asarray(self.experts * (1 + (tokens - 1) * at.routes.common) / (self.top_k * tokens) - 1)

    def commonness(self, q1: Any, q2: Any, c: Any, gains: Gains) -> Any:
        """Experts that two tokens have in common over those that they would by chance, k^2 / experts, element
        by element in the token Gram; less one, its mean over all pairs is :meth:`load_imbalance`."""
        return self.experts / self.top_k * self._routes(*_alike(q1, q2, c), gains).common

    def weight_grads(self, at: BranchInput, grad: Array, tokens: int) -> dict[str, Any]:
        """Squared gradient E |dLoss/dW|_F^2 of each kind of matrix by name, (layers,), summed over experts,
        from (gamma, c) at the branch output, (layers, 2)."""
        assert isinstance(at, ExpertsInput)
        found = super().weight_grads(at, np.stack(at.overlaps, axis=-1) * grad, tokens)
        own, other = (
            h * k * r * g
            for h, k, r, g in zip((at.q, at.p), at.outputs, at.routers, np.moveaxis(grad, -1, 0), strict=True)
        )
        return {**found, "ffn.router": self.width**2 * tokens * (own + (tokens - 1) * other)}

    def weight_grads_gram(self, q1: Any, q2: Any, c: Any, grad: Array, gains: Gains) -> dict[str, float]:
        """Squared gradients as in :meth:`weight_grads`, sums over token pairs as in
        :meth:`FeedForward.weight_grads_gram`."""
        routes = self._routes(*_alike(q1, q2, c), gains)
        found = super().weight_grads_gram(q1, q2, c, grad * self._shared_by_pairs(routes), gains)
        seen = c * grad * super().output(q1, q2, c, gains) * routes.router
        return {**found, "ffn.router": self.width**2 * float(seen.sum())}


def _distance(drop: Any) -> Any:
    """t = sqrt((1 - rho)/2) from 1 - rho."""
    return np.sqrt(np.clip(drop, 0, 2) / 2)


def _no_order() -> AssumptionError:
    return AssumptionError(
        "the router of the experts reads zeros, whose logits have no largest: which experts it takes is not "
        "derived; give the norm in front of it a factor that is not zero, or use experts=1"
    )


def _alike(q1: Any, q2: Any, c: Any) -> tuple[Any, Any]:
    """Second moment and t of pairs of tokens.

    Raises:
        AssumptionError: the second moments of two tokens differ by more than 1e-6, or are zero.
    """
    if not np.all(q1):
        raise _no_order()
    if np.any(np.abs(q1 - q2) > 1e-6 * q1):
        raise AssumptionError(
            "experts choose by logits of one variance for all tokens, but the feed-forward branch reads a "
            "stream whose second moment differs between positions; use a placement that norms it, or no mask"
        )
    q = np.max(q1)
    return q if np.ndim(q1) == 2 else q1, _distance(1 - c / np.sqrt(q1 * q2))
