"""A placement: a function on residual streams, its readout, and how it is traced.

A definition receives the residual stream (a tuple for several streams) and ``net``
(:class:`.net.Net`), and returns the stream after one block of two sublayers. ``net.first`` is true in
the first block, ``net.early(a)`` in the first floor(a L), ``net.turn(n)`` is l modulo n. ``readout`` turns
the stream after the last block into the output; keyword-only arguments are options, with their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from ..base import symbols
from ..base.arguments import whole
from ..base.callables import require_callable
from ..base.errors import InputError
from ..base.names import require_source, require_usable
from ..base.registry import Registry
from .graph import SUBLAYERS, Trace, Value
from .net import PLAIN_NORMS, Net, NormConstants
from .options import checked_options, options_of
from .position import MIDDLE, Position, Questions
from .reach import OPEN, Reach
from .record import record
from .scaling import ScalingRule
from .scalings import SCALINGS

Definition = TypeVar("Definition", bound=Callable[..., Any])

#: words by which a trace is asked for, and which no option can have
TAKEN = ("scaling", "layer", "depth", "norms", "reach", *Position._fields)

#: streams of a placement, at most: every pair of them has its moment
MOST_STREAMS = 64


@dataclass(frozen=True)
class Placement:
    """A registered placement.

    Attributes:
        function: the definition.
        scaling: the scaling rule of the paper that proposed it.
    """

    name: str
    title: str
    source: str
    function: Callable[..., Any]
    readout: Callable[..., Value]
    streams: int = 1
    year: int | None = None
    scaling: str = "unit"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def doc(self) -> str:
        """The definition's docstring."""
        return (self.function.__doc__ or "").strip()

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options merged with their defaults; an unknown name or a wrong type is refused."""
        return checked_options(self.name, self.options, options)

    def trace(
        self,
        scaling: str,
        *,
        first: bool = False,
        early: bool = False,
        turn: int = 0,
        norms: NormConstants = PLAIN_NORMS,
        reach: Reach = OPEN,
        **options: Any,
    ) -> Trace:
        """The graph of one block under a scaling rule, at a place of the stack; ``norms`` are the constants
        of its norms, and ``reach`` is that of its attention where the definition leaves it open.

        Raises:
            InputError: the rule does not belong to this placement.
        """
        return self._record(scaling, Position(first, early, turn), options, norms, reach)[0]

    def questions(self, scaling: str, **options: Any) -> Questions:
        """The questions on which the wiring of a block depends, beside being the first."""
        first = self._record(scaling, Position(first=True), options)[1]
        other = self._record(scaling, MIDDLE, options)[1]
        return Questions(
            first.fraction if other.fraction is None else other.fraction, other.period or first.period
        )

    def require_block(self) -> None:
        """Refuse a definition that is no block anywhere in a stack under its own rule.

        Raises:
            InputError: it fails, returns another number of streams than it takes, uses a branch twice or
                none at all, or norms zero.
        """
        rule = self.scaling
        blocks = [self.trace(rule), self.trace(rule, first=True), self.trace(rule, early=True)]
        period = self.questions(rule).period or 1
        blocks += [self.trace(rule, turn=turn) for turn in range(1, period)]
        self.trace_readout()
        if not any(branch.kind in SUBLAYERS for block in blocks for branch in block.branches):
            raise InputError(f"the definition of {self.name!r} uses neither net.attention nor net.ffn")

    def _record(
        self,
        scaling: str,
        position: Position,
        options: Mapping[str, Any],
        norms: NormConstants = PLAIN_NORMS,
        reach: Reach = OPEN,
    ) -> tuple[Trace, Questions]:
        rule = SCALINGS[scaling]
        rule.check(self.name)
        chosen = tuple(sorted(self.check_options(options).items()))
        what = f"the definition of {self.name!r}"
        trace, questions = _recorded(self.function, rule, self.streams, position, chosen, what, norms, reach)
        if len(trace.outputs) != self.streams:
            raise InputError(
                f"the definition of {self.name} takes {self.streams} stream(s) and returns "
                f"{len(trace.outputs)}; a block must return as many as it takes"
            )
        return trace, questions

    def trace_readout(self, norms: NormConstants = PLAIN_NORMS) -> Trace:
        """The graph from the last block's output to the model's output, with norms of given constants."""
        what = f"the readout of {self.name!r}"
        trace, _ = _recorded(self.readout, SCALINGS["unit"], self.streams, MIDDLE, (), what, norms)
        if len(trace.outputs) != 1:
            raise InputError(
                f"the readout of {self.name} must return one value, got {len(trace.outputs)}; a placement of "
                "several streams names its own with readout="
            )
        if any(branch.gates for branch in trace.branches):
            raise InputError(
                f"the readout of {self.name} has a gate of a random map, and stands behind all blocks, which "
                "have the matrices; use logits=0"
            )
        if any(symbols.layer in factor.free_symbols for factor in trace.multipliers):
            raise InputError(
                f"the readout of {self.name} stands behind all blocks; its factors cannot depend on l"
            )
        return trace


@lru_cache(maxsize=1024)
def _recorded(
    function: Callable[..., Any],
    rule: ScalingRule,
    streams: int,
    position: Position,
    options: tuple[tuple[str, Any], ...],
    what: str,
    norms: NormConstants,
    reach: Reach = OPEN,
) -> tuple[Trace, Questions]:
    return record(function, rule, streams, position, dict(options), what, norms, reach)


PLACEMENTS: Registry[Placement] = Registry("placement")


def raw(x: Value, net: Net) -> Value:
    """Readout: the stream as it is."""
    return x


def final_norm(x: Value, net: Net) -> Value:
    """Readout: the norm of the stream."""
    return net.norm(x)


def placement(
    name: str,
    *,
    title: str,
    source: str,
    year: int | None = None,
    streams: int = 1,
    readout: Callable[..., Value] = raw,
    scaling: str = "unit",
    replace: bool = False,
) -> Callable[[Definition], Definition]:
    """Register a placement under ``name``; every feature of the toolkit then works on it.

    Source: docs/extending.md.

    Args:
        name: letters, digits, dots, dashes and underscores, at most 60.
        title: how tables and figures call it.
        source: where it was published, as "arXiv:2601.22580".
        year: when; lists are ordered by it.
        streams: residual streams, 1 to 64: of several the function takes and returns a tuple.
        readout: a function of the last streams and net that returns the model's output; by default the stream
            as it is.
        scaling: name of the scaling rule that was published with it.
        replace: whether a name that is taken is defined anew.

    Returns:
        a decorator of ``definition(x, net, *, option=default)``, which is one block: it takes the stream (or
        a tuple) and :class:`~spannorm_theory.spec.net.Net`, and returns the stream after the block. The
        decorator returns the function as it is.

    Raises:
        InputError: the name is taken, an option has no default, or the definition is no block: it returns
            another number of streams than it takes, uses a branch twice or none at all, or norms zero.

    Example:
        >>> import spannorm_theory as st
        >>> @st.placement("mine", title="Mine", source="this page", replace=True)
        ... def mine(x, net):
        ...     y = net.norm(net.add(x, net.attention(x)))
        ...     return net.add(y, net.ffn(y))
        ...
        >>> str(st.derive("mine").closed_form()["q"])
        'sigma_f^2 + 1'
    """

    require_usable("placement", name)
    require_source(title, source, year)
    streams = whole("streams", streams, 1, MOST_STREAMS)

    def register(function: Definition) -> Definition:
        require_callable(function, f"the definition of {name!r}", "a function of a stream and net")
        require_callable(readout, f"the readout of {name!r}", "a function of a stream and net")
        options = options_of("placement", name, function, TAKEN)
        entry = Placement(
            name, title, source, function, readout, streams, year, SCALINGS[scaling].name, options
        )
        if PLACEMENTS.trying:
            entry.require_block()
        PLACEMENTS.add(entry, replace=replace)
        return function

    return register
