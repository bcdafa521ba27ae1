"""Designs that compute the same at initialisation: decided from what their blocks do, step by step.

A block's outgoing streams are brought to one form, in which equal functions of the incoming streams are
equal: sums of sums are multiplied out and empty terms dropped; a norm (without epsilon, of gain one) passes
over a norm in front of it, also the last of the block before, and over a positive factor; streams that stay
copies of each other count as one; learnt multipliers are the numbers that they start at. What is equal in
this form is the same function, hence has the same signal and the same gradient; what is not may still have
equal moments.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import lcm
from typing import Any

from sympy import Expr, Integer

from ..base.errors import InputError
from ..spec.arguments import placement as named
from ..spec.graph import Branch, Norm, Product, Stream, Sum, Trace, Value
from ..spec.placement import PLACEMENTS
from ..spec.position import Position, Questions
from ..spec.text import parse_placement
from .copies import copies
from .one_token import tidy

#: a value as a combination of what is no sum
Form = frozenset[tuple[Hashable, Expr]]

EVERY, LATER = "every block", "every block but the first"


@dataclass(frozen=True)
class Reduction:
    """A simpler design that another one equals at initialisation.

    Attributes:
        placement: its name.
        blocks: where: "every block", "every block but the first", "the first 1/4 of the blocks", "the blocks
            behind the first 1/4".
    """

    placement: str
    blocks: str

    def __str__(self) -> str:
        return f"{PLACEMENTS[self.placement].title} in {self.blocks}"


def reduces_to(placement: str, scaling: str = "unit") -> tuple[Reduction, ...]:
    """The simpler designs of the catalogue that a placement equals at initialisation, the simplest first.

        st.reduces_to("hybrid-norm-star")

    Equal means the same function of stream and weights, block by block, and so the same signal and gradient;
    where all blocks are meant, the same readout, too.

    Source: docs/comparing.md.

    Args:
        placement: a registered name, with its options.
        scaling: the rule under which both are compared.

    Returns:
        one :class:`Reduction` for each; empty where there is none.

    Raises:
        InputError: an unknown name, or a rule that does not belong to the placement.

    Example:
        >>> import spannorm_theory as st
        >>> isinstance(st.reduces_to("ln-scaling"), tuple)
        True
    """
    name, options = parse_placement(named(placement))
    PLACEMENTS[name].trace(scaling, **options)  # refuses a rule or an option by name
    own = _design(name, PLACEMENTS[name].function, tuple(sorted(options.items())), scaling)
    found: dict[str, _Design] = {}
    for entry in PLACEMENTS.values():
        try:
            other = _design(entry.name, entry.function, (), scaling)
        except InputError:  # a rule that does not belong to it
            continue
        blocks = own.as_in(other) if other.size < own.size else ""
        # those that equal it in the same blocks equal each other there: the simplest stands for all
        if blocks and (blocks not in found or other.size < found[blocks].size):
            found[blocks] = other
    order = sorted(found, key=lambda blocks: (blocks != EVERY, found[blocks].size))
    return tuple(Reduction(found[blocks].name, blocks) for blocks in order)


@lru_cache(maxsize=256)
def _design(
    name: str, function: Callable[..., Any], options: tuple[tuple[str, Any], ...], scaling: str
) -> _Design:
    """A design, kept for as long as its definition is the same."""
    return _Design(name, dict(options), scaling)


class _Design:
    """A placement under a rule, as the forms of its blocks.

    Attributes:
        name: of the placement.
        size: what simpler designs have less of: streams, then steps; of equals the earlier one is simpler.
    """

    def __init__(self, name: str, given: Mapping[str, Any], scaling: str) -> None:
        entry = PLACEMENTS[name]
        self.name, options = name, entry.check_options(given)
        asked = entry.questions(scaling, **options)
        self._asked, self._entry, self._options, self._scaling = asked, entry, options, scaling
        traces = tuple(self._trace(at) for at in _positions(asked, asked.period or 1))
        self._readout = entry.trace_readout()
        self._places = copies(traces)
        self._normed = self._normed_streams(traces)
        steps = sum(len(trace.nodes) for trace in {*traces, self._readout})
        self.size = (entry.streams, steps, entry.year or 9999, entry.name)

    def _trace(self, at: Position) -> Trace:
        return self._entry.trace(self._scaling, **at._asdict(), **self._options)

    def _normed_streams(self, traces: tuple[Trace, ...]) -> frozenset[int]:
        """Classes of streams that every block puts out normed, so that the next one reads them so."""
        outgoing = [self._forms(trace, frozenset()) for trace in traces]
        return frozenset(place for place in self._places if all(_is_norm(forms[place]) for forms in outgoing))

    def _forms(self, trace: Trace, normed: frozenset[int]) -> dict[int, Form]:
        """The outgoing forms of a block by class of stream."""
        streams = [_one(("norm" if place in normed else "stream", place)) for place in self._places]
        return dict(zip(self._places, _outgoing(trace, streams), strict=True))

    def block(self, at: Position, normed: frozenset[int]) -> tuple[Form, ...]:
        """The forms of a block's streams, in the order of their classes, where those of the classes
        ``normed`` come in normed."""
        forms = self._forms(self._trace(at), frozenset() if at.first else normed)
        return tuple(forms[place] for place in sorted(forms))

    def last(self, at: Position, normed: frozenset[int]) -> Form:
        """The form of the output of a stack whose last block is one at this position."""
        forms = self._forms(self._trace(at), normed)
        (output,) = _outgoing(self._readout, [forms[place] for place in self._places])
        return output

    def as_in(self, other: _Design) -> str:
        """The blocks that are those of another design, in words; empty where none are. Equal blocks hand
        on equal streams, which are normed where this design's are."""
        asked, normed = self._asked, self._normed
        if other._asked.fraction not in (None, asked.fraction):
            return ""
        turns = lcm(asked.period or 1, other._asked.period or 1)
        first, *later = _positions(asked, turns)
        same = {at for at in (first, *later) if self.block(at, normed) == other.block(at, normed)}
        if same.issuperset(later):
            if any(self.last(at, normed) != other.last(at, normed) for at in later):
                return ""
            return EVERY if first in same else LATER
        parts = {
            f"the first {asked.fraction} of the blocks": {at for at in (first, *later) if at.early},
            f"the blocks behind the first {asked.fraction}": {at for at in (first, *later) if not at.early},
        }
        return next((words for words, part in parts.items() if part and same.issuperset(part)), "")


def _positions(asked: Questions, turns: int) -> list[Position]:
    """The first block's position, then those that others of a deep stack may have."""
    fraction = asked.fraction or 0
    early = [*([True] if fraction > 0 else []), *([False] if fraction < 1 else [])]
    return [
        Position(first=True, early=early[0]),
        *(Position(early=one, turn=turn) for one, turn in product(early, range(turns))),
    ]


def _outgoing(trace: Trace, streams: Sequence[Form]) -> list[Form]:
    """Forms of what a trace returns, from those of its streams."""
    forms: dict[int, Form] = {}
    for node in trace.nodes:
        forms[node.index] = _form(node, forms, streams)
    return [forms[output.index] for output in trace.outputs]


def _form(node: Value, forms: Mapping[int, Form], streams: Sequence[Form]) -> Form:
    if isinstance(node, Stream):
        return streams[node.position]
    if isinstance(node, Sum):
        terms: dict[Hashable, Expr] = {}
        for factor, value in node.terms:
            for atom, own in forms[value.index]:
                terms[atom] = terms.get(atom, Integer(0)) + factor * own
        return frozenset((atom, own) for atom, factor in terms.items() if (own := _plain(factor)) != 0)
    source = forms[node.sources[0].index]
    if isinstance(node, Norm):
        read = _without_factor(source)
        return read if _is_norm(read) else _one(("norm", read))
    if isinstance(node, Product):
        return _one(("product", node.index, source, forms[node.source.index]))
    assert isinstance(node, Branch)
    stated = (tuple(sorted(x.items())) for x in (node.gains, node.std))
    return _one((node.kind, node.normed, node.inner_norm, *stated, node.reach, source))


@lru_cache(maxsize=1024)
def _plain(factor: Expr) -> Expr:
    """One form of equal expressions."""
    return factor if factor.is_number else tidy(factor)


def _one(atom: Hashable) -> Form:
    return frozenset([(atom, Integer(1))])


def _without_factor(form: Form) -> Form:
    """A form over the factor of its first term, which a norm does not see where it is positive."""
    if not form:
        return form
    _, factor = min(form, key=lambda term: str(term[0]))
    if not factor.is_positive:
        return form
    return frozenset((atom, _plain(own / factor)) for atom, own in form)


def _is_norm(form: Form) -> bool:
    """Whether a form is a norm, or a stream that comes from one."""
    if len(form) != 1:
        return False
    ((atom, factor),) = form
    assert isinstance(atom, tuple)
    return bool(factor == 1) and atom[0] == "norm"
