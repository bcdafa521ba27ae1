"""The backward pass of the pair theory.

Gradient moments obey a linear map that is computed for all layers at once and then iterated with its
exponent carried apart, so that no depth under- or overflows.
"""

from __future__ import annotations

from math import inf, log
from typing import Any

import numpy as np

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..layers.attention import Attention
from ..spec.architecture import Architecture
from .affine import iterated
from .blocks import Readout, Segment
from .boundary import loss_moments
from .network_variance import QUADRATIC
from .stack import Stack

#: the range of a gradient's mantissa, and the narrower one that a stretch of ``STRETCH`` blocks starts from
MANTISSAS, STARTS, STRETCH = (1e-80, 1e80), (1e-40, 1e40), 128


def backward(
    arch: Architecture, stack: Stack, last: tuple[float, ...]
) -> tuple[Array, Array, dict[str, Array]]:
    """Gradient state at every boundary (mantissas), their exponents (base e), weight-gradient norms."""
    pairs, depth = stack.step.gradients, len(stack.order)
    width = 2 * len(pairs)
    readout = Readout.of(arch, stack.step.places, last)
    gamma, c = loss_moments(arch, readout.q, readout.delta)
    gradient, exponent = readout.gradient @ np.array([1.0, c / gamma]), float(np.log(gamma))
    details, entries, blocks = [], [], []
    for segment in stack.segments:
        maps, found = _branch_maps(segment)
        entry = segment.step.backward(*segment.known.T, *segment.multipliers, *(x for m in maps for x in m))
        matrices = np.zeros((len(segment.layers), width * width))
        for at, value in enumerate(entry[: width * width]):
            if not _vanishes(value):
                matrices[:, at] = value
        blocks.append(matrices.reshape(-1, width, width))
        entries.append(entry[width * width :])
        details.append(found)
    gradients, scales = _carried_back(stack.joined(blocks)[::-1], gradient, exponent)
    own = [2 * at for at, (i, j) in enumerate(pairs) if i == j]
    lost = np.flatnonzero(~(gradients[:, own] >= 0).all(axis=1))
    if len(lost):
        raise AssumptionError(
            f"the gradient at layer {lost[-1]} is lost in rounding: tokens are equal to all digits while "
            "logits grow exponentially with depth; predict a shallower stack"
        )
    weights = {name: np.empty(depth) for name in arch.weights}
    for segment, found, entry in zip(stack.segments, details, entries, strict=True):
        layers = segment.layers.astype(int)
        behind = gradients[layers + 1].T
        at_branches = np.zeros((len(entry) // width, len(layers)))
        for at, value in enumerate(entry):
            if not _vanishes(value):
                at_branches[at // width] += value * behind[at % width]
        # blocks pass the gradient behind them on with its exponent
        norms = _weight_grads(segment, found, at_branches.T, scales[layers + 1], arch.tokens)
        for name, log_norm in norms.items():
            weights[name][layers] = log_norm
    return gradients, scales, weights


def _carried_back(matrices: Array, gradient: Array, exponent: float) -> tuple[Array, Array]:
    """The gradient behind the last block and in front of each, (depth + 1, numbers), with exponents.

    A second moment is the largest entry; it is divided out before it leaves float64's range, which is looked
    at once a stretch.

    Args:
        matrices: of the blocks, the last one first; (depth, numbers, numbers).
    """
    found, depth, stretch = np.empty((len(matrices) + 1, len(gradient))), len(matrices), STRETCH
    exponents, done = np.empty(len(matrices) + 1), 0
    found[0], exponents[0] = gradient, exponent
    while done < depth:
        end = min(done + stretch, depth)
        found[done + 1 : end + 1] = passed = iterated(matrices[done:end], found[done])[1:]
        sizes = passed.max(axis=1)
        inside = (sizes > MANTISSAS[0]) & (sizes < MANTISSAS[1])
        if stretch > 1 and not inside.all():
            stretch = max(1, stretch // 8)  # again, in smaller steps
            continue
        size, exponents[done + 1 : end + 1] = float(sizes[-1]), exponent
        if not STARTS[0] < size < STARTS[1]:
            if not 0 < size < inf:
                raise AssumptionError(
                    f"the gradient variance leaves float64's range at layer {depth - end}: under this "
                    "scaling tokens collapse while logits grow exponentially with depth; predict a shallower "
                    "stack"
                )
            exponent += log(size)
            found[end] /= size
            exponents[end] = exponent
        done = end
    return found[::-1], exponents[::-1]


def _vanishes(entry: Any) -> bool:
    """Whether an entry of a backward matrix is zero at every layer, by its formula."""
    return isinstance(entry, int) and entry == 0


def _weight_grads(
    segment: Segment, details: list[dict[str, Array]], at_branches: Array, scales: Array, tokens: int
) -> dict[str, Array]:
    """Logarithms of the squared norms by matrix, over the segment's layers."""
    found: dict[str, Array] = {}
    for i, (component, gains, spread, (q, delta), maps, slopes) in enumerate(
        zip(
            segment.components,
            segment.gains,
            segment.spread.branches.T,
            segment.branch_inputs,
            details,
            segment.slopes,
            strict=True,
        )
    ):
        grad = at_branches[:, 2 * i : 2 * i + 2] * np.array([1 / (1 - segment.dropout), 1.0])
        if isinstance(component, Attention):
            norms = component.weight_grads(q, delta, spread, grad, gains, maps, slopes)
        else:
            norms = component.weight_grads(q, q - delta, grad[:, 0], grad[:, 1], gains, tokens, slopes)
        for name, value in norms.items():
            _require_resolved(name, value, segment.layers)
            with np.errstate(divide="ignore"):
                log_norm = np.log(value) + scales
            # quadratic in the drop, whose logarithm has the variance U over networks
            found[name] = log_norm + 2 * segment.stray[:, i] if name in QUADRATIC else log_norm
    return found


def _require_resolved(name: str, norms: Array, layers: Array) -> None:
    """Refuse squared norms that an expansion left below zero."""
    if (norms < 0).any():
        layer = int(layers[np.argmax(norms < 0)])
        raise AssumptionError(
            f"the gradient of {name} at layer {layer} is smaller than the orders in 1/width and 1/head width "
            "that the theory leaves out: tokens and their gradients add up to almost nothing; use an input "
            "cosine further from -1/(tokens - 1), a larger width, or simulate(...)"
        )


def _branch_maps(segment: Segment) -> tuple[list[Array], list[dict[str, Array]]]:
    """The four entries of each branch's 2 x 2 backward map, (4, layers), and attention's maps to each of its
    projections."""
    kept = np.array([1 / (1 - segment.dropout), 1.0, 1 / (1 - segment.dropout), 1.0])[:, None]
    maps: list[Array] = []
    details: list[dict[str, Array]] = []
    for component, gains, (q, delta), spread, slopes in zip(
        segment.components,
        segment.gains,
        segment.branch_inputs,
        segment.spread.branches.T,
        segment.slopes,
        strict=True,
    ):
        if isinstance(component, Attention):
            found = component.backward(q, delta, spread, gains, slopes)
            maps.append(found["stream"].reshape(-1, 4).T * kept)
            details.append(found)
        else:
            zero = np.zeros_like(q)
            maps.append(np.stack([slopes.gains[0] + zero, zero, zero, slopes.gains[1] + zero]) * kept)
            details.append({})
    return maps, details
