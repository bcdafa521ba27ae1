"""Streams that stay copies of each other forward: they start as the input, and every block adds the same to
them. A moment of one is that of all, and their cross moments too."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

from sympy import Expr, Integer

from ..spec.graph import Branch, Norm, Product, Stream, Sum, Trace, Value

#: a value as a combination of what is no sum
Form = frozenset[tuple[Hashable, Expr]]


@lru_cache(maxsize=256)
def copies(traces: tuple[Trace, ...]) -> tuple[int, ...]:
    """The number of each stream's class of copies, under blocks that are wired as any of ``traces``.

    The coarsest partition under which equal streams stay equal: streams that a block tells apart are split
    until no block does.
    """
    places: tuple[int, ...] = (0,) * len(traces[0].streams)
    while True:
        forms = zip(*(_outgoing(trace, places) for trace in traces), strict=True)
        kinds = list(zip(places, forms, strict=True))
        numbers = {kind: i for i, kind in enumerate(dict.fromkeys(kinds))}
        split = tuple(numbers[kind] for kind in kinds)
        if split == places:
            return places
        places = split


def _outgoing(trace: Trace, places: Sequence[int]) -> list[Form]:
    """Forms of the outgoing streams, equal for equal streams, where incoming ones of one class are equal."""
    forms: dict[int, Form] = {}

    def form(node: Value) -> Form:
        if isinstance(node, Sum):
            terms: dict[Hashable, Expr] = {}
            for factor, value in node.terms:
                for atom, own in forms[value.index]:
                    terms[atom] = terms.get(atom, Integer(0)) + factor * own
            return frozenset((atom, factor) for atom, factor in terms.items() if factor != 0)
        return frozenset([(_atom(node), Integer(1))])

    def _atom(node: Value) -> Hashable:
        if isinstance(node, Stream):
            return "stream", places[node.position]
        if isinstance(node, Norm):
            return "norm", node.epsilon, node.gain, forms[node.source.index]
        if isinstance(node, Product):
            return "product", node.gate.index, forms[node.source.index]
        assert isinstance(node, Branch)
        return node.index if not node.elementwise else (node.kind, forms[node.source.index])

    for node in trace.nodes:
        forms[node.index] = form(node)
    return [forms[output.index] for output in trace.outputs]
