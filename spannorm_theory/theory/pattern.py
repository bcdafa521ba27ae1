"""What two wirings share that differ in their numbers alone, and when these numbers come to the same.

Rules multiply the same few values of a placement's block by other numbers. What is compiled with a symbol
for each multiplier serves all rules of a placement; what is derived with constant gains is the same for a
factor on a branch's output and on its last matrix.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from sympy import Expr, Integer

from .. import symbols
from ..definitions.trace import SUBLAYERS, Branch, Norm, Stream, Sum, Trace, Value
from .step import ONE, rule_gain, scale_free, tidy

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
                return tuple((place.get(factor, str(factor)), value.index) for factor, value in node.terms)
            return _plain(node)

        return cls((tuple(map(row, trace.nodes)), _outputs(trace)), trace)


def constant_gain_key(traces: Sequence[Trace]) -> tuple[Hashable, Factors]:
    """Equal for blocks that are the same with constant gains up to a factor of all gains of one kind; and
    these factors, of attention and feed-forward."""
    gains = [_constant_gains(trace) for trace in traces]
    factors = {
        kind: _common([g for found in gains for b, g in found.items() if b.kind == kind])
        for kind in SUBLAYERS
    }
    rows = []
    for trace, found in zip(traces, gains, strict=True):
        own = {branch.index: tidy(gain / factors[branch.kind]) for branch, gain in found.items()}
        rows.append((tuple(_row(node, own, _once(trace)) for node in trace.nodes), _outputs(trace)))
    return tuple(rows), (factors["attention"], factors["ffn"])


def _constant_gains(trace: Trace) -> dict[Branch, Expr]:
    """What multiplies each branch's constant gains: for one in a single sum, with its multiplier there."""
    once = _once(trace)
    return {
        branch: tidy(once.get(branch.index, ONE) ** 2 * rule_gain(branch))
        for branch in trace.branches
        if not branch.elementwise
    }


def _once(trace: Trace) -> dict[int, Expr]:
    """Branches that count only together with the multiplier of the one sum that they are in, and this."""
    readers: dict[int, list[Value]] = {node.index: [] for node in trace.nodes}
    for node in trace.nodes:
        for source in node.sources:
            readers[source.index].append(node)
    found = {}
    for branch in trace.branches:
        if not branch.elementwise and len(readers[branch.index]) == 1:
            (reader,) = readers[branch.index]
            if isinstance(reader, Sum):
                (found[branch.index],) = (factor for factor, value in reader.terms if value is branch)
    return found


def _common(gains: Sequence[Expr]) -> Expr:
    """The number in front of all of these, if it is one and not zero; else one."""
    numbers = {gain.as_independent(*VARIABLES, as_Add=False)[0] for gain in gains}
    return numbers.pop() if len(numbers) == 1 and 0 not in numbers else ONE


def _row(node: Value, gains: Mapping[int, Expr], once: Mapping[int, Expr]) -> Hashable:
    if isinstance(node, Sum):
        return tuple(
            (gains[value.index] if value.index in once else tidy(factor), value.index)
            for factor, value in node.terms
        )
    if isinstance(node, Branch) and not node.elementwise:
        gain = ONE if node.index in once else gains[node.index]
        return node.kind, node.source.index, scale_free(node), gain
    return _plain(node)


def _plain(node: Value) -> Hashable:
    if isinstance(node, Branch):
        return node.kind, node.source.index, node.normed, node.inner_norm
    if isinstance(node, Norm):
        return "norm", node.source.index
    assert isinstance(node, Stream)
    return "stream", node.position


def _outputs(trace: Trace) -> tuple[int, ...]:
    return tuple(output.index for output in trace.outputs)
