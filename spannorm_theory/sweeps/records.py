"""Records of a store, as JSON that is read strictly: it has the entries and types that were written, or it is
damaged. Nothing else is taken from a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

#: whether a value is one that a record may hold
Kind = Callable[[Any], bool]


def written(value: Any) -> bool:
    """Text."""
    return isinstance(value, str)


def mapping(value: Any) -> bool:
    """A table of entries."""
    return isinstance(value, dict)


def whole(least: int) -> Kind:
    """Integers from ``least`` on."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def one_of(names: Collection[str]) -> Kind:
    """Some names."""
    return lambda value: isinstance(value, str) and value in names


def list_of(kind: Kind) -> Kind:
    """Lists of one kind."""
    return lambda value: isinstance(value, list) and all(map(kind, value))


def read_record(content: str | bytes, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The entries of a record, of the given names and kinds.

    Raises:
        ValueError: the content is not such a record; the message says why.
    """
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is not a table of entries")
    for name in kinds:
        if name not in value:
            raise ValueError(f"it has no {name}")
    for name, entry in value.items():
        if name not in kinds:
            raise ValueError(f"it has {name[:40]!r}, which is no entry of it")
        if not kinds[name](entry):
            raise ValueError(f"its {name} cannot be {_short(entry)}")
    return value


def _short(value: Any) -> str:
    if isinstance(value, (list, dict)):  # may be nested too deeply to be shown
        return f"a {type(value).__name__} of {len(value)} entries"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
