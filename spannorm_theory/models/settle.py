"""Facts of a configuration become fields of an architecture, one after the other; those that no architecture
takes are gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..base.errors import InputError, UnknownNameError
from ..spec.architecture import Architecture
from ..spec.fields import Fields
from .model import Gap


@dataclass(frozen=True)
class Fact:
    """One thing that a configuration says.

    Attributes:
        feature: in words.
        effect: what leaving it out does to the numbers; empty if nothing that can be measured.
        fields: how an architecture says it; empty if none can.
        instead: the next best, where an architecture refuses ``fields`` or has them not.
        gradients: the matrices whose weight gradients are all that it changes; empty for anything else.
    """

    feature: str
    effect: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    instead: Mapping[str, Any] = field(default_factory=dict)
    gradients: tuple[str, ...] = ()


def settle(
    core: Mapping[str, Any], facts: Iterable[Fact], given: Mapping[str, Any]
) -> tuple[Architecture, tuple[Gap, ...], tuple[str, ...]]:
    """The architecture of a core and facts, its gaps, and the facts without effect that it leaves out.

    Args:
        core: fields that every architecture has.
        facts: tried in this order, each on top of those before it.
        given: fields that go over all of them.

    Raises:
        InputError: the core is no architecture, or not with what was given.
    """
    known = {f.name for f in fields(Fields)}
    values = {**core, **{name: value for name, value in given.items() if name in core}}
    arch = Architecture(**values)
    gaps, notes = [], []
    for fact in facts:
        missing = fact.effect
        for option in (fact.fields, fact.instead):
            asked = {name: given[name] for name in option if name in given}
            if not option or not known.issuperset(option):
                continue
            try:
                arch = Architecture(**{**values, **option, **asked})
            except InputError as error:
                if asked:
                    raise
                if not isinstance(error, UnknownNameError):
                    missing = f"{fact.effect} ({error})"
                continue
            values |= {**option, **asked}
            if option is fact.fields:
                break
        else:
            if fact.effect:
                gaps.append(Gap(fact.feature, missing, fact.gradients))
            else:
                notes.append(fact.feature)
    late = {name: value for name, value in given.items() if name not in values}
    if late:
        arch = Architecture(**{**values, **late})
    return arch, tuple(gaps), tuple(notes)
