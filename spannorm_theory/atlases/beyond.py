r"""A stack carried on beyond any depth, in x = ln l: what laws in ln L alone are held against.

Such laws belong to stacks of one stream whose blocks change things as 1/l: q_{l+1} - q_l = F(q, l) and a
block's factor exp(f(q, l)) with l F and l f independent of l in deep blocks. They converge as the root of
ln L, which no loop over blocks reaches. From block ``DEPTHS[-1]`` of a stack iterated block by block, with
1/l of a unit,

    dq/dx = l F(q, l),  d ln(product)/dx = l f(q, l),  hence  x = int dq / (l F),  ln(product) = int f/F dq,

with F and f of the block as the definition wires it (:mod:`spannorm_theory.moments.constant_gains`), on a
grid in ln q; no formula of a step and no law is used. The error is of the order of 1/``DEPTHS[-1]``, in a
factor of each quantity that is the same at all depths beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

import numpy as np
from scipy.integrate import cumulative_simpson

from ..base.errors import AssumptionError
from ..derivation.iterated import Ends, Iteration
from ..gaussian.closed_forms import Array
from ..moments.constant_gains import Gains, Wiring
from .check import DEPTHS

#: blocks at which l F and l f are taken: what is left of their dependence on l, as 1/l, is taken out
NEAR, FAR = 2.0**11, 2.0**12

#: how much l F may differ between the two
SETTLED = 1e-3

#: points of the grid for each factor e of q, which ends where differences still keep five digits
POINTS, HIGHEST = 400, log(1e6)


def ends_beyond(iteration: Iteration, gains: Gains, start: Ends, q0: float, x: Sequence[float]) -> list[Ends]:
    """What stacks of depths e^x do.

    Args:
        start: of the stack of depth ``DEPTHS[-1]`` with the same gains and ``q0``.
        x: natural logarithms of depths, rising.

    Raises:
        AssumptionError: the blocks are not of this kind, or the second moment leaves the grid.
    """
    wiring = iteration.deep_block(DEPTHS[-1], gains)
    if wiring is None or len(wiring.pairs) > 1:
        raise AssumptionError("deep blocks differ, depend on the depth, or have several streams")
    first = start.forward[0] + log(q0)
    grid = np.linspace(first, HIGHEST, max(int(POINTS * (HIGHEST - first)), 2))
    near, far = (_rates(wiring, grid, l) for l in (NEAR, FAR))
    if not (far[0] > 0).all() or np.abs(near[0] / far[0] - 1).max() > SETTLED:
        raise AssumptionError("deep blocks do not add 1/l of something positive")
    change, *rates = (2 * b - a for a, b in zip(near, far, strict=True))
    # over ln q: dx = q dlnq / (l F)
    weight = np.exp(grid) / change
    distance = log(DEPTHS[-1]) + cumulative_simpson(weight, x=grid, initial=0)
    if distance[-1] < x[-1]:
        raise AssumptionError(f"the second moment exceeds {exp(HIGHEST):.0e}")
    gradient, collapse, identity = (
        np.interp(x, distance, cumulative_simpson(weight * rate, x=grid, initial=0)) for rate in rates
    )
    q = np.interp(x, distance, grid)
    return [
        Ends(
            (float(q[k] - log(q0)),),
            float(start.gradient + gradient[k]),
            (float(start.collapse[0] + collapse[k]),),
            (float(start.identity[0] + identity[k]),),
        )
        for k in range(len(x))
    ]


def _rates(wiring: Wiring, grid: Array, l: float) -> tuple[Array, Array, Array, Array]:
    """l F, and l times the logarithms of a block's factors of gradient, 1 - rho and identity gain."""
    q, at = np.exp(grid), np.full(len(grid), l)
    after = wiring.after(q[:, None], at)[:, 0]
    backward, drops, identity = wiring.at(q[:, None], at)
    grown = np.log1p((after - q) / q)
    return (
        l * (after - q),
        l * np.log(backward[:, 0, 0]),
        l * (np.log(drops[:, 0, 0]) - grown),
        l * np.log(np.abs(identity[:, 0])),
    )
