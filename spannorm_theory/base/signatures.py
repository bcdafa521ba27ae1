"""The guard around constructors: arguments by their names, before Python would say less."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import InputError, UnknownNameError


def require_fields_of(
    what: str,
    known: Sequence[str],
    arguments: Sequence[Any],
    named: Iterable[Any],
    *,
    needed: Sequence[str] = (),
    others: Mapping[str, str] | None = None,
) -> None:
    """Refuse arguments that a record does not have, has twice, or lacks.

    Args:
        what: the name of the record.
        known: its fields, in order.
        arguments, named: values by their place, and names of the others.
        needed: the fields without a default.
        others: words that mean a field elsewhere.

    Raises:
        UnknownNameError: a name that is no field; the message has the nearest.
        InputError: more values than fields, one field twice, or none of a needed one.
    """
    named = list(named)
    for name in named:
        if name not in known:
            raise UnknownNameError(f"field of {what}", name, known, others)
    if len(arguments) > len(known):
        raise InputError(
            f"{what} has {len(known)} fields, got {len(arguments)} values without a name; write field=value"
        )
    given = known[: len(arguments)]
    for name in given:
        if name in named:
            raise InputError(f"{what} got {name} twice: by its place and by its name")
    missing = [name for name in needed if name not in given and name not in named]
    if missing:
        raise InputError(f"{what} needs {' and '.join(missing)}; its fields are {', '.join(known)}")
