"""The pair theory: profiles of all quantities of a stack where all pairs of tokens are alike (T8.1).

One pass forward (:mod:`.forward`), the finite-width terms V and U (:mod:`.pair_variance`,
:mod:`.network_variance`), and one pass back (:mod:`.backward`); profiles of all quantities follow.
"""

from __future__ import annotations

import numpy as np

from ..base.errors import AssumptionError
from ..base.quantities import Key
from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from .backward import backward
from .boundary import input_moments, input_pair_variance
from .forward import StackMoments, State, forward
from .network_variance import network_variance
from .pair_variance import PairVariance, pair_variance
from .prediction import Prediction, require_exchangeable
from .profiles import all_profiles, of_stream, undecided_rows
from .stack import Stack

#: passes after which V must stay, and the largest change that counts as staying: an eighth of it is the error
#: of the gap of experts (T7.4)
PASSES, SETTLED = 50, 1e-7


def predict_pair(arch: Architecture) -> Prediction:
    """Pass the pair theory's moments through the stack and back.

    Raises:
        AssumptionError: tokens are not exchangeable (a mask, positions), or a moment left float64's range.
    """
    require_exchangeable(arch)
    stack = Stack.of(arch)
    moments, v = _settled(arch, stack)
    gradients = backward(arch, moments, v, network_variance(stack, moments.wirings, arch.width))
    profiles, left_out = all_profiles(arch, moments, v, gradients)
    return Prediction(arch, profiles, "pair", undecided_rows(arch, moments), left_out=left_out)


def _settled(arch: Architecture, stack: Stack) -> tuple[StackMoments, PairVariance]:
    """Moments and V of a stack.

    V follows from the moments, and where experts read it, moments from V: they are passed until V stays. A
    layer depends on those in front of it alone, so it does, in three to ten passes.

    Raises:
        AssumptionError: V still moves after ``PASSES``.
    """
    start = input_state(arch, stack)
    moments = forward(stack, start)
    v = pair_variance(stack, moments.wirings, input_pair_variance(arch), arch.width)
    if arch.experts == 1:
        return moments, v
    for _ in range(PASSES):
        before, moments = v, forward(stack, start, v.branches)
        v = pair_variance(stack, moments.wirings, input_pair_variance(arch), arch.width)
        if np.abs(np.minimum(v.streams, 1) - np.minimum(before.streams, 1)).max() < SETTLED:
            return moments, v
    raise AssumptionError(
        f"V, how covariances vary over token pairs, still moves after {PASSES} passes through the stack; use "
        "a shallower stack, or simulate(...)"
    )


def predict_forward(arch: Architecture) -> Prediction:
    """Moments and cosines of :func:`predict_pair` alone, without gradients and spectra.

    Raises:
        AssumptionError: for the reasons of :func:`predict_pair`.
    """
    require_exchangeable(arch)
    stack = Stack.of(arch)
    whole = arch.experts > 1  # which read V
    moments = _settled(arch, stack)[0] if whole else forward(stack, input_state(arch, stack))
    profiles: dict[Key, Array] = {}
    for name, place in enumerate(stack.step.places):
        sizes, changes = of_stream(moments, place)
        profiles.update({(str(name), quantity): x for quantity, x in {**sizes, **changes}.items()})
    return Prediction(arch, profiles, "pair", undecided_rows(arch, moments))


def input_state(arch: Architecture, stack: Stack) -> State:
    """The state in front of the first block: all streams start as the input."""
    q, delta = input_moments(arch)
    return State([q] * stack.pairs, [delta] * stack.pairs)
