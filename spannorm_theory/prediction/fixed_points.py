r"""Map of the token cosine rho over one block, its fixed points, and the depth at which rho rises (T8.5).

At the stream moments that a layer has, one block maps rho to rho'. A fixed point attracts if the slope of the
map there is below one in size. rho = 1 is one of dense blocks (equal tokens stay equal, but for dropout), and
its slope is the collapse factor of :mod:`spannorm_theory.derivation.rank_collapse` at finite n. Where gated
branches make it repel, tokens settle at a cosine below one; so they do with experts, whose slope at one is
infinite (T7.3).

With experts the map is that of the mean over pairs and networks. Near alignment it is carried by the rare
pairs that are routed apart: a typical network with few tokens goes below the fixed point's 1 - rho, and can
collapse where the mean does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from ..base import arguments
from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from ..spec.arguments import architecture
from .blocks import WiredBlocks
from .forward import State, forward
from .predict import predict_profiles
from .prediction import require_exchangeable
from .stack import Stack

#: 1 - rho at which the slope of the map at one is taken: less loses digits, more is off by its curvature
NEAR_ONE = 1e-9

#: cosines between which fixed points are looked for; experts have theirs close to one
SCAN = np.append(np.linspace(0, 0.98, 50), 1 - np.geomspace(0.01, 1e-8, 25))


@dataclass(frozen=True)
class FixedPoint:
    """A cosine that a block leaves as it is, and the slope of the map there.

    Attributes:
        rho: the cosine.
        slope: of the map of cosines, at it.

    Example:
        >>> import spannorm_theory as st
        >>> (aligned,) = st.fixed_points("post-norm depth=2")
        >>> aligned.rho, aligned.attracts
        (1.0, True)
    """

    rho: float
    slope: float

    @property
    def attracts(self) -> bool:
        """Whether nearby cosines approach it from block to block."""
        return abs(self.slope) < 1


def alignment_map(arch: Architecture, rho: Array, layer: int) -> Array:
    """rho after block ``layer`` for each rho in front of it, at the variance the stream has there.

    Raises:
        AssumptionError: tokens are not exchangeable, or the placement has several streams.
    """
    return _Map(arch, layer)(rho)


class _Map:
    """Map from rho in front of a block to rho behind it, with the block's numbers found once."""

    def __init__(self, arch: Architecture, layer: int) -> None:
        require_exchangeable(arch)
        if arch.definition.streams > 1:
            raise AssumptionError(
                "the map of rho is of one stream; this placement has several, whose cosines move together"
            )
        self._q = float(np.exp(predict_profiles(arch).profiles["0", "variance"][layer]))
        self._block = Stack([WiredBlocks.of(arch, arch.block(layer), (0,), np.array([float(layer)]))], [0])

    def __call__(self, rho: Array) -> Array:
        after = []
        for value in np.atleast_1d(rho):
            state = State([self._q], [self._q * (1 - float(value))])
            (q,), (delta,) = forward(self._block, state).last
            after.append(1 - delta / q)
        return np.array(after)


def fixed_points(arch: Architecture | str, layer: int | None = None) -> list[FixedPoint]:
    """Fixed points of the map of the token cosine rho over one block, at the variance the stream has there.

        >>> import spannorm_theory as st
        >>> [round(one.rho, 2) for one in st.fixed_points("post-norm depth=24 experts=8 top_k=2")]
        [0.98, 1.0]

    Source: docs/theory.md, T8.5.

    Args:
        arch: an architecture, or its text form.
        layer: of the block, from 0; None takes the last.

    Returns:
        those found, in rising order of ``rho``, each with the ``slope`` of the map and whether it
        ``attracts``; rho = 1 is the last, unless dropout keeps equal tokens apart.

    Raises:
        AssumptionError: tokens are not exchangeable, or the placement has several streams.
        InputError: no architecture, or no such layer.

    Example:
        >>> import spannorm_theory as st
        >>> [round(one.rho, 2) for one in st.fixed_points("post-norm depth=24 experts=8 top_k=2")]
        [0.98, 1.0]
    """
    arch = architecture(arch)
    last = arch.depth - 1
    at = last if layer is None else arguments.whole("layer", layer, 0, last)
    block = _Map(arch, at)

    def gap(rho: float) -> float:
        return float(block(np.array([rho]))[0]) - rho

    gaps = block(SCAN) - SCAN
    roots = [
        float(brentq(gap, a, b, xtol=1e-13))
        for a, b, left, right in zip(SCAN[:-1], SCAN[1:], gaps[:-1], gaps[1:], strict=True)
        if left * right < 0
    ]
    found = []
    for rho in roots:
        step = min(NEAR_ONE, (1 - rho) / 10)
        ends = block(np.array([rho - step, rho + step]))
        found.append(FixedPoint(rho, float(ends[1] - ends[0]) / (2 * step)))
    if arch.dropout or arch.attention_dropout:  # equal tokens do not stay equal
        return found
    near = float(block(np.array([1 - NEAR_ONE]))[0])
    return [*found, FixedPoint(1.0, (1 - near) / NEAR_ONE)]


def depth_of_cosine(arch: Architecture, target: float = 0.5) -> int | None:
    """The first layer whose token cosine (of the first stream) reaches ``target``; None if none does."""
    reached = np.flatnonzero(predict_profiles(arch).profiles["0", "token_cosine"] >= target)
    return int(reached[0]) if len(reached) else None
