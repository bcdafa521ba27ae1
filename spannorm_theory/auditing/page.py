"""The page of an audit: verdict, what departs, and theory against networks, in one file that reads
offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from ..plot.canvas.picture import Picture
from ..plot.residuals import residuals
from ..render.html import document
from ..spec.architecture import Architecture
from ..verification.outcome import Verification
from .probe import Probe
from .read import Reading

COLUMNS = (
    "verdict",
    "quantity",
    "of",
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
        numeric=range(3, len(COLUMNS)),
        image=_figure(verification, probe),
        step=step,
        reading=reading.words(),
        gaps=[str(gap) for gap in reading.gaps],
    )


def _rows(verification: Verification) -> Iterator[Sequence[str]]:
    for row in verification.worst().to_dict("records"):
        yield (
            row["verdict"],
            row["quantity"],
            row["stream"],
            str(row["layer"]),
            f"{row['theory']:.4g}",
            f"{row['estimate']:.4g}",
            f"{row['se']:.2g}",
            f"{row['z']:.1f}",
        )


def _figure(verification: Verification, probe: Probe) -> Picture:
    axes = residuals(verification)
    figure = axes.figure
    assert isinstance(figure, Figure)
    caption = (
        f"Networks less theory in standard errors, layers rising within each row; {probe.networks} "
        f"networks, {probe.depth} blocks, width {probe.width}, {probe.tokens} tokens."
    )
    return Picture.of(figure, caption)
