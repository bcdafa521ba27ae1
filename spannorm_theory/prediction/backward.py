"""The backward pass of the pair theory: a linear map of gradient moments in each block (T4.2, T4.3, T8.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..layers.attention import Attention
from ..layers.gate import Gate
from ..layers.multiplier import multiplier_grad
from ..moments.algebra import norm_of_zero
from ..moments.branches import QUADRATIC_IN_DROP
from ..moments.scaled_product import scaled_product
from ..spec.architecture import Architecture
from .blocks import BlockMoments
from .boundary import loss_moments
from .forward import StackMoments
from .pair_variance import PairVariance
from .readout import Readout


@dataclass(frozen=True)
class Gradients:
    """Second moments of the gradient through a stack.

    Attributes:
        mantissas: (gamma, c) of each pair of streams in turn at every boundary, over e^exponents,
            (depth + 1, 2 x pairs).
        exponents: kappa_l, the natural exponents that are carried apart, (depth + 1,).
        weights: natural logarithm of the squared gradient norm of each matrix by name, (depth,), as if
            sequences of a step had nothing in common.
        output: q and p of the model's output.
        loss: (gamma, c) there.
    """

    mantissas: Array
    exponents: Array
    weights: dict[str, Array]
    output: tuple[float, float]
    loss: tuple[float, float]


def backward(
    arch: Architecture, moments: StackMoments, v: PairVariance, network_variance: Sequence[Array]
) -> Gradients:
    """Pass the loss gradient back through a stack whose moments are known.

    Args:
        v: V of the stack.
        network_variance: U at the branches' inputs, one array (layers, branches) for each wiring.

    Raises:
        AssumptionError: a gradient left float64's range, or its digits are lost.
    """
    stack = moments.stack
    step, depth = stack.step, len(stack.order)
    blocks = [
        _BlocksBack(*parts) for parts in zip(moments.wirings, v.branches, network_variance, strict=True)
    ]
    try:
        readout = Readout.of(arch, step.places, moments.last)
    except ZeroDivisionError:
        raise norm_of_zero(arch.depth) from None
    gamma, c = loss_moments(arch, readout.q, readout.delta, moments.layer_cosine(step.places[0]))
    behind = readout.gradient @ np.array([1.0, c / gamma])
    matrices = stack.in_order([wiring.matrices for wiring in blocks])
    back = scaled_product(matrices[::-1], behind, float(np.log(gamma)))
    mantissas, exponents = (x[::-1] for x in back)
    _require_digits(mantissas[:, [2 * at for at, (i, j) in enumerate(step.gradients) if i == j]])
    weights = {name: np.full(depth, -np.inf) for name in arch.learnt}
    for wiring in blocks:
        layers = wiring.blocks.layers.astype(int)
        for name, log_norm in wiring.weight_grads(arch, mantissas[layers + 1]).items():
            weights[name][layers] = log_norm + exponents[layers + 1] - np.log(arch.batch)
    output = readout.q, readout.q - readout.delta
    return Gradients(mantissas, exponents, weights, output, (gamma, c))


class _BlocksBack:
    """The blocks of one wiring on the way back.

    Attributes:
        matrices: M_l, from the gradient state behind each block to that in front, (layers, numbers, numbers)
            with two numbers for each pair of streams.
    """

    def __init__(self, moments: BlockMoments, v: Array, u: Array) -> None:
        """``v`` and ``u`` are V and U at each branch's input, (layers, branches)."""
        self.moments, self.blocks, self._v, self._u = moments, moments.blocks, v.T, u.T
        maps = self._branch_maps()
        step, layers = self.blocks.step, len(self.blocks.layers)
        everything = moments.q, moments.delta, self.blocks.multipliers, [x for m in maps for x in m]
        entries = step.backward(*everything)
        numbers = 2 * len(step.gradients)
        rows = np.array([np.broadcast_to(np.asarray(e, dtype=float), layers) for e in entries])
        table = rows.T.reshape(layers, -1, numbers)
        self.matrices, inside = table[:, :numbers], table[:, numbers:]
        branches = 2 * len(self.blocks.components)
        self._to_branches, self._to_multipliers = inside[:, :branches], inside[:, branches:]

    def _branch_maps(self) -> list[Array]:
        """Entries of each branch's 2 x 2 map from (gamma, c) at its output to its input, (4, layers); maps of
        attention to its projections are kept."""
        blocks, moments = self.blocks, self.moments
        maps: list[Array] = []
        self._projections: list[dict[str, Array]] = []
        branches = zip(blocks.components, blocks.dropout, moments.branches, self._v, strict=True)
        for component, rate, at, v in branches:
            by_dropout = np.array([1 / (1 - rate), 1.0, 1 / (1 - rate), 1.0])[:, None]
            if isinstance(component, Attention):
                found = component.backward(at, v)
                maps.append(found["stream"].reshape(-1, 4).T * by_dropout)
                self._projections.append(found)
            else:
                zero = np.zeros_like(at.q)
                entries = np.stack([at.back[0] + zero, zero, zero, at.back[1] + zero])
                maps.append(entries * by_dropout)
                self._projections.append({})
        return maps

    def weight_grads(self, arch: Architecture, behind: Array) -> dict[str, Array]:
        """Logarithms of the squared gradient norms of matrices and multipliers by name, (layers,), for the
        gradient state ``behind`` each block, (layers, numbers)."""
        behind_products = np.einsum("lbn,ln->lb", self._to_multipliers, behind)
        found = self._multiplier_grads(arch, behind_products)
        gates = self._gated(behind_products)
        at_outputs = np.einsum("lbn,ln->lb", self._to_branches, behind)
        for i, component in enumerate(self.blocks.components):
            at = self.moments.branches[i]
            grad = at_outputs[:, 2 * i : 2 * i + 2] * np.array([1 / (1 - self.blocks.dropout[i]), 1.0])
            norms: dict[str, Any]
            if isinstance(component, Attention):
                norms = component.weight_grads(at, self._v[i], grad, self._projections[i])
            elif isinstance(component, Gate):
                norms = component.weight_grads(at, self._v[i], *gates[i], arch.tokens)
            else:
                norms = component.weight_grads(at, grad, arch.tokens)
            for name, value in norms.items():
                self._require_resolved(name, value)
                with np.errstate(divide="ignore"):
                    log_norm = np.log(value * self.blocks.outputs[i].get(name, 1.0))
                # the logarithm of the drop has the variance U over networks
                found[name] = log_norm + 2 * self._u[i] if name in QUADRATIC_IN_DROP else log_norm
        return found

    def _gated(self, grads: Array) -> dict[int, tuple[Array, Array]]:
        """(q, delta) of what a gate multiplies and (gamma, c) behind the product, (layers, 2) each, by the
        number of the gate among the branches."""
        step, moments = self.blocks.step, self.moments
        values = self._multiplied()
        shape, first = moments.q.shape[1:], len(step.trace.gains)
        found = {}
        for i, product in enumerate(step.trace.products, first):
            own = [np.broadcast_to(x, shape) for x in values[2 * i : 2 * i + 2]]
            gate = step.trace.branches.index(product.gate)
            found[gate] = np.stack(own, axis=-1), grads[:, 2 * i : 2 * i + 2]
        return found

    def _multiplier_grads(self, arch: Architecture, grads: Array) -> dict[str, Array]:
        """Logarithms of the squared gradients of learnt multipliers by name, (layers,), from (gamma, c)
        behind each, (layers, 2 x multipliers)."""
        step = self.blocks.step
        values = self._multiplied()
        found = {}
        for i, gain in enumerate(step.trace.gains):
            q, delta = values[2 * i : 2 * i + 2]
            norm = multiplier_grad(q, delta, grads[:, 2 * i : 2 * i + 2], arch.width, arch.tokens)
            self._require_resolved(gain.name, norm)
            with np.errstate(divide="ignore"):
                found[gain.name] = np.log(norm)
        return found

    def _multiplied(self) -> Any:
        """q and delta of what each multiplier and each gate of a block multiplies, one behind the other."""
        with np.errstate(divide="ignore", invalid="ignore"):  # behind a norm that reads zeros
            return self.blocks.step.multiplied(self.moments.q, self.moments.delta, self.blocks.multipliers)

    def _require_resolved(self, name: str, norms: Array) -> None:
        """Refuse squared norms that an expansion left below zero."""
        if (norms < 0).any():
            layer = int(self.blocks.layers[np.argmax(norms < 0)])
            raise AssumptionError(
                f"the gradient of {name} at layer {layer} is smaller than the orders in 1/width and 1/head "
                "width that the theory leaves out: tokens and their gradients add up to almost nothing; use "
                "an input cosine further from -1/(tokens - 1), a larger width, or simulate(...)"
            )


def _require_digits(sizes: Array) -> None:
    """Refuse second moments of a gradient, (depth + 1, streams), that are not finite or below zero."""
    lost = np.flatnonzero(~(sizes >= 0).all(axis=1) | ~np.isfinite(sizes).all(axis=1))
    if not len(lost):
        return
    layer = lost[-1]
    if np.isfinite(sizes[layer]).all():
        raise AssumptionError(
            f"the gradient at layer {layer} is lost in rounding: tokens are equal to all digits while "
            "logits grow exponentially with depth; predict a shallower stack"
        )
    raise AssumptionError(
        f"the gradient variance leaves float64's range at layer {layer}: under this scaling tokens collapse "
        "while logits grow exponentially with depth; predict a shallower stack"
    )
