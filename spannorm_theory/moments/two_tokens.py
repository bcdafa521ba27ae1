r"""One block's step in the pair theory, compiled from its trace (T3.1 to T4.2 with two tokens).

State of each pair of streams: forward (q, delta), the second moment and its drop q - p between two
tokens; backward (gamma, c), the second moment and the token covariance of the gradient. Streams that stay
copies of each other (:mod:`.copies`) are one stream forward; their gradients differ. The trace is
evaluated once with symbols for the branches' moments; what is compiled are the expressions between
them: the inputs of each branch, the outgoing streams, and the linear map of the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

from sympy import Expr, Matrix, Symbol, lambdify, linear_eq_to_matrix
from sympy.printing.pycode import PythonCodePrinter

from ..base import symbols
from ..spec.graph import Branch, Trace
from .adjoint import Adjoint
from .algebra import PAIR, Moments, Pair
from .differential import Differential
from .equivalence import Pattern, slots

#: largest second moment that a block reads, beyond which a stack is refused: closed forms take the product of
#: two to the power 3/2, which must be in float64's range
LARGEST_VARIANCE = 1e100


class PairStep:
    """Compiled expressions of one traced block (or readout).

    Attributes:
        trace: the block.
        places: the class of copies of each stream.
        firsts: the first stream of each class.
        coefficients: the block's multipliers, in the order in which the functions take them.
        pairs: the pairs (i, j), i <= j, of classes, in the order of the forward state.
        gradients: the pairs (i, j), i <= j, of streams, in the order of the backward state.
        own: the number of the pair that holds the moments of each class.
        branch_inputs: functions to (q, delta) at each branch's input.
        outputs: function to q of each outgoing pair, then delta of each, then q_{l,l+1}, the second moment
            across the block, of each class.
        differential: the derivatives of ``branch_inputs`` and ``outputs``.
        multiplied: function to (q, delta) of what each learnt multiplier of the block multiplies, and then
            each gate.
        backward: function to the entries, row by row, of the map from the outgoing gradient state to the
            incoming one, followed by the rows of (gamma, c) at the output of each branch, of each
            learnt multiplier and of each product with a gate; its shape is ``shape``.

    Functions take three sequences of numbers or arrays: q, delta and the multipliers. q and delta are those
    of the block's sources, the stream pairs in front of it and then the outputs of its branches (for a
    branch's input, of those before it). ``backward`` takes a fourth: four numbers of each branch's 2 x 2 map
    from (gamma, c) at its output to its input.
    """

    def __init__(self, trace: Trace, places: tuple[int, ...]) -> None:
        self.trace, self.places = trace, places
        self.firsts = [places.index(place) for place in range(max(places) + 1)]
        count = len(self.firsts)
        self.pairs = list(combinations_with_replacement(range(count), 2))
        self.gradients = list(combinations_with_replacement(range(len(places)), 2))
        self.own = [self.pairs.index((place, place)) for place in range(count)]
        state = {
            pair: Pair(
                (
                    symbols.stream_moment(symbols.variance, *pair, count),
                    symbols.stream_moment(symbols.drop, *pair, count),
                )
            )
            for pair in self.pairs
        }
        branches = {b.index: Pair((_name("b", i), _name("e", i))) for i, b in enumerate(trace.branches)}
        self.coefficients = slots(trace)
        named = {c: _name("m", i) for i, c in enumerate(self.coefficients)}
        inputs: dict[int, Pair] = {}

        def transfer(branch: Branch, cov: Any) -> Pair:
            inputs[branch.index] = cov
            return branches[branch.index]

        def incoming(i: int, j: int) -> Pair:
            return state[min(places[i], places[j]), max(places[i], places[j])]

        forward = Moments(trace, PAIR, incoming, transfer, lambda c: named.get(c, c))
        sources = [*state.values(), *branches.values()]
        q, delta = [q for q, _ in sources], [delta for _, delta in sources]
        multipliers = [_name("m", i) for i in range(len(self.coefficients))]
        for branch in trace.branches:
            forward.cov(branch, branch)
        self.branch_inputs = [
            _compile([q[:known], delta[:known], multipliers], list(inputs[b.index]))
            for known, b in enumerate(trace.branches, len(self.pairs))
        ]
        if len(trace.outputs) == len(places):
            outputs = [trace.outputs[at] for at in self.firsts]
            after = [forward.cov(outputs[i], outputs[j]) for i, j in self.pairs]
        else:  # a readout
            outputs = [trace.outputs[0]]
            after = [forward.cov(outputs[0], outputs[0])]
        across = [
            forward.cov(out, trace.streams[at])[0] for out, at in zip(outputs, self.firsts, strict=False)
        ]
        everything = [q, delta, multipliers]
        read = [*(gain.source for gain in trace.gains), *(product.source for product in trace.products)]
        self.multiplied = _compile(everything, [x for value in read for x in forward.cov(value, value)])
        self.outputs = _compile(everything, [*(q for q, _ in after), *(d for _, d in after), *across])
        self.differential = Differential([inputs[b.index] for b in trace.branches], after, *everything)
        self.backward = self._compile_backward(forward, everything)

    def _compile_backward(self, forward: Moments, everything: list[list[Symbol]]) -> Callable[..., Any]:
        trace = self.trace
        adjoint = Adjoint(forward)
        outgoing = len(trace.outputs)
        gradient = {
            pair: Pair(
                (
                    symbols.stream_moment(symbols.grad_variance, *pair, outgoing),
                    symbols.stream_moment(symbols.grad_covariance, *pair, outgoing),
                )
            )
            for pair in combinations_with_replacement(range(outgoing), 2)
        }
        order = {b.index: i for i, b in enumerate(trace.branches)}
        maps = [[_name(f"a{r}{c}_", i) for r in (0, 1) for c in (0, 1)] for i in range(len(order))]

        def transfer(branch: Branch, cov: Any) -> Pair:
            a00, a01, a10, a11 = maps[order[adjoint.origin[branch.index].index]]
            return Pair((a00 * cov[0] + a01 * cov[1], a10 * cov[0] + a11 * cov[1]))

        moments = Moments(adjoint.trace, PAIR, lambda i, j: gradient[min(i, j), max(i, j)], transfer)
        ends = adjoint.trace.outputs
        incoming = [moments.cov(ends[i], ends[j]) for i, j in self.gradients]
        inside = [adjoint.at[node.index] for node in (*trace.branches, *trace.gains, *trace.products)]
        rows = [x for pair in [*incoming, *(moments.cov(g, g) for g in inside)] for x in pair]
        unknowns = [x for pair in gradient.values() for x in pair]
        matrix: Matrix = linear_eq_to_matrix(rows, unknowns)[0]
        self.shape: tuple[int, int] = matrix.shape
        return _compile([*everything, [a for m in maps for a in m]], list(matrix))


class _Printer(PythonCodePrinter):
    """Roots as powers, which floats and arrays both take."""

    def _print_Pow(self, expr: Expr, rational: bool = True) -> str:
        return str(super()._print_Pow(expr, rational=True))


def _name(stem: str, index: int) -> Symbol:
    return symbols.transfer(f"{stem}{index}")


def _compile(arguments: list[list[Symbol]], expressions: list[Expr]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = lambdify(arguments, expressions, "math", printer=_Printer, cse=True)
    return compiled


@lru_cache(maxsize=1024)
def pair_step(trace: Trace, places: tuple[int, ...]) -> PairStep:
    """The compiled block or readout; wirings that differ in their multipliers alone share the functions."""
    step = copy(_compiled(Pattern.of(trace), places))
    step.trace, step.coefficients = trace, slots(trace)
    return step


@lru_cache(maxsize=256)
def _compiled(pattern: Pattern, places: tuple[int, ...]) -> PairStep:
    return PairStep(pattern.trace, places)
