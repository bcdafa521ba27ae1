"""Names under which things are registered, and that every text form can carry.

A name starts with a letter and goes on with letters, digits, dots, dashes and underscores: text forms,
command lines, scaling rules that are combined with a plus sign, and names of files all read such a name back.
"""

from __future__ import annotations

import re
from typing import Any

from .arguments import whole
from .errors import InputError, shown

#: a name, in regular expressions of text forms
PATTERN = r"[^\W\d_][\w.-]*"

#: characters of the longest name: files and figures are called by several
LONGEST = 60


def require_usable(kind: str, name: Any, reserved: tuple[str, ...] = ()) -> None:
    """Refuse what cannot be the name of a ``kind``.

    Raises:
        InputError: no text, one that could not be read back, or one that is ``reserved``.
    """
    if type(name) is not str or not re.fullmatch(PATTERN, name) or len(name) > LONGEST:
        raise InputError(
            f"the {kind}'s name must be a letter and up to {LONGEST - 1} letters, digits, dots, dashes and "
            f"underscores, so that text forms can hold it; got {shown(name)}"
        )
    if name in reserved:
        raise InputError(
            f"the {kind} cannot be called {name!r}, which a block's branch is; choose another name"
        )


def plain(text: str) -> str:
    """Text as Python's own, of a subclass such as numpy's or an enumeration's."""
    return str.__str__(text)


def require_source(title: Any, source: Any, year: Any = None) -> None:
    """Refuse a title or a source that is no text, and a year that is no number.

    Raises:
        InputError: naming the argument.
    """
    for name, value in (("title", title), ("source", source)):
        if not isinstance(value, str):
            raise InputError(f"{name} must be text, got {shown(value)}")
    if year is not None:
        whole("year", year)
