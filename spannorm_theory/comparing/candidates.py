"""The candidates of a comparison: architectures, each with a name that tells it from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..base import arguments
from ..base.errors import InputError, shown
from ..models.named import named
from ..spec.architecture import Architecture, said_fields
from ..spec.fields import Fields, require_fields

#: what a candidate is given as, in messages
EXAMPLE = "'span-norm@depth-scaled-init', 'pre-norm@unit depth=24' or an Architecture"

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
    """The candidates of a list of architectures and texts.

    Args:
        given: one of these, or several. A text is an architecture's text form.
        like: a published model, or the file of a configuration, whose fields a text takes where it says none,
            and whose rule.
        fields: fields of an architecture that all have, but for those that a text says itself.

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
    if like is not None and all(isinstance(entry, Architecture) for entry in entries):
        raise InputError("like= is for candidates that are texts, such as 'pre-norm'; these have every field")
    said = [_said(entry) for entry in entries]
    found = [_candidate(*each, like, dict(fields)) for each in zip(entries, said, strict=True)]
    texts = [str(each.arch) for each in found]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise InputError(f"the candidate {twice!r} is given twice; say it once")
    return _told_apart(found, said)


def _said(entry: Any) -> dict[str, Any]:
    """The fields that a text says; of an architecture, which has every field, none."""
    if isinstance(entry, Architecture):
        return {}
    if not isinstance(entry, str):
        raise InputError(f"expected a candidate, such as {EXAMPLE}, got {shown(entry)}")
    return said_fields(entry)


def _candidate(entry: Any, said: dict[str, Any], like: str | None, fields: dict[str, Any]) -> Candidate:
    if isinstance(entry, Architecture):
        return _of(entry.with_(**fields))
    values = {**fields, **said}
    if like is None:
        return _of(Architecture.from_dict(values))
    # with the head of the model itself, and its vocabulary
    return _of(named(like, **values).arch, named(like, **{**values, "loss": "cross-entropy"}).arch)


def _of(arch: Architecture, trained: Architecture | None = None) -> Candidate:
    if arch.loss == "cross-entropy":
        ids = arch.reads_ids  # whose vocabulary is that of the input
        plain = {name: getattr(Fields, name) for name in (*HEAD, *(() if ids else ("vocabulary",)))}
        return Candidate("", arch.with_(loss="probe", **plain), arch)
    return Candidate("", arch, trained or arch.with_(loss="cross-entropy"))


def _told_apart(found: list[Candidate], said: list[dict[str, Any]]) -> list[Candidate]:
    """The candidates with their names: placement and rule, the fields that a text says itself, and those in
    which one differs from others of its placement and rule."""
    pairs = [f"{each.arch.placement}@{each.arch.scaling}".replace(" ", "") for each in found]
    fields = [each.arch.to_dict() for each in found]
    result = []
    for each, pair, own, words in zip(found, pairs, fields, said, strict=True):
        others = [other for other, same in zip(fields, pairs, strict=True) if same == pair]
        differ = {key: value for key, value in own.items() if any(o[key] != value for o in others)}
        told = {
            key: value for key, value in {**differ, **words}.items() if key not in ("placement", "scaling")
        }
        result.append(
            replace(each, name=" ".join([pair, *(f"{key}={value}" for key, value in told.items())]))
        )
    return result
