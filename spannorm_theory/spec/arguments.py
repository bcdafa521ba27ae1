"""The guard of public functions, of what they take of this room: architectures, and names of placements."""

from __future__ import annotations

from typing import Any

from ..base.arguments import described, items
from ..base.errors import InputError
from .architecture import Architecture

EXAMPLE = "such as 'pre-norm unit depth=24'"


def architecture(value: Any) -> Architecture:
    """An architecture, or that of a text form.

    Raises:
        InputError: something else, or the text form of none.
    """
    if isinstance(value, Architecture):
        return value
    if isinstance(value, str):
        return Architecture.parse(value)
    raise InputError(f"expected an Architecture or its text form, {EXAMPLE}, got {described(value)}")


def architectures(value: Any) -> list[Architecture]:
    """Several architectures or their text forms; one stands for a list of one.

    Raises:
        InputError: something else in it, or no list.
    """
    one = isinstance(value, (str, Architecture))
    return [architecture(each) for each in ([value] if one else items("archs", value, "architectures"))]


def placement(value: Any) -> str:
    """The name of a placement, with its options.

    Raises:
        InputError: an architecture, which has one, or something else.
    """
    if isinstance(value, Architecture):
        raise InputError(
            f"expected the name of a placement, got an Architecture; pass its placement {value.placement!r} "
            f"and its scaling {value.scaling!r}"
        )
    if not isinstance(value, str):
        raise InputError(f"expected the name of a placement, such as 'pre-norm', got {described(value)}")
    return value
