"""What two wirings share that differ in their numbers alone, and when these numbers come to the same.

Rules multiply the same few values of a placement's block by other numbers. What is compiled with a symbol
for each multiplier serves all rules of a placement; what is derived with constant gains is the same for a
factor on a branch's output and on its last matrix.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from sympy import Expr, Integer

from ..definitions.trace import Branch, Norm, Stream, Sum, Trace, Value
from .step import rule_gain, scale_free, tidy

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


def constant_gain_key(trace: Trace) -> Hashable:
    """Equal for blocks that are the same with constant gains, whatever multiplies what in them."""
    readers: dict[int, list[Value]] = {node.index: [] for node in trace.nodes}
    for node in trace.nodes:
        for source in node.sources:
            readers[source.index].append(node)

    def once(node: Value) -> bool:
        """Whether the branch's gain counts only together with the multiplier of the one sum it is in."""
        fresh = isinstance(node, Branch) and not node.elementwise
        return fresh and len(readers[node.index]) == 1 and isinstance(readers[node.index][0], Sum)

    def row(node: Value) -> Hashable:
        if isinstance(node, Sum):
            return tuple(
                (tidy(factor**2 * rule_gain(value)) if once(value) else tidy(factor), value.index)  # type: ignore[arg-type]
                for factor, value in node.terms
            )
        if isinstance(node, Branch) and not node.elementwise:
            return node.kind, node.source.index, scale_free(node), 1 if once(node) else tidy(rule_gain(node))
        return _plain(node)

    return tuple(map(row, trace.nodes)), _outputs(trace)


def _plain(node: Value) -> Hashable:
    if isinstance(node, Branch):
        return node.kind, node.source.index, node.normed, node.inner_norm
    if isinstance(node, Norm):
        return "norm", node.source.index
    assert isinstance(node, Stream)
    return "stream", node.position


def _outputs(trace: Trace) -> tuple[int, ...]:
    return tuple(output.index for output in trace.outputs)
