"""A placement: a function on residual streams, its readout, and how it is traced.

A definition receives the residual stream (a tuple for several streams) and ``net``
(:class:`.net.Net`), and returns the stream after one block of two sublayers. ``net.first`` is true in
the first block, ``net.early(a)`` in the first floor(a L), ``net.turn(n)`` is l modulo n. ``readout`` turns
the stream after the last block into the output; keyword-only arguments are options, with their defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from ..base.errors import InputError, SpannormError, UnknownNameError
from ..base.registry import Registry
from .graph import Trace, Value
from .net import Net
from .position import MIDDLE, Position, Questions
from .record import record
from .scaling import ScalingRule
from .scalings import SCALINGS

Definition = TypeVar("Definition", bound=Callable[..., Any])


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
        chosen = dict(self.options)
        for name, value in options.items():
            if not self.options:
                raise InputError(f"{self.name} has no options, got {name}={value!r}")
            if name not in self.options:
                raise UnknownNameError(f"option of {self.name}", name, self.options)
            expected = type(self.options[name])
            if expected is float and type(value) is int:
                value = float(value)
            if type(value) is not expected:
                raise InputError(f"option {name} of {self.name} must be {expected.__name__}, got {value!r}")
            chosen[name] = value
        return chosen

    def trace(
        self, scaling: str, *, first: bool = False, early: bool = False, turn: int = 0, **options: Any
    ) -> Trace:
        """The graph of one block under a scaling rule, at a place of the stack.

        Raises:
            InputError: the rule does not belong to this placement.
        """
        return self._record(scaling, Position(first, early, turn), options)[0]

    def trace_at(self, scaling: str, layer: int, depth: int, **options: Any) -> Trace:
        """The graph of block ``layer`` of a stack of ``depth``."""
        position = self.questions(scaling, **options).position(layer, depth)
        return self._record(scaling, position, options)[0]

    def questions(self, scaling: str, **options: Any) -> Questions:
        """The questions on which the wiring of a block depends, beside being the first."""
        first = self._record(scaling, Position(first=True), options)[1]
        other = self._record(scaling, MIDDLE, options)[1]
        return Questions(
            first.fraction if other.fraction is None else other.fraction, other.period or first.period
        )

    def _record(
        self, scaling: str, position: Position, options: Mapping[str, Any]
    ) -> tuple[Trace, Questions]:
        rule = SCALINGS[scaling]
        rule.check(self.name)
        chosen = tuple(sorted(self.check_options(options).items()))
        trace, questions = _recorded(self.function, rule, self.streams, position, chosen)
        if len(trace.outputs) != self.streams:
            raise InputError(
                f"the definition of {self.name} takes {self.streams} stream(s) and returns "
                f"{len(trace.outputs)}; a block must return as many as it takes"
            )
        return trace, questions

    def trace_readout(self) -> Trace:
        """The graph from the last block's output to the model's output."""
        trace, _ = _recorded(self.readout, SCALINGS["unit"], self.streams, MIDDLE, ())
        if len(trace.outputs) != 1:
            raise InputError(
                f"the readout of {self.name} must return one value, got {len(trace.outputs)}; a placement of "
                "several streams names its own with readout="
            )
        return trace


@lru_cache(maxsize=1024)
def _recorded(
    function: Callable[..., Any],
    rule: ScalingRule,
    streams: int,
    position: Position,
    options: tuple[tuple[str, Any], ...],
) -> tuple[Trace, Questions]:
    return record(function, rule, streams, position, dict(options))


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

    Args:
        scaling: the scaling rule that was published with it.

    Raises:
        InputError: the name is taken, an option has no default, or the definition is no block: it returns
            another number of streams than it takes, uses a branch twice or none at all, or norms zero.
    """

    def register(function: Definition) -> Definition:
        parameters = inspect.signature(function).parameters.values()
        options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        if inspect.Parameter.empty in options.values():
            raise InputError(f"every keyword-only option of the placement {name!r} needs a default")
        entry = Placement(name, title, source, function, readout, streams, year, scaling, options)
        try:
            blocks = (
                entry.trace(scaling),
                entry.trace(scaling, first=True),
                entry.trace(scaling, early=True),
            )
            entry.trace_readout()
        except SpannormError:
            raise
        except Exception as error:
            raise InputError(
                f"the definition of {name!r} failed on a stream: {type(error).__name__}: {error}"
            ) from error
        if all(branch.elementwise for block in blocks for branch in block.branches):
            raise InputError(f"the definition of {name!r} uses neither net.attention nor net.ffn")
        PLACEMENTS.add(entry, replace=replace)
        return function

    return register
