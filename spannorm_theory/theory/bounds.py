r"""Bounds on forward variance and gradient that hold for every token correlation rho, r in [0, 1].

A branch's gains depend on the correlations only through attention: the forward gain of averaging
attention lies between its extremes over rho, the backward gain between its extremes over
(rho, r), which is linear in r. The block's step is monotone in each gain and in each incoming moment
(the tests sample the interior of the boxes), so its extremes over the box of all of them lie at
corners, and intervals can be iterated block by block.

Where those extremes are not those of one curve, attention is bounded for any weights A: under a mask,
whose tokens are unlike, and on unnormed streams, whose logits grow. For a gradient Gram G >= 0 of mean
gamma, a value Gram 0 <= V <= s_V u, keys alike, and rows A_i with softmax Jacobians M_i,

    values   gamma / n <= tr(A^T G A) / n <= n gamma     |A_i|^2 >= 1/n;  |A|_1 |A|_inf <= n
    queries  tr(M_i V M_i K) <= tr(M_i V) tr(M_i K) <= s_V s_K u^2
    keys     sum_ik G_ik Q_ik tr(M_i V M_k) <= n^2 gamma s_Q s_V u^2

so that the backward gain of the mean over tokens lies in s_O s_V [1/n, n + (n + 1) v], v = s_Q s_K u^2 the
logit variance: loose, as it must hold for weights that all pick one key. A feed-forward branch on an
unnormed stream has the extremes of its gains over all sizes of its input, where these are finite (not when
gated: its gain grows with its input).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from sympy import Matrix, lambdify

from .. import symbols
from ..architecture import Architecture
from ..components.attention import Attention
from ..components.kernels import Array
from ..definitions.trace import Branch, Norm, Stream
from ..quantities import Key
from .ends import loss_interval
from .recursion import Recursion, derive
from .schedule import branch_gains
from .segment import branch_moments
from .step import Step

Interval = tuple[float, float]

#: second moments of an unnormed feed-forward input, from where activations are linear to where they are
#: straight on each side
SIZES = np.logspace(-8, 8, 161)


def gain_intervals(arch: Architecture, largest: float = 1.0) -> dict[str, tuple[Interval, Interval]] | None:
    """Forward and backward gain of each kind of branch, relative to its input's second moment, over all
    correlations and before the scaling rule. ``largest`` bounds the second moment of unnormed streams; None
    where a branch's gain is not bounded."""
    result: dict[str, tuple[Interval, Interval]] = {}
    for recursion, branch in _branches(arch):
        unit = _sized(arch, recursion, branch)
        plain_stream = isinstance(branch.source, Stream)
        if branch.elementwise or not (unit or branch.kind == "ffn" or plain_stream):
            return None
        plain = replace(branch, gains={})
        gains = branch_gains(plain, arch, np.zeros(1))
        moments, kept = branch_moments(plain, arch), 1 - arch.dropout
        if isinstance(moments, Attention):
            if unit and arch.exchangeable:
                result["attention"] = _attention_interval(moments, gains, min(0.0, arch.input_cosine), kept)
            elif arch.attention_dropout or branch.inner_norm:  # rows of few keys weigh more, or all the same
                return None
            else:
                result["attention"] = _any_weights(moments, gains, 1.0 if unit else largest, kept)
        else:
            one = {name: float(g[0]) for name, g in gains.items()}
            sizes = np.ones(1) if unit else SIZES
            forward = moments.output(sizes, sizes, sizes, one) / sizes
            backward = moments.gain(sizes, sizes, sizes, one)
            if not unit and max(x[-1] / x[-2] for x in (forward, backward)) > 1.1:
                return None
            result["ffn"] = _range(forward / kept), _range(backward / kept)
    return result


def _branches(arch: Architecture) -> list[tuple[Recursion, Branch]]:
    """The branches of early and of other blocks."""
    recursion = derive(arch.placement, arch.scaling)
    parts = [part for part in (recursion, recursion.before) if part is not None]
    return [(part, branch) for part in parts for branch in part.block.trace.branches]


def sized(arch: Architecture) -> bool:
    """Whether no branch's gains depend on the size of its input."""
    return all(_sized(arch, *where) for where in _branches(arch))


def _sized(arch: Architecture, recursion: Recursion, branch: Branch) -> bool:
    """Whether the branch's gains do not depend on the size of its input, as that is one or normed away."""
    free = branch.kind == "attention" and "value" in arch.normed(branch)
    return isinstance(branch.source, Norm) or _unit_stream(recursion, branch) or free


def _range(x: Array) -> Interval:
    return float(x.min()), float(x.max())


def _any_weights(
    moments: Attention, gains: dict[str, Array], u: float, kept: float
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
    forward = output * size["value"] / u
    return (forward / n, forward), (
        output * back["value"] / n,
        output * (n * back["value"] + moments.logit_factor * paths),
    )


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
def _compiled(step: Step, which: int) -> tuple[Callable[..., Any], tuple[int, ...]]:
    gains = (symbols.sigma_a2, symbols.sigma_f2, symbols.omega_a2, symbols.omega_f2)
    states = [step.moment(*pair) for pair in step.pairs]
    names = [*states, *gains, symbols.layer, symbols.depth, symbols.width]
    entries = step.backward_matrix if which else Matrix(list(step.forward.values()))
    return lambdify(names, list(entries), modules="numpy", cse=True), entries.shape


def bounds(arch: Architecture, *, gradients: bool = True) -> dict[Key, tuple[Array, Array]]:
    """Lower and upper bounds of ``variance`` and ``grad_variance`` (natural logarithms) by stream.

    The gradient starts with what the loss allows at the model's output. Empty where no bound is
    known: a branch reads an unnormed stream and its gains are not bounded.

    Args:
        gradients: without them only the variance, which for several streams is much less work.
    """
    intervals = gain_intervals(arch)
    if intervals is None or (arch.attention_dropout and not arch.exchangeable):
        return {}
    sa, sf = intervals["attention"][0], intervals["ffn"][0]
    wa = wf = (1.0, 1.0)
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
    result: dict[Key, tuple[Array, Array]] = {}
    for s, at in enumerate(streams):
        result[str(s), "variance"] = np.log(np.array(lows)[:, at]), np.log(np.array(highs)[:, at])
    if not gradients:
        return result
    if sized(arch):
        found = [intervals] * arch.depth
    else:
        found = [gain_intervals(arch, float(high.max())) or intervals for high in highs[:-1]]
    gains = [(sa, sf, here["attention"][1], here["ffn"][1]) for here in found]
    gradient_low, gradient_high = _backward(arch, recursion, steps, lows, highs, gains)
    for s, at in enumerate(streams):
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
    function, shape = _compiled(step, which)
    axes = [np.unique([a, b]) for a, b in zip(low, high, strict=True)]
    axes += [np.unique(g) for g in ((sa, sf) if which == 0 else (sa, sf, wa, wf))]
    if which == 0:
        axes += [np.zeros(1), np.zeros(1)]
    grid = np.array(list(product(*axes))).T
    values = function(*grid, float(layer), float(arch.depth), float(arch.width))
    rows = np.array([np.broadcast_to(np.asarray(v, dtype=float), grid.shape[1:]) for v in values]).T
    return rows.reshape(-1, *shape) if which else rows


def _backward(
    arch: Architecture,
    recursion: Any,
    steps: list[Step],
    lows: list[Array],
    highs: list[Array],
    gains: list[tuple[Interval, Interval, Interval, Interval]],
) -> tuple[Array, Array]:
    """Bounds of the logarithms of the gradient moments at every boundary, by stream pair."""
    unit: Interval = (1.0, 1.0)
    start = _corners(recursion.readout, 0, arch, lows[-1], highs[-1], unit, unit, unit, unit, which=1)
    low, high = start.min(axis=0)[:, 0], start.max(axis=0)[:, 0]
    shift_low, shift_high = np.log(loss_interval(arch))
    found = [(np.log(low) + shift_low, np.log(high) + shift_high)]
    for l in range(len(steps) - 1, -1, -1):
        corners = _corners(steps[l], l, arch, lows[l], highs[l], *gains[l], which=1)
        # every entry and every gradient moment is non-negative, so the map is monotone in each
        low, high = corners.min(axis=0) @ low, corners.max(axis=0) @ high
        shift_low, shift_high = shift_low + np.log(low.max()), shift_high + np.log(high.max())
        low, high = low / low.max(), high / high.max()
        with np.errstate(divide="ignore"):
            found.append((np.log(low) + shift_low, np.log(high) + shift_high))
    found.reverse()
    return np.array([a for a, _ in found]), np.array([b for _, b in found])
