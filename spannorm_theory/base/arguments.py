"""The guard of public functions: one check for each kind of argument.

Each returns the value in its plain form, or refuses it by the name of the argument. numpy's numbers are
numbers, one name stands for a list of one, and ``torch.device`` for its name.
"""

from __future__ import annotations

import math
import operator
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from .errors import InputError, UnknownNameError, shown

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


class Result(Protocol):
    """A result with a table, as simulate, verify, sweep and others return."""

    @property
    def table(self) -> pd.DataFrame:
        """Its rows."""


#: the largest seed: a table keeps it as a 64-bit integer
LARGEST_SEED = 2**63 - 1


#: the largest integer up to which floats hold all
LARGEST = 2**53


def whole(name: str, value: Any, least: int = 0, most: int | None = None, why: str = "") -> int:
    """An integer from ``least`` to ``most``; ``why`` says in the message what these are good for.

    Raises:
        InputError: something else, or outside.
    """
    span = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    span += f" {why}" if why else ""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be {span}, got {shown(value)}") from None
    if number < least or (most is not None and number > most):
        raise InputError(f"{name} must be {span}, got {shown(number)}")
    if most is None and number > LARGEST:
        raise InputError(f"{name} must be at most 2^53, got {shown(number) if number < 2**64 else 'more'}")
    return number


def seed(value: Any, name: str = "seed") -> int:
    """A seed of random networks, which every table can keep.

    Raises:
        InputError: no integer, or one out of range.
    """
    return whole(name, value, 0, LARGEST_SEED)


def real(
    name: str, value: Any, wanted: str = "a number", allowed: Callable[[float], bool] = math.isfinite
) -> float:
    """A number that is ``allowed``; zero has no sign.

    Raises:
        InputError: something else; the message says what is ``wanted``.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError
        found = float(value) + 0.0
    except (TypeError, OverflowError):
        found = math.nan
    if not (math.isfinite(found) and allowed(found)):
        raise InputError(f"{name} must be {wanted}, got {shown(value)}")
    return found


def number(name: str, value: Any, *, zero: bool = False, most: float = math.inf) -> float:
    """A positive number, or with ``zero`` one that is not negative, below or at ``most``.

    Raises:
        InputError: something else, an infinite or an undefined number.
    """
    wanted = "a number of at least 0" if zero else "a positive number"
    wanted += "" if most == math.inf else f" up to {most:g}"
    return real(name, value, wanted, lambda x: (x > 0 or (zero and x == 0)) and x <= most)


def flag(name: str, value: Any) -> bool:
    """True or False.

    Raises:
        InputError: something else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def choice(kind: str, value: Any, known: Collection[str]) -> str:
    """One of the ``known`` names.

    Raises:
        UnknownNameError: another name, or none.
    """
    if not isinstance(value, str) or value not in known:
        raise UnknownNameError(kind, value, known)
    return value


def names(name: str, value: Any) -> list[str]:
    """A list of names; a single one is a list of one.

    Raises:
        InputError: no list, or something else than text in it.
    """
    found = [value] if isinstance(value, str) else items(name, value, "names")
    for one in found:
        if not isinstance(one, str):
            raise InputError(f"{name} must be a list of names, got {shown(one)} in it")
    return found


def items(name: str, value: Any, kind: str) -> list[Any]:
    """The entries of a list of ``kind``, or of anything else that has entries.

    Raises:
        InputError: text, or no list.
    """
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        entries = iter(value)
    except TypeError:
        raise InputError(f"{name} must be a list of {kind}, got {shown(value)}") from None
    return list(entries)


def path(name: str, value: Any) -> Path:
    """A path of the file system, of text or ``pathlib``.

    Raises:
        InputError: something else, or text that no path can have.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(f"{name} must be the path of a file or folder, got {shown(value)}")
    return Path(text)


def device(value: Any) -> str:
    """The name of a device; whether this machine has it is another matter.

    Raises:
        InputError: no name that a device can have.
    """
    torch = sys.modules.get("torch")  # who holds a device has imported it
    name = str(value) if torch is not None and isinstance(value, torch.device) else value
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu(:0)?|cuda(:[0-9]{1,4})?", name):
        raise InputError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {shown(value)}")
    return name.removesuffix(":0") if name.startswith("cpu") else name


def stream(value: Any) -> str:
    """The name of a stream; its number stands for it.

    Raises:
        InputError: neither.
    """
    if isinstance(value, str):
        return value
    try:
        return str(whole("stream", value))
    except InputError:
        raise InputError(f"stream must be the name of a stream, or its number, got {shown(value)}") from None


def instance(name: str, value: Any, kind: type[T], source: str) -> T:
    """A result of one kind, which ``source`` returns.

    Raises:
        InputError: something else.
    """
    if not isinstance(value, kind):
        raise InputError(f"{name} must be the {kind.__name__} that {source} returns, got {described(value)}")
    return value


def table(name: str, value: Any, columns: Iterable[str], source: str) -> pd.DataFrame:
    """A table with these columns, or a result that has one in its attribute ``table``.

    Raises:
        InputError: something else, or a column is missing.
    """
    import pandas as pd

    found = value if isinstance(value, type) else getattr(value, "table", value)
    if isinstance(value, pd.DataFrame):  # which may have a column of that name
        found = value
    if not isinstance(found, pd.DataFrame):
        raise InputError(f"{name} must be {source}, got {described(value)}")
    missing = sorted(set(columns) - set(found))
    if missing:
        raise InputError(f"{name} must be {source}; this one has no column {', '.join(missing)}")
    return found


def described(value: Any) -> str:
    """A value by its kind where it is an object, and by itself where it is plain."""
    plain = value is None or isinstance(value, (str, int, float, complex, bool, list, tuple, dict, set))
    return shown(value) if plain else type(value).__name__
