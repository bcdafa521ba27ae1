"""Wirings that differ in their numbers alone, and when these numbers come to the same.

Rules multiply the same few values of a placement's block by other numbers. What is compiled with a symbol
for each multiplier serves all rules of a placement; what is derived with constant gains is the same for a
factor on a branch's output and on its last matrix.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from sympy import Expr, Integer

from ..base import symbols
from ..spec.graph import SUBLAYERS, Branch, Gain, Norm, Product, Stream, Sum, Trace, Value
from .one_token import ONE, rule_gain, scale_free, tidy

#: what gains depend on
VARIABLES = symbols.layer, symbols.depth, symbols.width

#: of the gains of attention and feed-forward
Factors = tuple[Expr, Expr]

#: multipliers that formulas hold as they are
LITERALS = (Integer(-1), Integer(0), Integer(1))


def slots(trace: Trace) -> tuple[Expr, ...]:
    """The distinct multipliers of a block that formulas can have symbols for."""
    return tuple(factor for factor in trace.multipliers if factor not in LITERALS)


@dataclass(frozen=True)
class Pattern:
    """A wiring, equal to every other one up to multipliers and gains."""

    key: Hashable
    trace: Trace = field(compare=False)

    @classmethod
    def of(cls, trace: Trace) -> Pattern:
        """The pattern of a trace."""
        place = {factor: i for i, factor in enumerate(slots(trace))}

        def row(node: Value) -> Hashable:
            if isinstance(node, Sum):
                terms = tuple((place.get(factor, str(factor)), value.index) for factor, value in node.terms)
                return (node.name, terms) if isinstance(node, Gain) else terms
            if isinstance(node, Norm):
                numbers = (place.get(number, str(number)) for number in (node.epsilon, node.gain))
                return "norm", *numbers, node.source.index
            return *_operation(node), *(source.index for source in node.sources)

        return cls((tuple(map(row, trace.nodes)), _outputs(trace)), trace)


def constant_gain_key(traces: Sequence[Trace]) -> tuple[Hashable, Factors]:
    """Equal for blocks that are the same with constant gains up to a factor of all gains of one kind; and
    these factors, of attention and feed-forward."""
    blocks = [_Block(trace) for trace in traces]
    factors = {
        kind: _common([g for block in blocks for b, g in block.gains.items() if b.kind == kind])
        for kind in SUBLAYERS
    }
    rows = tuple(block.rows(factors) for block in blocks)
    return rows, (factors["attention"], factors["ffn"])


class _Block:
    """A wiring with sums of sums multiplied out.

    Attributes:
        gains: what multiplies each branch's constant gains: for one that is only added to other values, with
            its multiplier in the last sum.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._terms: dict[int, dict[int, Expr]] = {}
        for node in trace.nodes:
            if isinstance(node, Sum):
                self._terms[node.index] = self._multiplied_out(node)
        whole = {node.index for node in trace.nodes if not isinstance(node, Sum)}
        read = {source.index for node in trace.nodes for source in node.sources if node.index in whole}
        #: sums that count by themselves, not as terms of sums
        self._read = read | set(_outputs(trace))
        kept = [i for i in range(len(trace.nodes)) if i in whole or i in self._read]
        #: numbers of what counts
        self._number = {index: number for number, index in enumerate(kept)}
        self._added = {branch.index: self._multiplier(branch) for branch in trace.branches}
        self.gains = {
            branch: tidy(self._added[branch.index] ** 2 * rule_gain(branch))
            for branch in trace.branches
            if not branch.elementwise
        }

    def _multiplied_out(self, node: Sum) -> dict[int, Expr]:
        terms: dict[int, Expr] = {}
        for factor, value in node.terms:
            for index, inner in self._terms.get(value.index, {value.index: ONE}).items():
                terms[index] = terms.get(index, Integer(0)) + factor * inner
        return terms

    def _multiplier(self, branch: Branch) -> Expr:
        if branch.elementwise or branch.index in self._read:
            return ONE
        found = [terms.get(branch.index, Integer(0)) for i, terms in self._terms.items() if i in self._read]
        return next((factor for factor in reversed(found) if factor != 0), ONE)

    def rows(self, factors: Mapping[str, Expr]) -> Hashable:
        """One for each node that counts, and the outgoing streams."""
        nodes = [node for node in self.trace.nodes if node.index in self._number]
        outputs = tuple(self._number[index] for index in _outputs(self.trace))
        return tuple(self._row(node, factors) for node in nodes), outputs

    def _row(self, node: Value, factors: Mapping[str, Expr]) -> Hashable:
        if isinstance(node, Sum):
            terms = self._terms[node.index].items()
            return tuple(
                (tidy(factor / self._added.get(index, ONE)), self._number[index]) for index, factor in terms
            )
        sources = tuple(self._number[source.index] for source in node.sources)
        if isinstance(node, Branch) and not node.elementwise:
            return node.kind, sources, scale_free(node), tidy(self.gains[node] / factors[node.kind])
        return *_operation(node), sources


def _common(gains: Sequence[Expr]) -> Expr:
    """The number in front of all of these, if it is one and not zero; else one."""
    numbers = {gain.as_independent(*VARIABLES, as_Add=False)[0] for gain in gains}
    return numbers.pop() if len(numbers) == 1 and 0 not in numbers else ONE


def _operation(node: Value) -> tuple[Hashable, ...]:
    """What a node does to its source; of a stream, which it is."""
    if isinstance(node, Branch):
        return node.kind, node.normed, node.inner_norm
    if isinstance(node, Norm):
        return "norm", node.epsilon, node.gain
    if isinstance(node, Product):
        return ("product",)
    assert isinstance(node, Stream)
    return "stream", node.position


def _outputs(trace: Trace) -> tuple[int, ...]:
    return tuple(output.index for output in trace.outputs)
