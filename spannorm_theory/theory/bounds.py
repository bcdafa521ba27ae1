r"""Bounds on forward variance and gradient that hold for every token correlation rho, r in [0, 1].

A branch's gains depend on the correlations only through attention: the forward gain of averaging
attention lies between its extremes over rho, the backward gain between its extremes over
(rho, r), which is linear in r. The block's step is monotone in each gain and in each incoming moment
(the tests sample the interior of the boxes), so its extremes over the box of all of them lie at
corners, and intervals can be iterated block by block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from sympy import lambdify

from .. import symbols
from ..architecture import Architecture
from ..components.attention import Attention
from ..components.kernels import Array
from ..definitions.trace import Branch, Norm
from ..quantities import Key
from .ends import loss_interval
from .recursion import Recursion, derive
from .schedule import branch_gains
from .segment import branch_moments
from .step import Step

Interval = tuple[float, float]


def gain_intervals(arch: Architecture) -> dict[str, tuple[Interval, Interval]] | None:
    """Forward and backward gain of each kind of branch at unit input, over all correlations, before
    the scaling rule; None where a branch's gain also depends on the size of an unnormed input."""
    result: dict[str, tuple[Interval, Interval]] = {}
    recursion = derive(arch.placement, arch.scaling)
    parts = [part for part in (recursion, recursion.before) if part is not None]
    for part, branch in [(p, branch) for p in parts for branch in p.block.trace.branches]:
        free = "value" in arch.normed(branch) and branch.kind == "attention"
        if branch.elementwise or not (isinstance(branch.source, Norm) or _unit_stream(part, branch) or free):
            return None
        plain = replace(branch, gains={})
        gains = branch_gains(plain, arch, np.zeros(1))
        moments, kept = branch_moments(plain, arch), 1 - arch.dropout
        if isinstance(moments, Attention):
            result["attention"] = _attention_interval(moments, gains, min(0.0, arch.input_cosine), kept)
        else:
            one = {name: float(g[0]) for name, g in gains.items()}
            forward = moments.forward(1.0, 0.0, one)[0] / kept
            backward = float(moments.gain(1.0, 1.0, 1.0, one)) / kept
            result["ffn"] = (forward, forward), (backward, backward)
    return result


def _unit_stream(recursion: Recursion, branch: Branch) -> bool:
    """Whether the branch reads a stream that every block leaves with second moment one."""
    position = getattr(branch.source, "position", None)
    return position is not None and recursion.fixed.get((position, position)) == 1


def _attention_interval(
    moments: Attention, gains: dict[str, Array], lowest: float, kept: float
) -> tuple[Interval, Interval]:
    rho = np.linspace(lowest, 1, 201)
    one = {name: float(g[0]) for name, g in gains.items()}
    forward = np.array([moments.forward(1.0, 1.0 - r, one)[0] for r in rho]) / kept
    maps = moments.backward(np.ones_like(rho), 1 - rho, 1 / moments.width, gains)["stream"]
    backward = np.concatenate([maps[:, 0, 0] / kept, maps[:, 0, 0] / kept + maps[:, 0, 1]])
    return (float(forward.min()), float(forward.max())), (float(backward.min()), float(backward.max()))


@lru_cache(maxsize=256)
def _compiled(step: Step) -> tuple[Callable[..., Any], Callable[..., Any], tuple[int, int]]:
    gains = (symbols.sigma_a2, symbols.sigma_f2, symbols.omega_a2, symbols.omega_f2)
    states = [step.moment(*pair) for pair in step.pairs]
    names = [*states, *gains, symbols.layer, symbols.depth, symbols.width]
    forward = lambdify(names, list(step.forward.values()), modules="numpy", cse=True)
    matrix = step.backward_matrix
    return forward, lambdify(names, list(matrix), modules="numpy", cse=True), matrix.shape


def bounds(arch: Architecture) -> dict[Key, tuple[Array, Array]]:
    """Lower and upper bounds of ``variance`` and ``grad_variance`` (natural logarithms) by stream.

    The gradient starts with what the loss allows at the model's output. Empty where no bound is
    known: a branch reads an unnormed stream and its gains are not bounded. Under a mask early tokens
    collect the gradients of many, which the intervals here do not cover: only the variance is bounded (and
    not with attention dropout, which adds more to rows of few keys).
    """
    intervals = gain_intervals(arch)
    if intervals is None or (arch.attention_dropout and not arch.exchangeable):
        return {}
    (sa, wa), (sf, wf) = intervals["attention"], intervals["ffn"]
    recursion = derive(arch.placement, arch.scaling)
    steps = recursion.steps(arch.depth)
    pairs = recursion.block.pairs
    low = high = np.full(len(pairs), arch.input_second_moment)
    lows, highs = [low], [high]
    for l, step in enumerate(steps):
        corners = _corners(step, l, arch, low, high, sa, sf, wa, wf, which=0)
        low, high = corners.min(axis=0), corners.max(axis=0)
        lows.append(low)
        highs.append(high)
    streams = [pairs.index((s, s)) for s in range(arch.definition.streams)]
    gradient_low, gradient_high = _backward(arch, recursion, steps, lows, highs, (sa, sf, wa, wf))
    result: dict[Key, tuple[Array, Array]] = {}
    for s, at in enumerate(streams):
        result[str(s), "variance"] = np.log(np.array(lows)[:, at]), np.log(np.array(highs)[:, at])
        if arch.exchangeable:
            result[str(s), "grad_variance"] = gradient_low[:, at], gradient_high[:, at]
    return result


def _corners(
    step: Step,
    layer: int,
    arch: Architecture,
    low: Array,
    high: Array,
    sa: Interval,
    sf: Interval,
    wa: Interval,
    wf: Interval,
    which: int,
) -> Array:
    """The step's values at every corner of the box of moments and gains; shape (corners, values)."""
    forward, backward, shape = _compiled(step)
    axes = [np.unique([a, b]) for a, b in zip(low, high, strict=True)]
    axes += [np.unique(g) for g in ((sa, sf) if which == 0 else (sa, sf, wa, wf))]
    if which == 0:
        axes += [np.zeros(1), np.zeros(1)]
    grid = np.array(list(product(*axes))).T
    values = (forward, backward)[which](*grid, float(layer), float(arch.depth), float(arch.width))
    rows = np.array([np.broadcast_to(np.asarray(v, dtype=float), grid.shape[1:]) for v in values]).T
    return rows.reshape(-1, *shape) if which else rows


def _backward(
    arch: Architecture,
    recursion: Any,
    steps: list[Step],
    lows: list[Array],
    highs: list[Array],
    gains: tuple[Interval, Interval, Interval, Interval],
) -> tuple[Array, Array]:
    """Bounds of the logarithms of the gradient moments at every boundary, by stream pair."""
    unit: Interval = (1.0, 1.0)
    start = _corners(recursion.readout, 0, arch, lows[-1], highs[-1], unit, unit, unit, unit, which=1)
    low, high = start.min(axis=0)[:, 0], start.max(axis=0)[:, 0]
    shift_low, shift_high = np.log(loss_interval(arch))
    found = [(np.log(low) + shift_low, np.log(high) + shift_high)]
    for l in range(len(steps) - 1, -1, -1):
        corners = _corners(steps[l], l, arch, lows[l], highs[l], *gains, which=1)
        # every entry and every gradient moment is non-negative, so the map is monotone in each
        low, high = corners.min(axis=0) @ low, corners.max(axis=0) @ high
        shift_low, shift_high = shift_low + np.log(low.max()), shift_high + np.log(high.max())
        low, high = low / low.max(), high / high.max()
        with np.errstate(divide="ignore"):
            found.append((np.log(low) + shift_low, np.log(high) + shift_high))
    found.reverse()
    return np.array([a for a, _ in found]), np.array([b for _, b in found])
