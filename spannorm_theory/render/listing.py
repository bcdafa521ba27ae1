"""The registries as rows for programs, and as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from ..gaussian.activations import Activation
from ..spec.catalogue import activations, placements, scalings
from ..spec.placements import Placement
from ..spec.scalings import Multipliers, ScalingRule

#: an entry's row; its key ``group`` says beside which others a table shows it
Row = dict[str, Any]

#: the formulas that a table shows below an entry's line
FORMULAS = ("block", "first block", "early blocks", "readout", "attention", "feed-forward", "embedding")


def listing(formulas: bool = True) -> dict[str, list[Row]]:
    """Placements, scaling rules and activations, those of a group together, in order of year.

    Args:
        formulas: whether rows say formulas, which takes half a second for all placements.
    Returns:
        by "placements", "scaling rules" and "activations", a row for each entry: ``name``, ``title``,
        ``year``, ``source``, ``group``. A placement has ``doc``, ``streams``, ``options`` and the scaling
        rule that it is ``published with``; a rule ``doc``, ``options`` and the placements that it is
        ``only with``, where it does not take all. Formulas: of placements ``block``, under no scaling,
        ``first block`` and ``early blocks`` where those differ, and ``readout``; of rules the factors that
        are not one at ``attention``, ``feed-forward`` and ``embedding``.
    """
    return {
        "placements": [_placement(entry, formulas) for entry in _in_order(placements().values())],
        "scaling rules": [_rule(entry, formulas) for entry in _in_order(scalings().values())],
        "activations": [_activation(entry) for entry in activations().values()],
    }


def as_text(kinds: dict[str, list[Row]]) -> str:
    """The rows as a table: a heading for each group, a line for each entry, formulas below it."""
    return "\n".join(line for kind, rows in kinds.items() for line in _lines(kind, rows)).lstrip("\n")


def _lines(kind: str, rows: list[Row]) -> Iterator[str]:
    yield f"\n{kind.upper()}"
    for group, members in groupby(rows, lambda row: str(row["group"])):
        yield f"\n  {group}"
        shown = list(members)
        table = [[row["name"], row["title"], str(row["year"] or ""), *_notes(row)] for row in shown]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row, cells in zip(shown, table, strict=True):
            padded = [f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True) if width]
            yield f"    {'  '.join(padded).rstrip()}"
            yield from (f"        {key}: {row[key]}" for key in FORMULAS if row.get(key))


def _notes(row: Row) -> tuple[str, str]:
    """The source, and how an entry is used: with which rule, options or placements."""
    notes = [f"{key} {row[key]}" for key in ("published with", "only with") if row.get(key)]
    notes += [f"{option}={default}" for option, default in row.get("options", {}).items()]
    return row["source"].removeprefix("https://"), ", ".join(notes)


def _in_order(entries: Iterable[Any]) -> list[Any]:
    """Groups in the order in which they were first registered, each in order of year."""
    found = list(entries)
    first = {group: i for i, group in reversed(list(enumerate(map(_group, found))))}
    return sorted(found, key=lambda entry: (first[_group(entry)], entry.year or 9999, entry.name))


def _group(entry: Placement | ScalingRule) -> str:
    """The heading of a definition: the first line about the file of the package that it stands in."""
    home = str(entry.function.__module__)
    if not home.startswith(f"{__package__.partition('.')[0]}."):
        return "Your own"
    return (sys.modules[home].__doc__ or "").partition("\n")[0].rstrip(".")


def _common(entry: Placement | ScalingRule) -> Row:
    return {
        "name": entry.name,
        "title": entry.title,
        "year": entry.year,
        "source": entry.source,
        "group": _group(entry),
        "doc": " ".join(entry.doc.split()),
    }


def _placement(entry: Placement, formulas: bool) -> Row:
    row = {
        **_common(entry),
        "streams": entry.streams,
        "published with": entry.scaling if entry.scaling != "unit" else None,
        "options": dict(entry.options),
    }
    if not formulas:
        return row
    block, readout = str(entry.trace("unit")), str(entry.trace_readout())
    first, early = str(entry.trace("unit", first=True)), str(entry.trace("unit", early=True))
    return {
        **row,
        "block": block,
        "first block": first if first != block else None,
        "early blocks": early if early != block else None,
        "readout": readout if readout != "x0" else None,
    }


def _rule(entry: ScalingRule, formulas: bool) -> Row:
    row = {**_common(entry), "only with": ", ".join(entry.only) or None, "options": dict(entry.options)}
    if not formulas:
        return row
    embedding = entry.embedding_factor
    return {
        **row,
        "attention": _factors(entry.multipliers("attention"), "attn."),
        "feed-forward": _factors(entry.multipliers("ffn"), "ffn."),
        "embedding": f"x {embedding}" if embedding != 1 else None,
    }


def _factors(found: Multipliers, own: str) -> str | None:
    """The factors of a sublayer that are not one, as "branch x 1/sqrt(L); attn.query, attn.key x 2"."""
    factors = {"skip": found.skip, "branch": found.branch, "norm": found.norm, **found.gains}
    told: dict[str, list[str]] = {}
    for name, factor in factors.items():
        if factor != 1 and (name not in found.gains or name.startswith(own)):
            told.setdefault(f"x {factor}", []).append(name)
    for words, stated in (("of std", found.std), ("put out x", found.outputs)):
        for name, value in stated.items():
            if name.startswith(own):
                told.setdefault(f"{words} {value}", []).append(name)
    return "; ".join(f"{', '.join(names)} {factor}" for factor, names in told.items()) or None


def _activation(entry: Activation) -> Row:
    return {
        "name": entry.name,
        "title": entry.title,
        "year": None,
        "source": entry.source,
        "group": "Gated, phi(x W_gate) * (x W_up)" if entry.gated else "Of one projection, phi(x W_up)",
    }
