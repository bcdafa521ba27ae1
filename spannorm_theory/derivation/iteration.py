r"""A recurrence's stacks iterated in floating point, at constant branch gains and any depth.

Block by block as the definition wires them (:mod:`spannorm_theory.moments.constant_gains`); no formula of a
step, closed form or law is used. Where the moments are known, gradient, identity gain and token differences
of all layers are evaluated at once. Gradients and differences are linear in what comes in, so their exponent
is carried apart; so is that of the streams where the step scales with them (no norm anywhere).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import floor, log

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from ..base.errors import AssumptionError, NoClosedForm
from ..gaussian.closed_forms import Array
from ..moments.constant_gains import Gains, Wiring
from ..moments.equivalence import Factors, constant_gain_key
from ..spec.graph import Trace
from ..spec.placements import PLACEMENTS
from ..spec.position import Position
from .recurrence import Recurrence

#: a readout sees no streams larger than e to this, nor smaller than its inverse
LARGEST = 600.0


@dataclass(frozen=True)
class Ends:
    """A stack of one depth from end to end, as natural logarithms.

    Attributes:
        forward: second moment of each stream at l = L, over q_0.
        gradient: second moment of the gradient at the embedding for a unit gradient at the model's output.
        ratio: gamma_0/gamma_L of one stream; NaN of several.
        collapse: 1 - rho_L over 1 - rho_0 of each stream, near rho = 1.
        identity: amplitude gain of each stream's skip path.
    """

    forward: tuple[float, ...]
    gradient: float
    ratio: float
    collapse: tuple[float, ...]
    identity: tuple[float, ...]


class Iteration:
    """A recurrence's stacks, of any depth and gains."""

    def __init__(self, recurrence: Recurrence) -> None:
        self._entry = PLACEMENTS[recurrence.name]
        self._recurrence = recurrence
        self._questions = self._entry.questions(recurrence.scaling, **recurrence.options)
        self._known: dict[int, tuple[list[Trace], NDArray[np.intp]]] = {}

    def _trace(self, at: Position) -> Trace:
        r = self._recurrence
        return self._entry.trace(r.scaling, first=at.first, early=at.early, turn=at.turn, **r.options)

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

    def run(self, depth: int, gains: Gains, q0: float = 1.0) -> Iterated:
        """Iterate a stack of ``depth`` blocks with gains (sigma_a^2, sigma_f^2, omega_a^2, omega_f^2).

        Raises:
            AssumptionError: a moment left float64's range.
            NoClosedForm: a block has gates of random maps.
        """
        traces, which = self._blocks(depth)
        try:
            with np.errstate(all="ignore"):
                wirings = [Wiring(trace, gains, depth) for trace in traces]
                found = Iterated(wirings, which, Wiring(self._entry.trace_readout(), gains, depth), q0)
        except NoClosedForm:
            raise
        except (OverflowError, ZeroDivisionError, ValueError, FloatingPointError) as error:
            raise AssumptionError(f"the iteration left float64's range: {error}") from error
        logs = (found.moments, found.gradients, found.identity)
        if any(np.isnan(x).any() or np.isposinf(x).any() for x in logs):
            raise AssumptionError(
                "a norm reads what is always zero by these gains, or a moment left float64's range; give "
                "gains above zero, or a shallower stack"
            )
        return found


class Iterated:
    """Moments of streams, gradients and token differences through the blocks of a stack.

    Attributes:
        pairs: the stream pairs (i, j), i <= j.
        moments: ln of the streams' moments in front of each block and behind the last, (layers + 1, pairs).
        gradients: ln of the gradient's, for a unit gradient at the model's output, likewise.
        identity: ln of the gain of each stream's skip path through each block, (layers, streams).
    """

    def __init__(self, wirings: list[Wiring], which: NDArray[np.intp], readout: Wiring, q0: float) -> None:
        depth, self.pairs, self._q0 = len(which), wirings[0].pairs, q0
        self._streams = [self.pairs.index((s, s)) for s in range(self.pairs[-1][0] + 1)]
        states, exponents = _forward(wirings, which, q0)
        backward, self._drops = np.empty((2, depth, len(self.pairs), len(self.pairs)))
        identity = np.empty((depth, len(self._streams)))
        l = np.arange(depth, dtype=float)
        for i, wiring in enumerate(wirings):
            at = which == i
            backward[at], self._drops[at], identity[at] = wiring.at(states[:-1][at], l[at])
        last = states[-1] * np.exp(np.clip(exponents[-1], -LARGEST, LARGEST))
        self.moments = np.log(states) + exponents[:, None]
        self.gradients = _carried(backward[::-1], readout.gradient(last))[::-1]
        self.identity = np.log(np.abs(identity))

    def ends(self) -> Ends:
        """Moments, gradient, collapse and identity gains from the first block to the last.

        Raises:
            AssumptionError: a moment left float64's range.
        """
        moments = self.moments[-1, self._streams] - log(self._q0)
        # all streams start as the embedding
        gradient = logsumexp(self.gradients[0], b=[1.0 if i == j else 2.0 for i, j in self.pairs])
        ratio = self.gradients[0, 0] - self.gradients[-1, 0] if len(self.pairs) == 1 else float("nan")
        if not np.isfinite([*moments, gradient]).all():
            raise AssumptionError("the iteration left float64's range")
        drops = _carried(self._drops, np.ones(len(self.pairs)))[-1, self._streams]
        return Ends(
            tuple(map(float, moments)),
            float(gradient),
            float(ratio),
            tuple(map(float, drops - moments)),
            tuple(map(float, self.identity.sum(axis=0))),
        )

    def table(self, gamma_out: float) -> pd.DataFrame:
        """Moments and identity gains of all layers.

        Args:
            gamma_out: second moment of the gradient at the model's output.

        Returns:
            the columns of :meth:`spannorm_theory.render.recursion.Recursion.iterate`.
        """
        gains = np.zeros((len(self.moments), len(self._streams)))
        gains[:-1] = self.identity[::-1].cumsum(axis=0)[::-1]
        pairs = [str(i) if i == j else f"{i}{j}" for i, j in self.pairs]
        columns = (
            ("variance", pairs, self.moments),
            ("grad_variance", pairs, self.gradients + log(gamma_out)),
            ("identity_gain", [pairs[s] for s in self._streams], gains),
        )
        layers = np.arange(len(self.moments))
        table = pd.concat(
            pd.DataFrame({"layer": layers, "stream": name, "quantity": quantity, "log_value": logs[:, k]})
            for quantity, names, logs in columns
            for k, name in enumerate(names)
        )
        with np.errstate(over="ignore", under="ignore"):
            table.insert(3, "value", np.exp(table["log_value"]))
        return table.sort_values(["quantity", "stream", "layer"], ignore_index=True)


def _forward(wirings: list[Wiring], which: NDArray[np.intp], q0: float) -> tuple[Array, Array]:
    """States at l = 0 ... L, over e to the power of exponents where the step is homogeneous, and these."""
    state: Sequence[float] = (q0,) * len(wirings[0].pairs)
    states, exponents = np.empty((len(which) + 1, len(state))), np.zeros(len(which) + 1)
    states[0] = state
    l = np.arange(len(which), dtype=float)
    if all(wiring.free for wiring in wirings):
        for i, wiring in enumerate(wirings):
            states[1:][which == i] = wiring.outgoing(l[which == i])
        return states, exponents
    scales = all(_homogeneous(wiring) for wiring in wirings)
    shift, steps = 0.0, [wiring.stepper(l) for wiring in wirings]
    for at, i in enumerate(which.tolist()):
        state = steps[i](state, at)
        if scales:
            shift += log(state[0])
            state = [x / state[0] for x in state]
        states[at + 1], exponents[at + 1] = state, shift
    return states, exponents


def _homogeneous(wiring: Wiring) -> bool:
    """Whether q -> t q gives t q' and the same gradients, tried with a t that no branch would hide under."""
    point, t, at = np.array([[1.0 if i == j else 0.3 for i, j in wiring.pairs]]), 1e-30, np.array([3.0])
    step = wiring.stepper(at)
    one, small = (np.array(step(s * point[0], 0), dtype=float) for s in (1.0, t))
    if not np.allclose(small, t * one, rtol=1e-9, atol=0):
        return False
    large, little = (wiring.at(s * point, at)[0] for s in (1.0, t))
    return bool(np.allclose(little, large, rtol=1e-9, atol=0))


def _carried(matrices: Array, vector: Array) -> Array:
    """ln of a vector, M_1 vector, M_2 M_1 vector, ..., one row each, with the exponent carried apart."""
    with np.errstate(divide="ignore"):
        if len(vector) == 1:
            return np.asarray(np.log(vector) + np.log([1.0, *matrices[:, 0, 0]]).cumsum()[:, None])
        vectors, exponents = np.empty((len(matrices) + 1, len(vector))), np.zeros(len(matrices) + 1)
        vectors[0] = vector
        for k, matrix in enumerate(matrices, 1):
            vector = matrix @ vector
            size = np.abs(vector).max()
            vector = vector / size
            vectors[k], exponents[k] = vector, exponents[k - 1] + log(size)
        return np.asarray(np.log(np.maximum(vectors, 0)) + exponents[:, None])
