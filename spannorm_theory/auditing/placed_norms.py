"""Placements some of whose norms are left out, or have constants of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..spec.architecture import Architecture
from ..spec.graph import Norm, Trace, Value
from ..spec.net import LONGEST_PERIOD, Net, NormConstants
from ..spec.placement import PLACEMENTS, placement

#: how the titles of these placements end
VARIED = ", but for some norms"

#: constants of norms by block and place in it; those of None are left out. The block None is every block
Norms = Mapping[tuple[int | None, int], NormConstants | None]


def with_norms(
    arch: Architecture, own: Norms, last: Mapping[int, NormConstants | None] | None = None
) -> Architecture:
    """An architecture with other norms; their placement is registered.

    Args:
        own: the norms of blocks, in the order in which the placement's definition has them.
        last: those of its readout.

    Raises:
        InputError: what is left is no block, a block of one index is meant in a stack of more than 64, or the
            placement asks for turns of its own.
    """
    last = {} if last is None else last
    if not own and not last:
        return arch
    single = any(block is not None for block, _ in own)
    entry, options = arch.definition, arch.options
    text = repr((arch.name, sorted(options.items()), sorted(own.items(), key=repr), sorted(last.items())))
    depth = arch.depth if single else 0
    name = f"{arch.name[:40]}-norms-{hashlib.sha256(f'{text}{depth}'.encode()).hexdigest()[:8]}"
    if name not in PLACEMENTS:

        def readout(x: Any, net: Net) -> Value:
            return entry.readout(x, _Changed(net, last))

        @placement(
            name,
            title=f"{entry.title}{VARIED}",
            source=entry.source,
            streams=entry.streams,
            readout=readout,
            scaling=entry.scaling,
        )
        def varied(x: Any, net: Net) -> Any:
            """The placement with some other norms."""
            block = net.turn(arch.depth) if single else None
            here = {i: constants for (at, i), constants in own.items() if at is None}
            here |= {i: constants for (at, i), constants in own.items() if at is not None and at == block}
            return entry.function(x, _Changed(net, here), **options)

    return arch.with_(placement=name)


def catalogue() -> Iterator[str]:
    """The registered placements but for these."""
    return (name for name in PLACEMENTS if not PLACEMENTS[name].title.endswith(VARIED))


def single_blocks(arch: Architecture) -> bool:
    """Whether one block of the stack can have norms of its own."""
    return arch.depth <= LONGEST_PERIOD


def norms_in(trace: Trace) -> list[Norm]:
    """The norms of a block, or of a readout, in the order of its definition."""
    return [node for node in trace.nodes if isinstance(node, Norm)]


def place_of(norm: Norm, trace: Trace) -> str:
    """A norm in words, by the branch on either side of it."""
    readers = {kind for node in trace.nodes if any(s is norm for s in node.sources) for kind in _kind(node)}
    if readers:
        return f"the norm in front of {' and '.join(sorted(readers))}"
    behind = sorted(norm.source.sublayers)
    return f"the norm behind {' and '.join(behind)}" if behind else "a norm of the stream"


def _kind(node: Value) -> tuple[str, ...]:
    kind = getattr(node, "kind", None)
    return (kind,) if kind in ("attention", "ffn") else ()


class _Changed:
    """A net that leaves out some norms of a definition, or gives them other constants."""

    def __init__(self, net: Net, own: Mapping[int, NormConstants | None]) -> None:
        self._net, self._own, self._place = net, own, -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)

    def norm(self, x: Value) -> Value:
        """The norm, or its input where it is left out."""
        self._place += 1
        if self._place not in self._own:
            return self._net.norm(x)
        constants = self._own[self._place]
        return x if constants is None else self._net.norm(x, constants)
