r"""A block's step iterated to great depth in floating point: what laws are held against.

Block by block as the definition wires them (:mod:`spannorm_theory.moments.constant_gains`); no formula of a
step, closed form or law is used. Where the moments are known, gradient, identity gain and token differences
of all layers are evaluated at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import floor, log

import numpy as np
from numpy.typing import NDArray

from ..base.errors import AssumptionError
from ..gaussian.closed_forms import Array
from ..moments.constant_gains import Gains, Wiring
from ..moments.equivalence import Factors, constant_gain_key
from ..spec.graph import Trace
from ..spec.placements import PLACEMENTS
from ..spec.position import Position
from .recurrence import Recurrence


@dataclass(frozen=True)
class Ends:
    """Natural logarithms of what a stack of one depth does.

    Attributes:
        forward: second moment of each stream at l = L, over q_0.
        gradient: gamma_0/gamma_L of one stream; of several, second moment of the gradient at the
            embedding for a unit gradient at the model's output.
        collapse: 1 - rho_L over 1 - rho_0 of each stream, near rho = 1.
        identity: amplitude gain of each stream's skip path.
    """

    forward: tuple[float, ...]
    gradient: float
    collapse: tuple[float, ...]
    identity: tuple[float, ...]


class Iteration:
    """A recurrence's stacks, of any depth and gains."""

    def __init__(self, recurrence: Recurrence) -> None:
        self._entry = PLACEMENTS[recurrence.name]
        self._recurrence = recurrence
        self._questions = self._entry.questions(recurrence.scaling, **recurrence.options)
        self._known: dict[int, tuple[list[Trace], NDArray[np.intp]]] = {}

    def _trace(self, position: Position) -> Trace:
        options = self._recurrence.options
        return self._entry.trace(
            self._recurrence.scaling,
            first=position.first,
            early=position.early,
            turn=position.turn,
            **options,
        )

    def _blocks(self, depth: int) -> tuple[list[Trace], NDArray[np.intp]]:
        """The distinct wirings of a stack, and which of them each block has."""
        if depth not in self._known:
            self._known[depth] = self._wired(depth)
        return self._known[depth]

    def _wired(self, depth: int) -> tuple[list[Trace], NDArray[np.intp]]:
        asked, l = self._questions, np.arange(depth)
        early = 0 if asked.fraction is None else floor(asked.fraction * depth)
        period = asked.period or 1
        code = (2 * (l % period) + (l < early)) * 2 + (l == 0)
        _, first, which = np.unique(code, return_index=True, return_inverse=True)
        found = [self._trace(asked.position(int(at), depth)) for at in first]
        distinct = list(dict.fromkeys(found))
        return distinct, np.array([distinct.index(trace) for trace in found])[which]

    def key(self, depth: int) -> tuple[Hashable, Factors]:
        """Equal for recurrences whose stacks do the same up to factors of the gains, and these."""
        asked = self._questions
        blocks, factors = constant_gain_key([*self._blocks(depth)[0], self._entry.trace_readout()])
        return (asked.fraction, asked.period, blocks), factors

    def ends(self, depth: int, gains: Gains, q0: float = 1.0) -> Ends:
        """Iterate a stack of ``depth`` blocks with gains (sigma_a^2, sigma_f^2, omega_a^2, omega_f^2).

        Raises:
            AssumptionError: a moment left float64's range.
        """
        traces, which = self._blocks(depth)
        try:
            with np.errstate(all="ignore"):
                wirings = [Wiring(trace, gains, depth) for trace in traces]
                readout = Wiring(self._entry.trace_readout(), gains, depth)
                return _run(wirings, which, readout, q0)
        except (OverflowError, ZeroDivisionError, ValueError, FloatingPointError) as error:
            raise AssumptionError(f"the iteration left float64's range: {error}") from error


def _run(wirings: list[Wiring], which: NDArray[np.intp], readout: Wiring, q0: float) -> Ends:
    stack = _Stack(wirings, which, q0)
    pairs, streams = wirings[0].pairs, stack.streams
    differences = _product(stack.drops, np.ones(len(pairs)))
    moments = np.log(stack.states[-1][streams]) + stack.shift - log(q0)
    if len(pairs) == 1:
        gradient = float(np.log(stack.backward[:, 0, 0]).sum())
    else:
        carried, exponent = _carried(stack.backward[::-1], readout.gradient(stack.states[-1]))
        gradient = float(np.log(stack.weights @ carried) + exponent)
    ends = Ends(
        tuple(map(float, moments)),
        gradient,
        tuple(float(d - m) for d, m in zip(differences[streams], moments, strict=True)),
        tuple(map(float, np.log(np.abs(stack.identity)).sum(axis=0))),
    )
    if not np.isfinite([*ends.forward, ends.gradient]).all():
        raise AssumptionError("the iteration left float64's range")
    return ends


class _Stack:
    """All blocks of a stack: states in front of each and behind the last, and what blocks make of them."""

    def __init__(self, wirings: list[Wiring], which: NDArray[np.intp], q0: float) -> None:
        depth, pairs = len(which), wirings[0].pairs
        self.states, self.shift = _forward(wirings, which, q0)
        self.streams = [pairs.index((s, s)) for s in range(pairs[-1][0] + 1)]
        #: of the stream pairs in the second moment of what all streams started as
        self.weights = np.array([1.0 if i == j else 2.0 for i, j in pairs])
        self.backward, self.drops = np.empty((2, depth, len(pairs), len(pairs)))
        self.identity = np.empty((depth, len(self.streams)))
        l = np.arange(depth, dtype=float)
        for i, wiring in enumerate(wirings):
            at = which == i
            found = wiring.at(self.states[:-1][at], l[at])
            self.backward[at], self.drops[at], self.identity[at] = found


def _forward(wirings: list[Wiring], which: NDArray[np.intp], q0: float) -> tuple[Array, float]:
    """States at l = 0 ... L, each row up to a factor where the step is homogeneous; the last row's factor
    as a natural exponent."""
    state: Sequence[float] = (q0,) * len(wirings[0].pairs)
    states = np.empty((len(which) + 1, len(state)))
    states[0] = state
    l = np.arange(len(which), dtype=float)
    if all(wiring.free for wiring in wirings):
        for i, wiring in enumerate(wirings):
            states[1:][which == i] = wiring.outgoing(l[which == i])
        return states, 0.0
    scales = all(_homogeneous(wiring) for wiring in wirings)
    shift, steps = 0.0, [wiring.stepper(l) for wiring in wirings]
    for at, i in enumerate(which.tolist()):
        state = steps[i](state, at)
        if scales:
            shift += log(state[0])
            state = [x / state[0] for x in state]
        states[at + 1] = state
    return states, shift


def _homogeneous(wiring: Wiring) -> bool:
    """Whether q -> t q gives t q' and the same gradients, tried with a t that no branch would hide under."""
    point, t, at = np.array([[1.0 if i == j else 0.3 for i, j in wiring.pairs]]), 1e-30, np.array([3.0])
    step = wiring.stepper(at)
    one, small = (np.array(step(s * point[0], 0), dtype=float) for s in (1.0, t))
    if not np.allclose(small, t * one, rtol=1e-9, atol=0):
        return False
    large, little = (wiring.at(s * point, at)[0] for s in (1.0, t))
    return bool(np.allclose(little, large, rtol=1e-9, atol=0))


def _carried(matrices: Array, vector: Array) -> tuple[Array, float]:
    """(... M_2 M_1) vector with its exponent carried apart."""
    exponent = 0.0
    for matrix in matrices:
        vector = matrix @ vector
        size = float(np.abs(vector).max())
        vector, exponent = vector / size, exponent + log(size)
    return vector, exponent


def _product(matrices: Array, vector: Array) -> Array:
    """Natural logarithms of (M_L ... M_1) vector."""
    if matrices.shape[1] == 1:
        return np.array([np.log(matrices[:, 0, 0]).sum()])
    vector, exponent = _carried(matrices, vector)
    return np.asarray(np.log(np.maximum(vector, 0)) + exponent)
