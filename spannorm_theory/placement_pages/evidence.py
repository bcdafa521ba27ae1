"""Theory against Monte Carlo, as the rows of a placement's page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from ..render.html import Cell as Entry
from ..render.html import power_of_ten
from .cells import Cell

#: verdicts of rows that do not speak against the theory
PASSING = ("ok", "within width")


def identity(cells: Sequence[Cell]) -> Iterator[list[str | Markup]]:
    """A row for each rule and stream: the skip path's gain, squared, the gradient's ratio with gains of one,
    and that of the architecture in theory and by Monte Carlo."""
    for cell in cells:
        constant = cell.constant_gain_table()
        for stream in map(str, range(cell.entry.streams)):
            squared = 2 * _log_at(constant, "identity_gain", stream, 0)
            whole = _ratio(constant, stream, "log_value")
            name = cell.arch.scaling + (f", stream {stream}" if cell.entry.streams > 1 else "")
            yield [name, power_of_ten(squared), power_of_ten(whole), *_measured(cell, stream)]


def worst(cell: Cell) -> Iterator[list[str | Entry]]:
    """A row for each quantity: the layer where theory and networks are farthest apart."""
    assert cell.verification is not None
    for row in cell.verification.worst().to_dict("records"):
        verdict = str(row["verdict"])
        yield [
            Entry(verdict, None, "good" if verdict in PASSING else "bad"),
            f"{row['quantity']} [{row['stream']}]",
            f"{row['layer']}",
            f"{row['theory']:.4g}",
            f"{row['estimate']:.4g} ± {row['se']:.1g}",
            Entry.number(float(row["relative_error"]), "+.1%"),
            Entry.number(float(row["z"]), "+.1f"),
            Entry.number(float(row["gate"]), ".0%"),
        ]


def _log_at(table: pd.DataFrame, quantity: str, stream: str, layer: int, column: str = "log_value") -> float:
    rows = table[(table["quantity"] == quantity) & (table["stream"] == stream) & (table["layer"] == layer)]
    return float(rows[column].iloc[0])


def _ratio(table: pd.DataFrame, stream: str, column: str) -> float:
    first, last = (
        _log_at(table, "grad_variance", stream, at, column) for at in (0, int(table["layer"].max()))
    )
    return first - last


def _measured(cell: Cell, stream: str) -> tuple[str | Markup, str | Markup]:
    if cell.table.empty:
        return "–", "–"
    theory = power_of_ten(_ratio(cell.table, stream, "log_theory"))
    if cell.verification is None:
        return theory, "–"
    sample = cell.verification.ensemble.samples[stream, "grad_variance"]
    if not np.isfinite(sample[:, [0, -1]]).all():  # a stream whose gradient is zero
        return theory, "–"
    ratios = np.exp(sample[:, 0] - sample[:, -1])
    error = ratios.std(ddof=1) / np.sqrt(len(ratios))
    return theory, power_of_ten(float(np.log(ratios.mean()))) + f" ± {error:.1g}"
