"""Refuse sizes that do not fit into memory, before anything of that size is made, and name one that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..base.errors import InputError
from ..base.memory import gib
from .architecture import Architecture

#: the sizes that may be too large, and the least that is proposed
SIZES = {"width": 1, "depth": 1, "tokens": 2, "batch": 1, "vocabulary": 2, "experts": 1}


def require_room(
    arch: Architecture,
    needed: Callable[[Architecture], float],
    free: float,
    what: str,
    where: str = "",
    instead: str = "",
) -> None:
    """Refuse an architecture that needs more memory than is free.

    Args:
        needed: bytes that an architecture takes, from its sizes alone.
        what: what needs them, as the message begins.
        where: the device, where it is another than the host.
        instead: what does without that memory, if anything does.

    Raises:
        InputError: naming the size that would fit.
    """
    bytes_needed = needed(arch)
    if bytes_needed > free:
        raise InputError(
            f"{what} needs about {gib(bytes_needed)} and {gib(free)} are free{where}; "
            f"{instead and f'{instead}, or '}{fitting(arch, needed, free)}"
        )


def fitting(arch: Architecture, needed: Callable[[Architecture], float], free: float) -> str:
    """Advice: the size that needs the fewest halvings to fit, alone."""
    found: list[tuple[int, str]] = []
    for name in SIZES:
        for halvings, smaller in enumerate(_halved(arch, name), start=1):
            if needed(smaller) <= free:
                found.append((halvings, f"{name} {getattr(smaller, name)} would fit"))
                break
    if not found:
        return f"reduce the number of tokens ({arch.tokens}) and the width ({arch.width})"
    return min(found, key=lambda one: one[0])[1]


def _halved(arch: Architecture, name: str) -> Iterator[Architecture]:
    """The architecture with one of its sizes halved again and again."""
    parted = name == "width" and arch.head_width is None  # among heads
    size, unit = getattr(arch, name), arch.heads if parted else 1
    least = max(SIZES[name], unit)
    while size > least:
        size = max(least, size // 2 // unit * unit)
        try:
            yield arch.with_(**{name: size})
        except InputError:  # other fields do not go with it
            return
