r"""Bounds on forward variance and gradient that hold for every token correlation rho, r in [0, 1].

A branch's gains depend on the correlations only through attention: the forward gain of averaging
attention lies between its extremes over rho, the backward gain between its extremes over
(rho, r), which is linear in r. The block's step is monotone in each gain and in each incoming moment
(the tests sample the interior of the boxes), so its extremes over the box of all of them lie at
corners, and intervals can be iterated block by block. On the way the second moment u at each branch's
input has an interval of its own, and the branch's gains their extremes over it and over the rule's gains of
that layer: one point behind a norm, with or without a factor; for a feed-forward branch on an unnormed
stream, gated or not, sizes between the stream's bounds. An element-wise function phi in a norm's place is a
formula in u, E phi^2 rising and E phi'^2 falling with it, which is checked between the bounds of u.

Where attention's extremes are not those of one curve, it is bounded for any weights A: under a mask,
whose tokens are unlike, and where u is not one number. For a gradient Gram G >= 0 of mean
gamma, a value Gram 0 <= V <= s_V u, keys alike, and rows A_i with softmax Jacobians M_i,

    values   gamma / n <= tr(A^T G A) / n <= n gamma     |A_i|^2 >= 1/n;  |A|_1 |A|_inf <= n
    queries  tr(M_i V M_i K) <= tr(M_i V) tr(M_i K) <= s_V s_K u^2
    keys     sum_ik G_ik Q_ik tr(M_i V M_k) <= n^2 gamma s_Q s_V u^2

so that the backward gain of the mean over tokens lies in s_O s_V [1/n, n + (n + 1) v], v = s_Q s_K u^2 the
logit variance: loose, as it must hold for weights that all pick one key.

There are no bounds where u has none that a kernel can be computed at (a gated branch on an unnormed stream
squares it in every block), under dropout of attention weights unless tokens are exchangeable and u is one
number, and for a norm inside attention under these conditions: rows of few keys then weigh more, or all the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from sympy import Expr, lambdify, sympify

from .. import symbols
from ..architecture import Architecture
from ..components.activations import ACTIVATIONS
from ..components.attention import Attention
from ..components.kernels import Array
from ..definitions.trace import Branch, Norm
from ..errors import AssumptionError
from ..quantities import Key
from .ends import loss_interval
from .recursion import Recursion, derive
from .schedule import branch_gains, over_layers
from .segment import branch_moments
from .stack import LARGEST_VARIANCE
from .step import VALUE_PATH, Step, numeric_moments, rule_gain, scale_free

Interval = tuple[float, float]

UNIT: Interval = (1.0, 1.0)

#: sizes of a branch input for each decade of its bounds, and the least number of them
PER_DECADE, FEWEST = 10, 9

#: tolerance for one number
SAME = 1e-12


def gain_intervals(arch: Architecture) -> dict[str, tuple[Interval, Interval]] | None:
    """Forward and backward gain of each kind of branch over all layers and correlations, relative to its
    input's second moment (where that matters) and to the scaling rule's gains on the value path; None where
    a branch's gain is not bounded."""
    found = forward_box(arch)
    if found is None:
        return None
    return {
        kind: (_hull([x[kind][0] for x in found.gains]), _hull([x[kind][1] for x in found.gains]))
        for kind in found.gains[0]
    }


def _hull(intervals: list[Interval]) -> Interval:
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def sized(arch: Architecture) -> bool:
    """Whether no branch's gains depend on the size of its input."""
    recursion = derive(arch.placement, arch.scaling)
    parts = [part for part in (recursion, recursion.before) if part is not None]
    return all(_sized(arch, part, b) for part in parts for b in part.block.trace.branches)


def _sized(arch: Architecture, recursion: Recursion, branch: Branch) -> bool:
    """Whether the branch's gains do not depend on the size of its input, as that is one or normed away."""
    free = branch.kind == "attention" and "value" in arch.normed(branch)
    return isinstance(branch.source, Norm) or _unit_stream(recursion, branch) or free


@dataclass
class ForwardBox:
    """Bounds of the stream pairs' second moments in front of each block and behind the last, and the gains
    of each kind of branch in each block."""

    lows: list[Array]
    highs: list[Array]
    gains: list[dict[str, tuple[Interval, Interval]]]


def forward_box(arch: Architecture) -> ForwardBox | None:
    """The forward half of the bounds; None where there are none."""
    recursion = derive(arch.placement, arch.scaling)
    low = high = np.full(len(recursion.block.pairs), arch.input_second_moment)
    result = ForwardBox([low], [high], [])
    known: dict[Any, tuple[Interval, Interval] | None] = {}
    for l, step in enumerate(recursion.steps(arch.depth)):
        gains: dict[str, tuple[Interval, Interval]] = dict.fromkeys(("attention", "ffn"), (UNIT, UNIT))
        seen: set[str] = set()
        try:
            for i, branch in enumerate(step.trace.branches):
                sizes = _corners(_forward(step)[1 + i], l, arch, low, high, gains, backward=False)
                smallest, largest = float(sizes.min()), float(sizes.max())
                if not largest <= LARGEST_VARIANCE:
                    return None
                found = _gains_at(arch, branch, l, smallest, largest, known)
                if found is None:
                    return None
                if branch.elementwise:
                    continue
                if branch.kind in seen:
                    found = tuple(_hull([x, y]) for x, y in zip(gains[branch.kind], found, strict=True))  # type: ignore[assignment]
                seen.add(branch.kind)
                gains[branch.kind] = found
            corners = _corners(_forward(step)[0], l, arch, low, high, gains, backward=False)
        except AssumptionError:  # a kernel that does not converge at such sizes
            return None
        low, high = corners.min(axis=0), corners.max(axis=0)
        result.lows.append(low)
        result.highs.append(high)
        result.gains.append(gains)
    return result


def _gains_at(
    arch: Architecture,
    branch: Branch,
    layer: int,
    low: float,
    high: float,
    known: dict[Any, tuple[Interval, Interval] | None],
) -> tuple[Interval, Interval] | None:
    """Forward and backward gain of a branch of one block whose input has a second moment in [low, high]."""
    if high - low <= SAME * high:
        low = high
    if branch.elementwise:
        return (UNIT, UNIT) if low == high or _monotone(branch.kind, low, high) else None
    # the value path's gains of the scaling rule are factors of the step
    path = VALUE_PATH[branch.kind]
    inner = replace(branch, gains={name: g for name, g in branch.gains.items() if name not in path})
    exact = replace(branch, gains=dict(branch.gains))
    factor = float(over_layers(sympify(rule_gain(branch)), arch, np.array([float(layer)]))[0])
    chosen = exact if factor > 0 else inner
    gains = branch_gains(chosen, arch, np.array([float(layer)]))
    key = (branch.kind, branch.normed, branch.inner_norm, low, high, *(float(g[0]) for g in gains.values()))
    if key not in known:
        known[key] = _box(arch, chosen, gains, low, high)
    found = known[key]
    if found is None or factor == 0:
        return found
    (a, b), (c, d) = found
    return (a / factor, b / factor), (c / factor, d / factor)


def _box(
    arch: Architecture, branch: Branch, gains: dict[str, Array], low: float, high: float
) -> tuple[Interval, Interval] | None:
    moments, kept = branch_moments(branch, arch), 1 - arch.dropout
    free = scale_free(replace(branch, normed=arch.normed(branch)))
    if isinstance(moments, Attention):
        whole = len(moments.normed) == 3  # what it does is the same at every size
        if (low == high or whole) and arch.exchangeable:
            return _attention_interval(moments, gains, high, min(0.0, arch.input_cosine), kept, free)
        if arch.attention_dropout or branch.inner_norm:
            return None
        return _any_weights(moments, gains, high, kept, free)
    one = {name: float(g[0]) for name, g in gains.items()}
    count = max(FEWEST, int(PER_DECADE * np.log10(high / low)) + 1) if low < high else 1
    sizes = np.geomspace(low, high, count)
    forward = moments.output(sizes, sizes, sizes, one) / (1.0 if free else sizes)
    backward = moments.gain(sizes, sizes, sizes, one) * (sizes if free else 1.0)
    return _range(forward / kept), _range(backward / kept)


def _monotone(activation: str, low: float, high: float) -> bool:
    """Whether E phi^2 rises and E phi'^2 falls with the size of the input."""
    sizes = np.geomspace(low, high, max(FEWEST, int(PER_DECADE * np.log10(high / low)) + 1))
    kernel = ACTIVATIONS[activation].kernel
    value, slope = kernel.value(sizes, sizes, sizes), kernel.slope(sizes, sizes, sizes)
    return bool((np.diff(value) >= 0).all() and (np.diff(slope) <= 0).all())


def _range(x: Array) -> Interval:
    return float(x.min()), float(x.max())


def _any_weights(
    moments: Attention, gains: dict[str, Array], u: float, kept: float, free: bool
) -> tuple[Interval, Interval]:
    """Gains for any mask and any weights, at an input of second moment up to u."""
    n, one = moments.tokens, {name: float(g[0]) for name, g in gains.items()}
    size, back = {}, {}
    for name in ("query", "key", "value"):
        kernel = moments.head_norm if name in moments.normed else None
        size[name] = one[f"attn.{name}"] * u if kernel is None else 1.0
        back[name] = one[f"attn.{name}"] if kernel is None else float(kernel.slope(1.0)) / u
    output = one["attn.output"] / kept
    paths = size["value"] * (size["key"] * back["query"] + n * size["query"] * back["key"])
    forward = output * size["value"] / (1.0 if free else u)
    scale = u if free else 1.0
    return (forward / n, forward), (
        scale * output * back["value"] / n,
        scale * output * (n * back["value"] + moments.logit_factor * paths),
    )


def _unit_stream(recursion: Recursion, branch: Branch) -> bool:
    """Whether the branch reads a stream that every block leaves with second moment one."""
    position = getattr(branch.source, "position", None)
    return position is not None and recursion.fixed.get((position, position)) == 1


def _attention_interval(
    moments: Attention, gains: dict[str, Array], u: float, lowest: float, kept: float, free: bool
) -> tuple[Interval, Interval]:
    """The extremes over all correlations at an input of second moment u."""
    rho = np.linspace(lowest, 1, 201)
    one = {name: float(g[0]) for name, g in gains.items()}
    forward = np.array([moments.forward(u, u * float(1 - r), one)[0] for r in rho]) / kept
    maps = moments.backward(np.full_like(rho, u), u * (1 - rho), 1 / moments.width, gains)["stream"]
    backward = np.concatenate([maps[:, 0, 0] / kept, maps[:, 0, 0] / kept + maps[:, 0, 1]])
    return _range(forward / (1.0 if free else u)), _range(backward * (u if free else 1.0))


@lru_cache(maxsize=256)
def _forward(step: Step) -> list[Callable[..., Any]]:
    """Functions of the stream pairs' moments, the gains and (l, L, d): those moments behind the step, then
    the second moment at each branch's input."""
    return [_compiled(step, e) for e in (list(step.forward.values()), *([u] for u in step.branch_sizes))]


@lru_cache(maxsize=256)
def _gradient(step: Step) -> Callable[..., Any]:
    """The step's backward matrix as such a function."""
    return _compiled(step, list(step.backward_matrix))


def _compiled(step: Step, expressions: list[Expr]) -> Callable[..., Any]:
    gains = (symbols.sigma_a2, symbols.sigma_f2, symbols.omega_a2, symbols.omega_f2)
    states = [step.moment(*pair) for pair in step.pairs]
    names = [*states, *gains, symbols.layer, symbols.depth, symbols.width]
    found: Callable[..., Any] = lambdify(names, expressions, modules=[numeric_moments(), "numpy"], cse=True)
    return found


def bounds(arch: Architecture, *, gradients: bool = True) -> dict[Key, tuple[Array, Array]]:
    """Lower and upper bounds of ``variance`` and ``grad_variance`` (natural logarithms) by stream.

    The gradient starts with what the loss allows at the model's output. Empty where no bound is
    known: see above.

    Args:
        gradients: without them only the variance, which for several streams is much less work.
    """
    if arch.attention_dropout and not arch.exchangeable:
        return {}
    forward = forward_box(arch)
    if forward is None:
        return {}
    recursion = derive(arch.placement, arch.scaling)
    pairs = recursion.block.pairs
    streams = {str(s): pairs.index((s, s)) for s in range(arch.definition.streams)}
    result: dict[Key, tuple[Array, Array]] = {}
    for s, at in streams.items():
        lows, highs = (np.log(np.array(x)[:, at]) for x in (forward.lows, forward.highs))
        result[s, "variance"] = lows, highs
    if not gradients:
        return result
    gradient_low, gradient_high = _backward(arch, recursion, forward)
    for s, at in streams.items():
        result[s, "grad_variance"] = gradient_low[:, at], gradient_high[:, at]
    return result


def _corners(
    function: Callable[..., Any],
    layer: int,
    arch: Architecture,
    low: Array,
    high: Array,
    gains: dict[str, tuple[Interval, Interval]],
    *,
    backward: bool,
) -> Array:
    """A compiled function at every corner of the box of moments and gains; shape (corners, values)."""
    axes = [np.unique([a, b]) for a, b in zip(low, high, strict=True)]
    for way in (0, 1):
        for kind in ("attention", "ffn"):
            axes.append(np.unique(gains[kind][way]) if backward or way == 0 else np.ones(1))
    grid = np.array(list(product(*axes))).T
    values = function(*grid, float(layer), float(arch.depth), float(arch.width))
    return np.array([np.broadcast_to(np.asarray(v, dtype=float), grid.shape[1:]) for v in values]).T


def _backward(arch: Architecture, recursion: Recursion, forward: ForwardBox) -> tuple[Array, Array]:
    """Bounds of the logarithms of the gradient moments at every boundary, by stream pair."""
    count = len(recursion.block.pairs)
    none = dict.fromkeys(("attention", "ffn"), (UNIT, UNIT))
    readout = _gradient(recursion.readout)
    start = _corners(readout, 0, arch, forward.lows[-1], forward.highs[-1], none, backward=True)
    low, high = start.min(axis=0), start.max(axis=0)
    shift_low, shift_high = np.log(loss_interval(arch))
    found = [(np.log(low) + shift_low, np.log(high) + shift_high)]
    steps = recursion.steps(arch.depth)
    for l in range(arch.depth - 1, -1, -1):
        box = forward.lows[l], forward.highs[l], forward.gains[l]
        corners = _corners(_gradient(steps[l]), l, arch, *box, backward=True).reshape(-1, count, count)
        # every entry and every gradient moment is non-negative, so the map is monotone in each
        low, high = corners.min(axis=0) @ low, corners.max(axis=0) @ high
        shift_low, shift_high = shift_low + np.log(low.max()), shift_high + np.log(high.max())
        low, high = low / low.max(), high / high.max()
        with np.errstate(divide="ignore"):
            found.append((np.log(low) + shift_low, np.log(high) + shift_high))
    found.reverse()
    return np.array([a for a, _ in found]), np.array([b for _, b in found])
