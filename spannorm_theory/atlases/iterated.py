r"""A block's step iterated to great depth in floating point: what laws are held against.

The formulas are those of :class:`~spannorm_theory.theory.step.Step`, block by block as the definition
wires them; nothing of the closed forms or laws is used. Where the moments are known, gradient, identity
gain and token differences of all layers are evaluated at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor, log

import numpy as np
from numpy.typing import NDArray
from sympy import Expr, lambdify

from .. import symbols
from ..components.kernels import Array
from ..definitions.placements import PLACEMENTS
from ..definitions.trace import Trace
from ..definitions.wiring import Position
from ..errors import AssumptionError
from ..theory.collapse import difference_map
from ..theory.recursion import Recursion
from ..theory.step import Step, numeric_moments

GAINS = (symbols.sigma_a2, symbols.sigma_f2, symbols.omega_a2, symbols.omega_f2)
_NAMES = (symbols.layer, symbols.depth, symbols.width, *GAINS)


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


@lru_cache(maxsize=1024)
def formulas(step: Step) -> tuple[tuple[Expr, ...], ...]:
    """Backward matrix, difference map, identity gains, and outgoing moments."""
    return (
        tuple(step.backward_matrix),
        tuple(difference_map(step)),
        tuple(step.identity),
        tuple(step.forward.values()),
    )


class _Wiring:
    """The compiled formulas of one wiring of a block."""

    def __init__(self, step: Step) -> None:
        backward, differences, identity, forward = formulas(step)
        states = [symbols.stream_moment(symbols.variance, *p, len(step.trace.streams)) for p in step.pairs]
        self.pairs = step.pairs
        functions = numeric_moments()
        vectorised = {name: np.vectorize(f, otypes=[float]) for name, f in functions.items()}
        self.free = not any(f.free_symbols & set(states) for f in forward)
        names = [*states, *_NAMES]
        self.forward = lambdify(names, forward, modules=[functions, "math"], cse=True)
        self.shape = (len(states), len(states))
        entries = [*backward, *differences, *identity, *forward]
        self.everything = lambdify(names, entries, modules=[vectorised, "numpy"], cse=True)

    def outgoing(self, l: Array, rest: tuple[float, ...]) -> Array:
        """Moments after blocks ``l`` that set them whatever comes in; shape (layers, pairs)."""
        incoming = np.ones((self.shape[0], 1))
        values = self.everything(*incoming, l, *rest)[-self.shape[0] :]
        return np.stack([np.broadcast_to(np.asarray(v, dtype=float), l.shape) for v in values], axis=1)

    def at(self, state: Array, l: Array, rest: tuple[float, ...]) -> tuple[Array, Array, Array]:
        """Backward matrices, difference maps (layers, pairs, pairs) and identity gains (layers, streams)."""
        values = self.everything(*state.T, l, *rest)
        columns = [np.broadcast_to(np.asarray(v, dtype=float), l.shape) for v in values]
        flat, size = np.stack(columns, axis=1), self.shape[0] ** 2
        backward, drops = (flat[:, i * size : (i + 1) * size].reshape(-1, *self.shape) for i in (0, 1))
        return backward, drops, flat[:, 2 * size : -self.shape[0]]


class Iteration:
    """A recursion, compiled once, for any depth and gains."""

    def __init__(self, recursion: Recursion) -> None:
        self._entry = PLACEMENTS[recursion.name]
        self._recursion = recursion
        self._questions = self._entry.questions(recursion.scaling, **recursion.options)
        self._steps: dict[Trace, Step] = {}
        self._wirings: dict[Trace, _Wiring] = {}

    def _step(self, position: Position) -> Step:
        trace = self._entry.trace(
            self._recursion.scaling,
            first=position.first,
            early=position.early,
            turn=position.turn,
            **self._recursion.options,
        )
        if trace not in self._steps:
            known = (self._recursion.first, self._recursion.block)
            step = next((s for s in known if s.trace == trace), None)
            self._steps[trace] = step or Step(trace, self._recursion.block.gains)
        return self._steps[trace]

    def _wiring(self, step: Step) -> _Wiring:
        if step.trace not in self._wirings:
            self._wirings[step.trace] = _Wiring(step)
        return self._wirings[step.trace]

    def _readout(self, last: Array) -> Array:
        """Gradient moments at the last block's output, for a unit gradient at the model's."""
        readout = self._recursion.readout
        moments = [readout.moment(*p) for p in readout.pairs]
        column = list(readout.backward_matrix[:, 0])
        return np.array(lambdify(moments, column, modules=[numeric_moments(), "math"])(*last), dtype=float)

    def _blocks(self, depth: int) -> tuple[list[Step], NDArray[np.intp]]:
        """The kinds of block that a stack has, and which of them each block is."""
        asked, l = self._questions, np.arange(depth)
        early = 0 if asked.fraction is None else floor(asked.fraction * depth)
        period = asked.period or 1
        code = (2 * (l % period) + (l < early)) * 2 + (l == 0)
        _, first, which = np.unique(code, return_index=True, return_inverse=True)
        return [self._step(asked.position(int(at), depth)) for at in first], which

    def _stack(self, depth: int) -> tuple[list[_Wiring], NDArray[np.intp]]:
        """The distinct wirings of a stack, and which of them each block has."""
        steps, which = self._blocks(depth)
        found = [self._wiring(step) for step in steps]
        distinct = list(dict.fromkeys(found))
        return distinct, np.array([distinct.index(w) for w in found])[which]

    def formulas(self, depth: int) -> Hashable:
        """Everything that an iteration evaluates: recursions for which it is equal have the same ends."""
        asked = self._questions
        blocks = tuple(formulas(step) for step in self._blocks(depth)[0])
        return asked.fraction, asked.period, blocks, tuple(self._recursion.readout.backward_matrix[:, 0])

    def ends(self, depth: int, gains: Sequence[float], q0: float = 1.0) -> Ends:
        """Iterate a stack of ``depth`` blocks with gains (sigma_a^2, sigma_f^2, omega_a^2, omega_f^2).

        Raises:
            AssumptionError: a moment left float64's range.
        """
        wirings, which = self._stack(depth)
        rest = (float(depth), 1.0, *map(float, gains))
        try:
            with np.errstate(all="ignore"):
                return self._run(wirings, which, rest, q0)
        except (OverflowError, ZeroDivisionError, ValueError, FloatingPointError) as error:
            raise AssumptionError(f"the iteration left float64's range: {error}") from error

    def _run(
        self, wirings: list[_Wiring], which: NDArray[np.intp], rest: tuple[float, ...], q0: float
    ) -> Ends:
        depth, pairs = len(which), wirings[0].pairs
        states, shift = _forward(wirings, which, rest, q0)
        l = np.arange(depth, dtype=float)
        size = len(pairs)
        streams = [pairs.index((s, s)) for s in range(pairs[-1][0] + 1)]
        backward, drops = np.empty((2, depth, size, size))
        identity = np.empty((depth, len(streams)))
        for i, wiring in enumerate(wirings):
            at = which == i
            backward[at], drops[at], identity[at] = wiring.at(states[:-1][at], l[at], rest)
        differences = _product(drops, np.ones(size))
        moments = np.log(states[-1][streams]) + shift - log(q0)
        if size == 1:
            gradient = float(np.log(backward[:, 0, 0]).sum())
        else:
            start = self._readout(states[-1])
            weights = np.array([1.0 if i == j else 2.0 for i, j in pairs])
            carried, exponent = _carried(backward[::-1], start)
            gradient = float(np.log(weights @ carried) + exponent)
        ends = Ends(
            tuple(map(float, moments)),
            gradient,
            tuple(float(d - m) for d, m in zip(differences[streams], moments, strict=True)),
            tuple(map(float, np.log(np.abs(identity)).sum(axis=0))),
        )
        if not np.isfinite([*ends.forward, ends.gradient]).all():
            raise AssumptionError("the iteration left float64's range")
        return ends


def _forward(
    wirings: list[_Wiring], which: NDArray[np.intp], rest: tuple[float, ...], q0: float
) -> tuple[Array, float]:
    """States at l = 0 ... L, each row up to a factor where the step is homogeneous; the last row's factor
    as a natural exponent."""
    state: Sequence[float] = (q0,) * len(wirings[0].pairs)
    states = np.empty((len(which) + 1, len(state)))
    states[0] = state
    if all(wiring.free for wiring in wirings):
        for i, wiring in enumerate(wirings):
            states[1:][which == i] = wiring.outgoing(np.flatnonzero(which == i).astype(float), rest)
        return states, 0.0
    scales = all(_homogeneous(wiring, rest) for wiring in wirings)
    shift, functions = 0.0, [wiring.forward for wiring in wirings]
    for l, i in enumerate(which.tolist()):
        state = functions[i](*state, l, *rest)
        if scales:
            shift += log(state[0])
            state = [x / state[0] for x in state]
        states[l + 1] = state
    return states, shift


def _homogeneous(wiring: _Wiring, rest: tuple[float, ...]) -> bool:
    """Whether q -> t q gives t q' and the same gradients, tried with a t that no branch would hide under."""
    point, t, at = np.array([[1.0 if i == j else 0.3 for i, j in wiring.pairs]]), 1e-30, np.array([3.0])
    one, small = (np.array(wiring.forward(*(s * point[0]), 3, *rest), dtype=float) for s in (1.0, t))
    if not np.allclose(small, t * one, rtol=1e-9, atol=0):
        return False
    large, little = (wiring.at(s * point, at, rest)[0] for s in (1.0, t))
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
