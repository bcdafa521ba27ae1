"""What a module has that its architecture does not say: each with what it is known to do.

A feature that is found (:class:`Found`) becomes a field of the architecture where there is
one of that name, and a gap where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..base.errors import InputError
from ..spec.architecture import Architecture
from ..spec.fields import Fields


@dataclass(frozen=True)
class Gap:
    """A feature of a module that its architecture does not have, with what leaving it out is known to do."""

    feature: str
    effect: str

    def __str__(self) -> str:
        return f"{self.feature}: {self.effect}"


@dataclass(frozen=True)
class Found:
    """A feature of a module.

    Attributes:
        feature, effect: in words; without an effect that matters there is no gap.
        field, value: what an architecture would call it; None where nothing does.
    """

    feature: str
    effect: str
    field: str | None = None
    value: Any = None


#: what roles that an architecture does not have are, and what they do
ROLES: Mapping[str, tuple[str, str]] = {
    "attn.query_down": (
        "latent queries",
        "the logits' second moment has the gain of a product of two matrices",
    ),
    "attn.key_value_down": (
        "latent keys and values",
        "attention's second moment is off by the gain of a product of two matrices (266 % in one family)",
    ),
    "attn.gate": ("an output gate on attention", "attention's second moment is about a quarter with it"),
    "ffn.shared_gate": ("a gate on the shared expert", "its second moment is about a quarter with it"),
    "cross.query": ("cross-attention", "a second branch that reads another stream is not modelled"),
}


def unsayable(found: Iterable[Found]) -> list[Gap]:
    """The features that no architecture has a field for."""
    known = {field.name for field in fields(Fields)}
    return [Gap(one.feature, one.effect) for one in found if one.effect and one.field not in known]


def settled(
    values: Mapping[str, Any], found: Iterable[Found], given: Mapping[str, Any]
) -> tuple[Architecture, list[Gap]]:
    """The architecture of these values and of the features that it has fields for; the others are gaps.

    Args:
        values: fields that are known.
        given: fields that the user states, which go over all.

    Raises:
        InputError: no architecture has these values.
    """
    known = {field.name for field in fields(Fields)}
    values, gaps = {**values, **given}, []
    arch = Architecture(**values)
    for one in found:
        if one.field in known and one.field not in given:
            try:
                arch = arch.with_(**{one.field: one.value})
                continue
            except InputError as error:
                gaps.append(Gap(one.feature, f"{one.effect} ({error})" if one.effect else str(error)))
        elif one.field not in given and one.effect:
            gaps.append(Gap(one.feature, one.effect))
    return arch, gaps
