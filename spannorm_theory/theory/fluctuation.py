r"""How far the token drop of one network strays from that of the wide limit.

The token differences of a stream are many vectors, whose energy D = delta averages itself; the mean
mode is one vector of d coordinates, whose energy M = q - delta does not. A fresh branch of mean-mode energy
f, added to a stream of M, draws 2 m.f + f.f anew, of variance 4 M f / d + u f^2: u = 2/d for one Gaussian
matrix, twice that for attention, whose values of the mean mode pass two. Norms turn a larger M into smaller
differences, 1 - rho = D / (M + D), and where tokens collapse nothing brings them back: the logarithm of the
drop performs a random walk from network to network, of variance U, and

    E[delta^2] = (wide limit)^2 e^{2 U},

which the squared gradients of queries and keys carry, being quadratic in the drop. (The mean of the
logarithm stays: what the norms project off and Jensen's inequality cancel in feed-forward adds and leave
U/12 at most in attention's.) The deviations (dM/M, dD/D), taken as common to all streams, are propagated
linearly: through the block's compiled step by directional differences, through branches by their own
responses, at degree one in the size of their input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..components.attention import Attention
from ..components.kernels import Array
from ..components.pointwise import Pointwise

if TYPE_CHECKING:
    from .segment import Component, Segment

#: weight gradients whose squared norm is quadratic in the drop
QUADRATIC = ("attn.query", "attn.key")

#: relative step of the directional differences
STEP = 1e-4

#: covariance of (dM/M, dD/D): its entries 00, 01, 11
Covariance = tuple[float, float, float]


def advance_fluctuation(segment: Segment, start: Covariance, width: int) -> tuple[Array, Covariance]:
    """U at each branch's input, (layers, branches), and the covariance behind the last block.

    Args:
        segment: a run of blocks whose ``known`` moments are there.
        start: the covariance in front of it.
    """
    step, known = segment.step, segment.known.T
    pairs, branches = len(step.pairs), len(segment.components)
    q, delta = known[0::2], known[1::2]
    m = q - delta
    shape = (2 + branches, 2 * (pairs + branches), len(segment.layers))
    moved = np.zeros(shape)  # derivative of every known number along dM/M, dD/D and each branch's noise
    moved[0, : 2 * pairs : 2] = m[:pairs]
    moved[1, : 2 * pairs : 2] = moved[1, 1 : 2 * pairs : 2] = delta[:pairs]
    functions = [*step.branch_inputs, step.outputs]
    inputs = [2 * (pairs + i) for i in range(branches)] + [2 * (pairs + branches)]
    rows = np.zeros((branches, 2 + branches, len(segment.layers)))
    moments = segment.branch_inputs()
    for i, (component, (q_in, drop)) in enumerate(zip(segment.components, moments, strict=True)):
        at = inputs[i]
        dq, dd = _along(functions[i], known[:at], moved[:, :at], segment.multipliers)
        rows[i] = dd / _positive(drop) - dq / q_in
        gains = segment.gains[i]
        to_mean, to_all = _response(component, q_in, drop, known[at], known[at + 1], gains, dq, dd)
        moved[:, at], moved[:, at + 1] = to_all, to_all - to_mean
        share = _share(functions[i + 1 :], inputs[i + 1 :], known, at, segment.multipliers)
        own = (4 if isinstance(component, Attention) else 2) / width
        noise = own + 4 / width * (1 - share) / np.where(share > 0, share, np.inf)
        if not isinstance(component, Pointwise):  # an element-wise function draws nothing
            moved[2 + i, at] += m[pairs + i] * np.sqrt(np.maximum(noise, 0))
    dq, dd = _along(step.outputs, known, moved, segment.multipliers)
    q_out, drop_out = _values(step.outputs(*known, *segment.multipliers), len(segment.layers))
    behind = np.stack([(dq - dd) / _positive(q_out - drop_out), dd / _positive(drop_out)])
    return _walk(rows, behind, start)


def _along(function: Callable[..., Any], known: Array, moved: Array, multipliers: Sequence[Array]) -> Array:
    """Derivatives of a function's first (q, drop) along each direction; (2, directions, layers)."""
    up, down = (
        _values(
            function(*(known[:, None] + h * moved.swapaxes(0, 1)), *multipliers), len(moved), known.shape[1]
        )
        for h in (STEP, -STEP)
    )
    return np.asarray((up - down) / (2 * STEP))


def _values(values: Any, *shape: int) -> Array:
    return np.stack([np.broadcast_to(np.asarray(v, dtype=float), shape) for v in values[:2]])


def _response(
    component: Component,
    q: Array,
    drop: Array,
    out: Array,
    out_drop: Array,
    gains: dict[str, Array],
    dq: Array,
    dd: Array,
) -> tuple[Array, Array]:
    """What a branch's covariance between tokens, and its second moment, do when its input moves."""
    p, out_p = q - drop, out - out_drop
    if not isinstance(component, Attention):
        slope = component.gain(q, q, p, gains)
        return slope * (dq - dd) + (out_p - slope * p) / q * dq, out / q * dq
    if component.inner_norm:  # the mean mode's share of a fixed second moment
        return out_p * out_drop / _positive(out) * (
            (dq - dd) / _positive(p) - dd / _positive(drop)
        ), np.zeros_like(dq)
    if "value" in component.normed:
        scale = gains["attn.output"] / q
        dd, dq = dd - drop / q * dq, np.zeros_like(dq)
    else:
        scale = gains["attn.output"] * gains["attn.value"]
    # mean modes of values pass as they are; differences go on in proportion
    mean = scale * (dq - dd) + (out_p - scale * p) / _positive(drop) * dd
    return mean, mean + out_drop / _positive(drop) * dd


def _share(
    functions: Sequence[Callable[..., Any]],
    inputs: Sequence[int],
    known: Array,
    at: int,
    multipliers: Sequence[Array],
) -> Array:
    """Share of the branch whose second moment is ``known[at]`` in the mean mode of the first sum that
    reads it: what d ln(p / drop) is to d ln of it, whether a norm follows or not."""
    share = np.zeros(known.shape[1])
    mean = known[at] - known[at + 1]
    for function, count in zip(functions, inputs, strict=True):
        moved = np.zeros((1, count, known.shape[1]))
        moved[0, at] = mean
        q, drop = _values(function(*known[:count], *multipliers), known.shape[1])
        dq, dd = _along(function, known[:count], moved, multipliers)[:, 0]
        found = (dq - dd) / _positive(q - drop) - dd / _positive(drop)
        share = np.where(share > 0, share, np.clip(found, 0, 1))
    return share


def _walk(rows: Array, behind: Array, start: Covariance) -> tuple[Array, Covariance]:
    """U at each branch and the covariance behind: a linear recursion with fresh noise in every block."""
    fresh = np.square(rows[:, 2:]).sum(axis=1)
    noise = np.einsum("ikl,jkl->ijl", behind[:, 2:], behind[:, 2:])
    before: list[Covariance] = []
    now = start
    for (a, b), (c, d), x, y, z in zip(
        behind[0, :2].T.tolist(),
        behind[1, :2].T.tolist(),
        *(noise[i, j].tolist() for i, j in ((0, 0), (0, 1), (1, 1))),
        strict=True,
    ):
        before.append(now)
        u, v, w = now
        now = (
            a * a * u + 2 * a * b * v + b * b * w + x,
            a * c * u + (a * d + b * c) * v + b * d * w + y,
            c * c * u + 2 * c * d * v + d * d * w + z,
        )
    u, v, w = np.array(before).T
    first, second = rows[:, 0], rows[:, 1]
    return (first**2 * u + 2 * first * second * v + second**2 * w + fresh).T, now


def _positive(x: Array) -> Array:
    return np.where(x == 0, np.inf, x)
