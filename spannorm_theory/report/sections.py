"""One placement's part of the page."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from html import escape
from textwrap import dedent

import numpy as np
import pandas as pd

from ..asymptotics.growth import Growth
from ..plot.canvas.marks import placement_title
from ..render import mathml
from ..render.equations import equations
from ..render.html import folded, link, maths, paragraph, power_of_ten, table, tag
from .cells import Cell
from .figures import Picture, slug

NOT_THE_GRADIENT = (
    "The identity gain is that of the skip path alone, the product of its norm and skip factors. It is often "
    "quoted for the gradient; it is not the gradient, which also runs through the branches."
)

STAGES = (
    "In steps, with second moments named: n enters a norm, u is at a branch's input (1 where a norm comes "
    "before it), b at its output, G is the gradient's at its output, T the gradient's that it returns."
)

#: bounds with shorter texts than this stand on one line
ONE_LINE = 110


#: verdicts of rows that do not speak against the theory
PASSING = ("ok", "within width")


def section(cells: Sequence[Cell], blocks: Iterable[Picture], profile: Picture | None) -> str:
    """Everything about one placement: diagram, definition, recursion, closed forms, laws, verification."""
    entry = cells[0].entry
    title = placement_title(cells[0].arch.placement)
    year = f"{entry.year}, " if entry.year else ""
    parts = [
        tag("h2", escape(title), id=slug(cells[0].arch.placement)),
        f'<p class="lead">{escape(cells[0].arch.placement)} · {year}{link(entry.source)}</p>',
        paragraph(entry.doc),
        tag("div", "".join(block.html() for block in blocks), class_="row"),
        _source(cells[0]),
    ]
    for cell in cells:
        parts.append(tag("h3", f"Scaling {escape(cell.arch.scaling)}"))
        parts += [_recursion(cell), _closed_forms(cell), _laws(cell), _bounds(cell)]
    parts += [tag("h3", "Identity gain beside the whole gradient"), _identity(cells)]
    parts += [tag("h3", "Verification"), *(_verification(cell) for cell in cells)]
    if profile is not None:
        parts.append(profile.html())
    return "\n".join(parts)


def _source(cell: Cell) -> str:
    try:
        text = dedent(inspect.getsource(cell.entry.function))
    except (OSError, TypeError):
        return ""  # defined where Python keeps no source text
    return tag(
        "details",
        tag("summary", "the definition that everything here is derived from") + tag("pre", escape(text)),
    )


def _recursion(cell: Cell) -> str:
    parts = [tag("h4", "One block; a prime marks what leaves it")]
    if cell.entry.streams > 1:
        parts.append(paragraph(STAGES, class_="note"))
    for one in (*equations(cell.recursion)[0], *equations(cell.recursion)[1]):
        parts.append(folded(mathml.equation(one), str(one), f"<math>{mathml.markup(one.lhs)}</math>"))
    return "".join(parts)


def _closed_forms(cell: Cell) -> str:
    closed = cell.closed
    since = f", from layer {closed.start} on" if closed.start else ""
    parts = [tag("h4", f"Closed forms{since}")]
    for name, value in closed.found.items():
        formula = mathml.display(mathml.quantity(name), "=", mathml.markup(value))
        parts.append(folded(formula, str(value), f"<math>{mathml.quantity(name)}</math>"))
    for name, reason in closed.missing.items():
        parts.append(f'<p class="note">None for <math>{mathml.quantity(name)}</math>: {escape(reason)}.</p>')
    return "".join(parts)


def _laws(cell: Cell) -> str:
    parts = [tag("h4", "Large depth")]
    for name, law in cell.laws.items():
        if isinstance(law, Growth):
            formula = mathml.law_equation(name, law)
            parts.append(
                folded(formula, str(law), f"<math>{mathml.quantity(name)}</math> {mathml.theta(law)}")
            )
        elif name not in cell.closed.missing and name.removesuffix(" at l=L") not in cell.closed.missing:
            parts.append(
                f'<p class="note">No law for <math>{mathml.quantity(name)}</math>: {escape(law)}.</p>'
            )
    return "".join(parts)


def _bounds(cell: Cell) -> str:
    found = cell.recursion.bounds()
    if not found:
        return ""
    parts = []
    for name, (low, high) in found.items():
        middle = mathml.quantity(name)
        if low == high:
            parts.append(maths([mathml.display(middle, "=", mathml.markup(low))]))
            continue
        below, above = mathml.markup(low), mathml.markup(high)
        if len(str(low)) + len(str(high)) <= ONE_LINE:
            parts.append(maths([mathml.display(below, "≤", f"{middle}<mo>≤</mo>{above}")]))
            continue
        parts.append(
            folded(mathml.display(middle, "≥", below), str(low), f"lower bound of <math>{middle}</math>")
        )
        parts.append(
            folded(mathml.display(middle, "≤", above), str(high), f"upper bound of <math>{middle}</math>")
        )
    return tag("h4", "Bounds, for attention gains anywhere between 0 and σₐ², ωₐ²") + "".join(parts)


def _identity(cells: Sequence[Cell]) -> str:
    depth = cells[0].arch.depth
    rows = []
    for cell in cells:
        constant = cell.constant_gain_table()
        for stream in range(cell.entry.streams):
            squared = 2 * _log_at(constant, "identity_gain", str(stream), 0)
            whole = _ratio(constant, str(stream), "log_value")
            measured = _measured(cell, str(stream))
            name = cell.arch.scaling + (f", stream {stream}" if cell.entry.streams > 1 else "")
            rows.append([escape(name), power_of_ten(squared), power_of_ten(whole), *measured])
    ratio = "<math>" + mathml.quantity("gamma_0/gamma_L") + "</math>"
    head = [
        "Scaling",
        "skip path alone, squared",
        f"whole gradient {ratio}",
        f"{ratio}, theory",
        f"{ratio}, Monte Carlo",
    ]
    note = (
        f" At depth {depth}: the first two columns with every branch gain equal to one, the last two for the "
        "architecture that was simulated."
    )
    return paragraph(NOT_THE_GRADIENT + note) + table(head, rows, frozenset({1, 2, 3, 4}))


def _log_at(table_: pd.DataFrame, quantity: str, stream: str, layer: int, column: str = "log_value") -> float:
    rows = table_[
        (table_["quantity"] == quantity) & (table_["stream"] == stream) & (table_["layer"] == layer)
    ]
    return float(rows[column].iloc[0])


def _ratio(table_: pd.DataFrame, stream: str, column: str) -> float:
    first, last = 0, int(table_["layer"].max())
    return _log_at(table_, "grad_variance", stream, first, column) - _log_at(
        table_, "grad_variance", stream, last, column
    )


def _measured(cell: Cell, stream: str) -> tuple[str, str]:
    if cell.table.empty:
        return "–", "–"
    theory = power_of_ten(_ratio(cell.table, stream, "log_theory"))
    if cell.verification is None:
        return theory, "–"
    sample = cell.verification.ensemble.samples[stream, "grad_variance"]
    ratios = np.exp(sample[:, 0] - sample[:, -1])
    error = ratios.std(ddof=1) / np.sqrt(len(ratios))
    return theory, f"{power_of_ten(float(np.log(ratios.mean())))} ± {error:.1g}"


def _verification(cell: Cell) -> str:
    name = escape(cell.arch.scaling)
    if cell.verification is None:
        return f"<p><strong>{name}</strong>: not simulated. {escape(cell.problem)}.</p>"
    rows = [
        [
            escape(f"{row['quantity']} [{row['stream']}]"),
            f"{row['layer']}",
            f"{row['theory']:.4g}",
            f"{row['estimate']:.4g}",
            f"{row['se']:.2g}",
            f"{row['z']:+.1f}",
            f"{row['gate']:.0%}",
            tag(
                "span",
                escape(str(row["verdict"])),
                class_="good" if row["verdict"] in ("ok", "within width") else "bad",
            ),
        ]
        for row in cell.verification.worst().to_dict("records")
    ]
    verdict = f"theory and Monte Carlo: {cell.verification.verdict}"
    head = ["worst layer of each quantity", "layer", "theory", "estimate", "SE", "z", "gate used", ""]
    inner = table(head, rows, frozenset(range(1, 7)))
    return tag("details", tag("summary", f"<strong>{name}</strong>: {verdict}") + inner)
