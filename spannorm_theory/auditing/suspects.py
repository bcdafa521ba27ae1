"""Single changes of an architecture, each a fault that people make and that no tensor shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..base.errors import SpannormError
from ..spec.architecture import Architecture
from ..spec.graph import Norm, Value
from ..spec.net import LONGEST_PERIOD, Net
from ..spec.placement import PLACEMENTS, placement


@dataclass(frozen=True)
class Suspect:
    """A change that may explain a measurement.

    Attributes:
        sentence: what is then the case, in words.
        arch: the architecture with the change.
        block: the one block that it is of; None for the whole stack.
    """

    sentence: str
    arch: Architecture
    block: int | None = None


def suspects(arch: Architecture, first: int) -> Iterator[Suspect]:
    """The changes in the order in which they are tried: those of a whole stack, then those of its block
    ``first``, the first that departs. The placements that they need are registered."""
    others = [name for name in PLACEMENTS if PLACEMENTS[name].streams == 1 and name != arch.name]
    for sentence, change in _CHANGES:
        try:
            yield Suspect(sentence, arch.with_(**change(arch)))
        except SpannormError:  # no such architecture
            continue
    yield from _without_norms(arch, None)
    if arch.depth <= LONGEST_PERIOD:
        yield from _without_norms(arch, first)
    for name in others:
        try:
            yield Suspect(f"norms stand as in {name}, not as in {arch.placement}", arch.with_(placement=name))
        except SpannormError:
            continue


Change = Callable[[Architecture], dict[str, Any]]

#: sentences, and the fields that change; the embedding's size is measured
_CHANGES: tuple[tuple[str, Change], ...] = (
    ("logits are not divided by the root of the head width", lambda a: {"logit_scale": 1.0}),
    ("logits are divided by the head width, not by its root", lambda a: {"logit_scale": "linear"}),
    ("attention has no causal mask", lambda a: {"mask": "none"}),
    ("attention has a causal mask", lambda a: {"mask": "causal"}),
    ("queries and keys are normed", lambda a: {"qk_norm": True}),
    ("queries and keys are not normed", lambda a: {"qk_norm": False}),
    ("queries and keys are rotated", lambda a: {"positions": "rope"}),
    ("queries and keys are not rotated", lambda a: {"positions": "none"}),
    ("norms have gain 2", lambda a: {"norm_gain": 2 * a.norm_gain}),
    ("norms have epsilon 1e-3", lambda a: {"norm_epsilon": 1e-3}),
)


def _without_norms(arch: Architecture, block: int | None) -> Iterator[Suspect]:
    """A suspect for each norm of a block, which is then missing in all of them or in one."""
    trace = arch.block(0 if block is None else block)
    norms = [node for node in trace.nodes if isinstance(node, Norm)]
    where = "of all blocks" if block is None else f"of block {block}"
    for index, norm in enumerate(norms):
        name = f"{arch.name}-without-norm-{index}" + ("" if block is None else f"-in-{block}-of-{arch.depth}")
        try:
            if name not in PLACEMENTS:
                _register(name, arch, index, block)
            yield Suspect(
                f"{_place(norm, trace.nodes)} {where} is missing", arch.with_(placement=name), block
            )
        except SpannormError:  # what is left is no block
            continue


def _place(norm: Norm, nodes: tuple[Value, ...]) -> str:
    """A norm in words, by the branch on either side of it."""
    readers = {kind for node in nodes if any(s is norm for s in node.sources) for kind in _kind(node)}
    if readers:
        return f"the norm in front of {' and '.join(sorted(readers))}"
    behind = sorted(norm.source.sublayers)
    return f"the norm behind {' and '.join(behind)}" if behind else "a norm of the stream"


def _kind(node: Value) -> tuple[str, ...]:
    kind = getattr(node, "kind", None)
    return (kind,) if kind in ("attention", "ffn") else ()


def _register(name: str, arch: Architecture, index: int, block: int | None) -> None:
    entry, options = arch.definition, arch.options

    @placement(name, title=name, source=entry.source, streams=entry.streams, readout=entry.readout)
    def without(x: Any, net: Net) -> Any:
        """The placement without one of its norms."""
        if block is not None and net.turn(arch.depth) != block:
            return entry.function(x, net, **options)
        return entry.function(x, _Without(net, index), **options)


class _Without:
    """A net that leaves out one norm of a definition."""

    def __init__(self, net: Net, index: int) -> None:
        self._net, self._left = net, index

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)

    def norm(self, x: Value) -> Value:
        """The norm, or its input where it is the one that is left out."""
        self._left -= 1
        return x if self._left == -1 else self._net.norm(x)
