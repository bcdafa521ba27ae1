"""Options of a definition: its keyword-only arguments, with the plain form that each value has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..base.arguments import flag, real, whole
from ..base.callables import calling
from ..base.errors import InputError, UnknownNameError, shown
from ..base.names import plain

#: the largest whole number of an option, up to which float64 counts
LARGEST_OPTION = 2**53


def options_of(kind: str, name: str, function: Callable[..., Any], taken: Collection[str]) -> dict[str, Any]:
    """The keyword-only arguments of a definition, with their defaults in plain form.

    Args:
        kind, name: what is defined, as "placement" and its name.
        taken: words that mean something else, and that no option can have.

    Raises:
        InputError: an option without a default, one of a word that is ``taken``, or one of another kind than
            True or False, a number, or text.
    """
    with calling(function, f"the definition of {name!r}", " when its arguments were read"):
        parameters = inspect.signature(function).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    for key, default in options.items():
        if default is inspect.Parameter.empty:
            raise InputError(f"every keyword-only option of the {kind} {name!r} needs a default")
        if key in taken:
            raise InputError(
                f"an option cannot be called {key!r}, which a block's place is; choose another name"
            )
        options[key] = plain_option(f"the default of option {key} of {name}", default, type(default))
    return options


def checked_options(name: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The ``given`` options of ``name`` in plain form, merged with the ``known`` defaults.

    Raises:
        UnknownNameError: there is no such option; the message has the nearest.
        InputError: options of what has none, or a value of another kind than the default's.
    """
    chosen = dict(known)
    for key, value in given.items():
        if not known:
            raise InputError(f"{name} has no options, got {key}={shown(value)}")
        if key not in known:
            raise UnknownNameError(f"option of {name}", key, known)
        chosen[key] = plain_option(f"option {key} of {name}", value, type(known[key]))
    return chosen


def plain_option(what: str, value: Any, kind: type) -> Any:
    """An option in the plain form of its default's kind.

    Raises:
        InputError: another kind, or one that no text form could hold.
    """
    if issubclass(kind, (bool, np.bool_)):
        return flag(what, value)
    if issubclass(kind, Integral):
        return whole(what, value, -LARGEST_OPTION, LARGEST_OPTION)
    if issubclass(kind, Real):
        return real(what, value)
    if issubclass(kind, str) and isinstance(value, str):
        return plain(value)
    wanted = "text" if issubclass(kind, str) else "True or False, a number, or text"
    raise InputError(f"{what} must be {wanted}, got {shown(value)}")
