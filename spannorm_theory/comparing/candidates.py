"""The candidates of a comparison: architectures, each with a name that tells it from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..base import arguments
from ..base.errors import InputError, shown
from ..models.named import named
from ..spec.architecture import Architecture
from ..spec.fields import Fields, require_fields
from ..spec.text import parse_placement

#: what a candidate is given as, in messages
EXAMPLE = "'span-norm@depth-scaled-init', 'pre-norm unit depth=24' or an Architecture"

#: fields of a head, which no other loss than a cross-entropy takes
HEAD = ("head_gain", "logit_multiplier", "logit_cap", "tied_head", "embedding_multiplier")


@dataclass(frozen=True)
class Candidate:
    """An architecture of a comparison.

    Attributes:
        name: its placement and rule, and the fields in which it differs from others of the same two.
        arch: as it is compared, the gradient at its output not that of a head: as given, or "probe".
        trained: with a head, under a cross-entropy, for the numbers of a training log.
    """

    name: str
    arch: Architecture
    trained: Architecture


def candidates(given: Any, like: str | None, fields: Mapping[str, Any]) -> list[Candidate]:
    """The candidates of a list of architectures, their text forms and ``placement[@rule]``.

    Args:
        given: one of these, or several.
        like: a published model, or the file of a configuration, whose fields a ``placement[@rule]`` takes,
            and whose rule where it names none.
        fields: fields of an architecture that go over those of all.

    Raises:
        InputError: no candidate, something else, or one twice; a name that is unknown.
    """
    one = isinstance(given, (str, Architecture))
    entries = [given] if one else arguments.items("archs", given, "candidates")
    if not entries:
        raise InputError(f"expected at least one candidate, such as {EXAMPLE}, got none")
    require_fields(fields)
    for name in ("placement", "scaling"):
        if name in fields:
            raise InputError(f"{name} is what candidates say, as {EXAMPLE}; leave {name}= out")
    if like is not None and all(_is_whole(entry) for entry in entries):
        raise InputError("like= is for candidates of placement[@rule]; those given are whole architectures")
    found = [_candidate(entry, like, dict(fields)) for entry in entries]
    said = [str(each.arch) for each in found]
    twice = next((text for text in said if said.count(text) > 1), None)
    if twice is not None:
        raise InputError(f"the candidate {twice!r} is given twice; say it once")
    return _told_apart(found)


def _is_whole(entry: Any) -> bool:
    """Whether a candidate is an architecture or its text form, which say every field."""
    if isinstance(entry, str):
        return "@" not in entry and " " in entry.strip()
    return isinstance(entry, Architecture)


def _candidate(entry: Any, like: str | None, fields: dict[str, Any]) -> Candidate:
    if isinstance(entry, Architecture):
        return _of(entry.with_(**fields))
    if not isinstance(entry, str):
        raise InputError(f"expected a candidate, such as {EXAMPLE}, got {shown(entry)}")
    if _is_whole(entry):
        return _of(Architecture.parse(entry).with_(**fields))
    placement, at, rule = entry.strip().rpartition("@")
    words: dict[str, Any] = {"placement": placement, "scaling": rule} if at else {"placement": rule}
    parse_placement(words["placement"])
    if like is None:
        return _of(Architecture(**{**words, **fields}))
    arch = named(like, **words, **fields).arch
    # the head of the model itself, with its vocabulary
    return _of(arch, named(like, **words, **{**fields, "loss": "cross-entropy"}).arch)


def _of(arch: Architecture, trained: Architecture | None = None) -> Candidate:
    if arch.loss == "cross-entropy":
        ids = arch.reads_ids  # whose vocabulary is that of the input
        plain = {name: getattr(Fields, name) for name in (*HEAD, *(() if ids else ("vocabulary",)))}
        return Candidate("", arch.with_(loss="probe", **plain), arch)
    return Candidate("", arch, trained or arch.with_(loss="cross-entropy"))


def _told_apart(found: list[Candidate]) -> list[Candidate]:
    """The candidates with their names."""
    pairs = [f"{each.arch.placement}@{each.arch.scaling}".replace(" ", "") for each in found]
    fields = [each.arch.to_dict() for each in found]
    result = []
    for each, pair, own in zip(found, pairs, fields, strict=True):
        others = [other for other, same in zip(fields, pairs, strict=True) if same == pair]
        differ = [f"{key}={value}" for key, value in own.items() if any(o[key] != value for o in others)]
        result.append(replace(each, name=" ".join([pair, *differ])))
    return result
