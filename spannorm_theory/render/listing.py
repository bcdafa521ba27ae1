"""The registries as rows for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..spec.catalogue import activations, placements, scalings
from ..spec.placements import Placement
from ..spec.scalings import ScalingRule


def listing() -> dict[str, list[dict[str, Any]]]:
    """Placements and scaling rules in order of year, and activations; one row of plain values each.

    A placement's row has its block under no scaling, what is different in the first or in early blocks,
    its readout, its options and the scaling rule that was published with it; a rule's row says which
    placements it belongs to, where it does not take all.
    """
    return {
        "placements": [_placement(entry) for entry in _by_year(placements().values())],
        "scaling rules": [_rule(entry) for entry in _by_year(scalings().values())],
        "activations": [
            {"name": e.name, "title": e.title, "year": None, "source": e.source}
            for e in activations().values()
        ],
    }


def as_text(kinds: dict[str, list[dict[str, Any]]]) -> str:
    """The rows as text: a line for each entry and one for each thing to know about it."""
    return "\n".join(line for kind, rows in kinds.items() for line in (f"{kind}:", *_lines(rows)))


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    width = max(len(row["title"]) for row in rows)
    for row in rows:
        yield f"  {row['name']:26s} {row['title']:{width}s}  {row['year'] or '':<5} {row['source']}"
        for key in ("block", "first block", "early blocks", "readout", "published with", "only with"):
            if row.get(key):
                yield f"      {key}: {row[key]}"
        for option, default in row.get("options", {}).items():
            yield f"      option: {option}={default}"


def _by_year(entries: Any) -> list[Any]:
    return sorted(entries, key=lambda entry: (entry.year or 9999, entry.name))


def _common(entry: Placement | ScalingRule) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "year": entry.year,
        "source": entry.source,
        "doc": " ".join(entry.doc.split()),
    }


def _placement(entry: Placement) -> dict[str, Any]:
    block, readout = str(entry.trace("unit")), str(entry.trace_readout())
    first, early = str(entry.trace("unit", first=True)), str(entry.trace("unit", early=True))
    return {
        **_common(entry),
        "streams": entry.streams,
        "block": block,
        "first block": first if first != block else None,
        "early blocks": early if early != block else None,
        "readout": readout if readout != "x0" else None,
        "published with": entry.scaling if entry.scaling != "unit" else None,
        "options": dict(entry.options),
    }


def _rule(entry: ScalingRule) -> dict[str, Any]:
    return {**_common(entry), "only with": ", ".join(entry.only) or None}
