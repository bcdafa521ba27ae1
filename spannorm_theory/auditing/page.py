"""The page of an audit: verdict, what departs, and theory against networks, in one file that reads
offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log

from matplotlib.figure import Figure

from ..plot.canvas.picture import Picture
from ..plot.residuals import residuals, row_name
from ..render.html import Cell, document, power_of_ten
from ..spec.architecture import Architecture
from ..verification.outcome import Verification
from .probe import Probe
from .read import Reading

#: classes of the verdicts of rows
TONES = {"ok": "good", "within width": "good", "off": "bad", "out of bounds": "bad"}
COLUMNS = (
    "verdict",
    "quantity",
    "worst layer",
    "theory",
    "networks",
    "standard error",
    "difference / SE",
)


def page(
    title: str,
    source: str,
    expected: Architecture,
    departures: Sequence[str],
    verification: Verification,
    probe: Probe,
    reading: Reading,
    step: str,
) -> str:
    """The document of an audit.

    Args:
        source: where ``expected`` comes from, in words.
        departures: what is not as expected, in words.
        step: on the first step, in words; empty where none was asked for.
    """
    return document(
        "audit.html",
        title=title,
        source=source,
        expected=str(expected),
        departures=departures,
        outcome=verification.outcome(),
        head=COLUMNS,
        rows=list(_rows(verification)),
        numeric=range(2, len(COLUMNS)),
        image=_figure(verification, probe),
        step=step,
        reading=reading.words(),
        gaps=[str(gap) for gap in reading.gaps],
    )


def _rows(verification: Verification) -> Iterator[Sequence[str | Cell]]:
    for row in verification.worst().to_dict("records"):
        verdict = str(row["verdict"])
        yield (
            Cell(verdict, kind=TONES.get(verdict, "")),
            row_name(str(row["quantity"]), str(row["stream"])),
            str(row["layer"]),
            _number(float(row["theory"])),
            _number(float(row["estimate"])),
            _number(float(row["se"])),
            Cell.number(float(row["z"]), "+.1f"),
        )


def _number(value: float) -> Cell:
    return Cell(power_of_ten(log(value))) if value > 0 else Cell.number(value, ".3g")


def _figure(verification: Verification, probe: Probe) -> Picture:
    axes = residuals(verification)
    figure = axes.figure
    assert isinstance(figure, Figure)
    caption = (
        f"Networks less theory in standard errors, layers rising within each row; {probe.networks} "
        f"networks, {probe.depth} blocks, width {probe.width}, {probe.tokens} tokens."
    )
    return Picture.of(figure, caption)
