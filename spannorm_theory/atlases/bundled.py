r"""Stacks so deep that ln L is large: blocks in bundles.

A power of ln L shows only where ln L doubles, and doubles again. Blocks that change as 1/l act in bundles:
in tau = ln l, a row v of gradients obeys dv/dtau = v E with E = l (M_l - 1); moments and differences
likewise. What one block changes is less than rounding leaves there, but to first order in 1/l it is linear
in the gains. So E is read off a block, as the definition wires it, with all gains larger by K = ``SHARE`` l:

    E = (M_l[K gains] - M_l[-K gains]) / (2 SHARE) (1 + O(SHARE^2) + O(1/l))

Beyond the numbers of float64, at l = e^``LAST``, E depends on l through the moments alone. No formula of a
step, closed form or law is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..moments.constant_gains import Wiring

#: of one, what a block with larger gains changes
SHARE = 1e-4

#: ln l beyond which a block is taken to be that of l = e^LAST
LAST = 600.0

#: a bundle's length in ln l: a share of it, and at most what changes a row by this exponent
SPAN, LARGEST = 0.02, 50.0

#: without gains, a block behind the first ones may differ from the identity by this much
NEAR = 0.01


class Bundles:
    """Blocks of one wiring from block ``first`` on, which change little each.

    Args:
        wiring: of a block that knows no depth.
        state: moments of all stream pairs in front of block ``first``.
        logs: ln of the depths to go to.

    Raises:
        AssumptionError: without its branches a block is not the identity.
    """

    def __init__(self, wiring: Wiring, state: Array, first: int, logs: Sequence[float]) -> None:
        self._wiring = wiring
        start, end = float(np.log(first)), max(logs)
        self._slopes(np.array([start, end]), np.stack([state, state]))  # refuses blocks that do not fade
        moments = self._moments(start, end, state)
        last = np.array([end * (1 - SPAN), end])
        size = max(float(np.abs(x).max()) for x in self._exponents(last, moments)) / (SPAN * end)
        tau, self._stops = [start], []
        for stop in logs:
            while tau[-1] < stop:
                tau.append(min(stop, tau[-1] + min(SPAN * tau[-1], LARGEST / size)))
            self._stops.append(len(tau) - 1)
        #: moments in front of the last block, for each depth
        self.states = moments(np.array(logs)).T
        self._sizes = np.exp(self._log_sizes(self.states))
        self._first = np.exp(self._log_sizes(state[None]))[0]
        self._backward, self._forward = map(expm, self._exponents(np.array(tau), moments))

    def _log_sizes(self, states: Array) -> Array:
        """ln sqrt(q_ii q_jj) of all stream pairs, which entries are measured in."""
        pairs = self._wiring.pairs
        single = {i: np.log(states[:, at]) for at, (i, j) in enumerate(pairs) if i == j}
        return np.stack([(single[i] + single[j]) / 2 for i, j in pairs], axis=1)

    def _exponents(self, tau: Array, moments: Callable[[Any], Array]) -> tuple[Array, Array]:
        """What bundles between these places change, gradients and differences, in that measure."""
        middle, length = (tau[1:] + tau[:-1]) / 2, np.diff(tau)[:, None, None]
        states = moments(middle).T
        matrices, drops = self._slopes(middle, states)
        size = np.exp(self._log_sizes(states))
        grown = np.diff(self._log_sizes(moments(tau).T), axis=0)[:, :, None] * np.eye(size.shape[1])
        ratio = size[:, :, None] / size[:, None, :]
        return matrices * ratio * length - grown, drops / ratio * length - grown

    def _wirings(self, tau: Any) -> tuple[Any, list[Wiring]]:
        """Blocks l = e^tau with gains larger by K and by -K."""
        l = np.exp(np.minimum(tau, LAST))
        return l, [self._wiring.scaled(sign * SHARE * l) for sign in (1, -1)]

    def _moments(self, start: float, end: float, state: Array) -> Callable[[Any], Array]:
        def slope(at: float, q: Array) -> Array:
            l, wirings = self._wirings(at)
            more, less = (np.array(wiring.stepper(np.array([l]))(q, 0)) for wiring in wirings)
            return np.asarray((more - less) / (2 * SHARE))

        found = solve_ivp(slope, (start, end), state, "LSODA", dense_output=True, rtol=1e-6, atol=1e-8)
        if found.sol is None or not found.success:
            raise AssumptionError(f"the moments of bundled blocks did not converge: {found.message}")
        return found.sol

    def _slopes(self, tau: Array, states: Array) -> tuple[Array, Array]:
        l, wirings = self._wirings(tau)
        (more, further, _), (less, nearer, _) = (wiring.at(states, l) for wiring in wirings)
        for one, other in ((more, less), (further, nearer)):
            if not np.abs((one + other) / 2 - np.eye(one.shape[-1])).max() < NEAR:
                raise AssumptionError("without its branches a block is not the identity")
        return (more - less) / (2 * SHARE), (further - nearer) / (2 * SHARE)

    def gradients(self, row: Array) -> list[tuple[Array, float]]:
        """A row times all blocks up to each depth, with its exponent carried apart."""
        found = self._carried(self._backward.transpose(0, 2, 1), row / self._first)
        return [(v * size, e) for (v, e), size in zip(found, self._sizes, strict=True)]

    def differences(self, column: Array) -> list[tuple[Array, float]]:
        """All blocks up to each depth times a column, likewise."""
        found = self._carried(self._forward, column / self._first)
        return [(v * size, e) for (v, e), size in zip(found, self._sizes, strict=True)]

    def _carried(self, matrices: Array, vector: Array) -> list[tuple[Array, float]]:
        found, exponent = {}, 0.0
        for at, matrix in enumerate(matrices, 1):
            vector = matrix @ vector
            size = float(np.abs(vector).max())
            vector, exponent = vector / size, exponent + float(np.log(size))
            found[at] = vector, exponent
        return [found[at] for at in self._stops]
