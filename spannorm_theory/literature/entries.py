"""Typed entries of a table read from TOML, refused with what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..base.errors import InputError, UnknownNameError


def only_known(kind: str, entry: Mapping[str, Any], fields: tuple[str, ...]) -> None:
    """Refuse entries that mean nothing."""
    for key in entry:
        if key not in fields:
            raise UnknownNameError(kind, key, fields)


def text(entry: Mapping[str, Any], key: str, required: bool = False) -> str:
    """A text, its white space made plain; empty if it is not there and need not be."""
    value = entry.get(key, "")
    if not isinstance(value, str) or (required and not value.strip()):
        raise InputError(f"{key} must be a text" + (", and is missing" if key not in entry else ""))
    return " ".join(value.split())


def number(entry: Mapping[str, Any], key: str, default: float) -> float:
    """A finite number."""
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise InputError(f"{key} must be a number, got {value!r}")
    return float(value)


def whole(entry: Mapping[str, Any], key: str, default: int | None, least: int | None = None) -> int:
    """An integer; required if ``default`` is None."""
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise InputError(
            f"{key} must be an integer" + (f" of at least {least}" if least else "") + f", got {value!r}"
        )
    return value


def flag(entry: Mapping[str, Any], key: str) -> bool:
    """True or false."""
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise InputError(f"{key} must be true or false, got {value!r}")
    return value
