r"""One wiring's step at constant branch gains, in numbers, for all layers at once (T3.1 to T4.2, T12.6).

The rules of :mod:`spannorm_theory.moments.algebra` are evaluated on arrays over layers; gradients and token
differences enter as the unit vectors of the stream pairs, so that the maps come out column by column. Only
the forward step, which is iterated block by block, is compiled, once for all rules of a placement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from sympy import Expr, Symbol, lambdify

from ..base import symbols
from ..base.errors import AssumptionError, shown
from ..gaussian.closed_forms import Array
from ..spec.expressions import at_layers
from ..spec.graph import Branch, Trace, Value
from .adjoint import Adjoint
from .algebra import PAIR, SCALAR, Moments, Pair
from .equivalence import Pattern, slots
from .one_token import elementwise_gains, elementwise_numbers, numeric_moments, rule_gain, weighted_gains

GAINS = (symbols.sigma_a2, symbols.sigma_f2, symbols.omega_a2, symbols.omega_f2)

Gains = tuple[float, float, float, float]

#: numbers over layers, and pairs of them
_ARRAYS = replace(SCALAR, rms=lambda cov, epsilon: np.sqrt(cov + epsilon), zero=0.0)
_PAIRS = replace(PAIR, rms=lambda cov, epsilon: np.sqrt(cov[0] + epsilon), zero=Pair((0.0, 0.0)))


class Wiring:
    """A block's step at given gains and depth.

    Attributes:
        pairs: the stream pairs (i, j), i <= j.
        free: whether the block sets its moments whatever comes in.
    """

    def __init__(self, trace: Trace, gains: Gains, depth: int) -> None:
        self.trace, self.pairs = trace, _pairs(len(trace.streams))
        self._set(gains)
        self._expressions = (*slots(trace), *_rule_gains(trace))
        self._compiled, self.free = _compiled(Pattern.of(trace))
        for factor in self._expressions:
            if symbols.width in factor.free_symbols:
                raise AssumptionError(
                    f"the factor {shown(factor)} depends on the width d, which constant gains do not say; "
                    "use predict(...) of an architecture"
                )
        self._depth = float(depth)

    def _set(self, gains: Gains) -> None:
        self._gains = {"attention": (gains[0], gains[2]), "ffn": (gains[1], gains[3])}
        self._rest = gains

    def _numbers(self, l: Array) -> list[Array]:
        return [at_layers(e, l, self._depth, 1.0) for e in self._expressions]

    def stepper(self, l: Array) -> Callable[[Any, int], Any]:
        """The step as a function of the moments, one for each pair, and of the place of a block in ``l``."""
        function, gains = self._compiled, self._rest
        rows = np.array(self._numbers(l)).reshape(-1, len(l)).T.tolist()
        return lambda state, at: function(*state, *rows[at], *gains)

    def outgoing(self, l: Array) -> Array:
        """Moments after blocks ``l`` that set them whatever comes in; shape (layers, pairs)."""
        values = self._compiled(*np.ones((len(self.pairs), 1)), *self._numbers(l), *self._rest)
        return np.stack([np.broadcast_to(np.asarray(v, dtype=float), l.shape) for v in values], axis=1)

    def at(self, state: Array, l: Array) -> tuple[Array, Array, Array]:
        """Backward matrices and difference maps, (layers, pairs, pairs), and identity gains,
        (layers, streams), of the blocks ``l`` at the moments ``state``, (layers, pairs)."""
        block = _Block(self, state, l)
        return block.backward(), block.differences(), block.identity()

    def gradient(self, state: Array) -> Array:
        """Gradient moments, (pairs,), in front of a readout that reads the moments ``state``, (pairs,), for a
        unit gradient behind it."""
        return _Block(self, state[None, :], np.zeros(1)).backward()[0, :, 0]

    def transfer(self, branch: Branch, u: Array, scale: Array | None) -> tuple[Array, Array]:
        """Second moment and backward gain of a branch whose input has second moment ``u``."""
        if scale is None:
            return elementwise_numbers(branch.kind, u)
        return weighted_gains(branch, u, scale, self._gains[branch.kind])

    def numbers(self, l: Array) -> tuple[dict[Expr, Array], dict[int, Array]]:
        """Multipliers of the blocks ``l``, and the rule's factors on branches' second moments, (layers,)."""
        found, count = self._numbers(l), len(slots(self.trace))
        return (
            dict(zip(slots(self.trace), found[:count], strict=True)),
            dict(zip(_weighted(self.trace), found[count:], strict=True)),
        )


class _Block:
    """A wiring at known moments, shape (layers, pairs)."""

    def __init__(self, wiring: Wiring, state: Array, l: Array) -> None:
        self._trace, self._pairs, self._layers = wiring.trace, wiring.pairs, len(l)
        self._place = {pair: i for i, pair in enumerate(self._pairs)}
        self._state, self._wiring = state, wiring
        self._multipliers, self._scales = wiring.numbers(l)
        self._forward = Moments(
            self._trace, _ARRAYS, self._moment, lambda b, u: self._transfer(b, u)[0], self._coefficient
        )

    def _moment(self, i: int, j: int) -> Array:
        return self._state[:, self._place[min(i, j), max(i, j)]]

    def _coefficient(self, factor: Expr) -> Any:
        return self._multipliers[factor] if factor in self._multipliers else float(factor)

    def _transfer(self, branch: Branch, u: Array) -> tuple[Array, Array]:
        return self._wiring.transfer(branch, u, self._scales.get(branch.index))

    def backward(self) -> Array:
        """M_l, from the gradient moments at the outputs to those at the inputs, (layers, pairs, pairs)."""
        adjoint = Adjoint(self._forward)
        outgoing = {pair: i for i, pair in enumerate(_pairs(len(self._trace.outputs)))}
        units = np.eye(len(outgoing))[:, :, None]

        def transfer(branch: Branch, g: Array) -> Array:
            origin = adjoint.origin[branch.index]
            return self._transfer(origin, self._forward.cov(origin.source, origin.source))[1] * g

        moments = Moments(
            adjoint.trace,
            _ARRAYS,
            lambda i, j: units[outgoing[min(i, j), max(i, j)]],
            transfer,
            lambda factor: float(factor) if isinstance(factor, Expr) else factor,
        )
        inputs = adjoint.trace.outputs
        return self._matrices([moments.cov(inputs[i], inputs[j]) for i, j in self._pairs], len(outgoing))

    def differences(self) -> Array:
        """Matrices that take the drops of stream pairs through the block near rho = 1, (layers, pairs,
        pairs): attention averages them away, a feed-forward branch multiplies them by its backward gain
        (T12.6)."""
        units = np.eye(len(self._pairs))[:, :, None]

        def incoming(i: int, j: int) -> Pair:
            return Pair((self._moment(i, j), units[self._place[min(i, j), max(i, j)]]))

        def transfer(branch: Branch, cov: Pair) -> Pair:
            value, slope = self._transfer(branch, cov[0])
            return Pair((value, (0.0 if branch.kind == "attention" else slope) * cov[1]))

        moments = Moments(self._trace, _PAIRS, incoming, transfer, self._coefficient)
        outputs = self._trace.outputs
        found = [moments.cov(outputs[i], outputs[j])[1] for i, j in self._pairs]
        return self._matrices(found, len(self._pairs))

    def identity(self) -> Array:
        """Amplitude gains of the streams' skip paths, (layers, streams)."""
        ends = zip(self._trace.outputs, self._trace.streams, strict=False)
        paths = [self._forward.path(out, stream) for out, stream in ends]
        return np.stack([np.broadcast_to(path, (self._layers,)) for path in paths], axis=1)

    def _matrices(self, rows: list[Any], columns: int) -> Array:
        """Rows of shape (columns, layers), or what broadcasts to it, as (layers, rows, columns)."""
        found = [np.broadcast_to(row, (columns, self._layers)) for row in rows]
        return np.stack(found).transpose(2, 0, 1)


def _pairs(streams: int) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(range(streams), 2))


def _weighted(trace: Trace) -> list[int]:
    return [branch.index for branch in trace.branches if not branch.elementwise]


def _rule_gains(trace: Trace) -> tuple[Expr, ...]:
    return tuple(rule_gain(branch) for branch in trace.branches if not branch.elementwise)


@lru_cache(maxsize=256)
def _compiled(pattern: Pattern) -> tuple[Callable[..., Any], bool]:
    """The forward step as a function of moments, multipliers, rule gains and constant gains; and whether it
    needs no moments."""
    trace = pattern.trace
    count, pairs = len(trace.streams), _pairs(len(trace.streams))
    states = {pair: symbols.stream_moment(symbols.variance, *pair, count) for pair in pairs}
    named = {c: symbols.transfer(f"m{i}") for i, c in enumerate(slots(trace))}
    scales = {index: symbols.positive(f"g{i}") for i, index in enumerate(_weighted(trace))}

    def transfer(branch: Branch, u: Expr) -> Expr:
        if branch.elementwise:
            return elementwise_gains(branch.kind, u)[0]
        value: Expr = weighted_gains(branch, u, scales[branch.index], symbols.GAINS[branch.kind])[0]
        return value

    moments = Moments(
        trace, SCALAR, lambda i, j: states[min(i, j), max(i, j)], transfer, lambda c: named.get(c, c)
    )
    outputs: tuple[Value, ...] = trace.outputs
    forward = [moments.cov(outputs[i], outputs[j]) for i, j in _pairs(len(outputs))]
    names: list[Symbol] = [*states.values(), *named.values(), *scales.values(), *GAINS]
    function = lambdify(names, forward, modules=[numeric_moments(), {"sqrt": _root}, "math"], cse=True)
    return function, not any((0 + f).free_symbols & set(states.values()) for f in forward)


def _root(x: Any) -> Any:
    return x**0.5
