r"""U: variance over networks of the logarithm of a stream's token drop over its second moment (T9.4, T9.5).

Token differences are many vectors, whose energy delta averages itself; the mean mode is one vector of d
coordinates, of energy M = q - delta. A fresh branch of mean-mode energy f, added to a stream of M, draws the
variance 4 M f / d + u f^2 anew, u = 2/d for one Gaussian matrix and twice that for attention, whose values of
the mean mode pass two. The deviations (dM/M, ddelta/delta), taken as common to all streams, go through each
block by the derivatives of its compiled step, and through branches by their own responses, at degree one in
the size of their input; U = Var(dln delta - dln q). Squared gradients of queries and keys, quadratic in the
drop, carry e^{2 U}. Leading order in L/d.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..gaussian.closed_forms import Array
from ..layers.attention import Attention
from ..layers.pointwise import Pointwise
from ..moments.differential import Gradient
from .blocks import BlockMoments
from .stack import Stack


def network_variance(stack: Stack, moments: Sequence[BlockMoments], width: int) -> list[Array]:
    """U at the branches' inputs, one array (layers, branches) for each wiring.

    Args:
        moments: second moments in the blocks of each wiring.
        width: d.
    """
    deviations = [_Deviations(wiring, width) for wiring in moments]
    maps, noise = (stack.in_order(part) for part in zip(*(d.recursion() for d in deviations), strict=True))
    covariance, in_front = np.zeros(3), []
    for one, fresh in zip(maps, noise, strict=True):
        in_front.append(covariance)
        covariance = one @ covariance + fresh
    parts = zip(deviations, stack.by_wiring(np.array(in_front)), strict=True)
    return [wiring.at_branches(before) for wiring, before in parts]


class _Deviations:
    """The linear recursion of (dM/M, ddelta/delta) through the blocks of one wiring.

    Columns stand for the two deviations in front of the block, then for each branch's noise.

    Attributes:
        rows: deviation of ln(delta/q) at each branch's input, (branches, 2 + branches, layers).
        behind: the two deviations behind the block, (2, 2 + branches, layers).
    """

    def __init__(self, moments: BlockMoments, width: int) -> None:
        blocks, gradients = moments.blocks, moments.derivatives[0]
        pairs, branches = moments.pairs, len(blocks.components)
        delta, m = moments.delta, moments.q - moments.delta
        # derivatives of q and delta of every source along dM/M, ddelta/delta and each branch's noise
        moved_q, moved_delta = np.zeros((2, pairs + branches, 2 + branches, len(blocks.layers)))
        moved_q[:pairs, 0], moved_q[:pairs, 1] = m[:pairs], delta[:pairs]
        moved_delta[:pairs, 1] = delta[:pairs]
        moved = {"q": moved_q, "delta": moved_delta}
        outputs = blocks.step.outputs(moments.q, moments.delta, blocks.multipliers)
        q, drop, _ = np.broadcast_arrays(outputs[0], outputs[pairs], m[0])
        values = [*moments.branch_inputs, (q, drop)]
        self.rows = np.zeros((branches, 2 + branches, len(blocks.layers)))
        for i, component in enumerate(blocks.components):
            source, (q_in, drop_in) = pairs + i, values[i]
            dq, dd = (_along(gradient, moved) for gradient in gradients[i])
            self.rows[i] = dd / _positive(drop_in) - dq / _positive(q_in)
            to_mean, to_all = _response(moments, i, dq, dd)
            moved_q[source], moved_delta[source] = to_all, to_all - to_mean
            if isinstance(component, Pointwise):  # an element-wise function draws nothing
                continue
            share = _share(gradients[i + 1 :], values[i + 1 :], source, m[source])
            at = moments.branches[i]
            own = 2 * (component.matrices(at) if isinstance(component, Attention) else 1) / width
            noise = own + 4 / width * (1 - share) / np.where(share > 0, share, np.inf)
            moved_q[source, 2 + i] += m[source] * np.sqrt(np.maximum(noise, 0))
        dq, dd = (_along(gradient, moved) for gradient in gradients[branches])
        self.behind = np.stack([(dq - dd) / _positive(q - drop), dd / _positive(drop)])

    def recursion(self) -> tuple[Array, Array]:
        """Maps of the entries 00, 01, 11 of the deviations' covariance through each block, (layers, 3, 3),
        and what its noise adds to them, (layers, 3)."""
        (a, b), (c, d) = self.behind[:, :2]
        x, y = self.behind[:, 2:]
        maps = np.array([[a * a, 2 * a * b, b * b], [a * c, a * d + b * c, b * d], [c * c, 2 * c * d, d * d]])
        noise = np.stack([(x * x).sum(axis=0), (x * y).sum(axis=0), (y * y).sum(axis=0)], axis=1)
        return maps.transpose(2, 0, 1), noise

    def at_branches(self, before: Array) -> Array:
        """U at each branch's input, (layers, branches), from these entries in front of each block."""
        u, v, w = before.T
        first, second = self.rows[:, 0], self.rows[:, 1]
        fresh = np.square(self.rows[:, 2:]).sum(axis=1)
        return np.asarray((first**2 * u + 2 * first * second * v + second**2 * w + fresh).T)


def _along(gradient: Gradient, moved: Mapping[str, Array]) -> Array:
    """Derivatives along each direction, (directions, layers), for ``moved`` q and delta, (sources,
    directions, layers)."""
    total = np.zeros(moved["q"].shape[1:])
    for (moment, source), slope in gradient.items():
        total += slope * moved[moment][source]
    return total


def _response(moments: BlockMoments, branch: int, dq: Array, dd: Array) -> tuple[Array, Array]:
    """Changes of a branch's covariance between tokens and of its second moment, when q and delta of its input
    change by ``dq`` and ``dd``; (directions, layers) each."""
    blocks = moments.blocks
    component, gains = blocks.components[branch], blocks.gains[branch]
    q, drop = moments.branch_inputs[branch]
    out, out_drop = moments.q[moments.pairs + branch], moments.delta[moments.pairs + branch]
    p, out_p, q = q - drop, out - out_drop, _positive(q)
    if not isinstance(component, Attention):
        slope = moments.branches[branch].back[1]
        return slope * (dq - dd) + (out_p - slope * p) / q * dq, out / q * dq
    if component.inner_norm:  # the mean mode's share of a fixed second moment
        return out_p * out_drop / _positive(out) * (
            (dq - dd) / _positive(p) - dd / _positive(drop)
        ), np.zeros_like(dq)
    norm = component.head_norm
    if norm is not None and "value" in component.normed:
        share = norm.of("value").share(gains["attn.value"] * q)
        scale = gains["attn.output"] * share / q
        dd, dq = dd - share * drop / q * dq, (1 - share) * dq
    else:
        scale = gains["attn.output"] * gains["attn.value"]
        if "value" in component.latents.names:
            scale = scale / q
            dd, dq = dd - drop / q * dq, np.zeros_like(dq)
    # mean modes of values pass as they are; differences go on in proportion, and a gate by its slope
    kept, by_gate = component.gating(moments.branches[branch])
    scale = scale * kept
    mean = (scale + by_gate) * (dq - dd) + (out_p - scale * p) / _positive(drop) * dd
    return mean, mean + out_drop / _positive(drop) * dd


def _share(
    gradients: Sequence[tuple[Gradient, Gradient]],
    values: Sequence[tuple[Array, Array]],
    source: int,
    mean: Array,
) -> Array:
    """Share of a branch in the mean mode of the first sum that reads it, (layers,): the derivative of
    ln(p/delta) there in the logarithm of the branch's mean mode, whether a norm follows or not.

    Args:
        gradients, values: derivatives and values of (q, delta) of all that may read it, in order.
        source: number of the branch among the sources.
        mean: its mean mode.
    """
    share = np.zeros(len(mean))
    for (to_q, to_drop), (q, drop) in zip(gradients, values, strict=True):
        key = "q", source
        if key not in to_q and key not in to_drop:
            continue
        dq, dd = to_q.get(key, 0.0) * mean, to_drop.get(key, 0.0) * mean
        found = (dq - dd) / _positive(q - drop) - dd / _positive(drop)
        share = np.where(share > 0, share, np.clip(found, 0, 1))
        if (share > 0).all():
            break
    return share


def _positive(x: Array) -> Array:
    return np.where(x == 0, np.inf, x)
