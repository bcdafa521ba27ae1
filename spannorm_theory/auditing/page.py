"""The page of an audit: verdict, what departs, and theory against networks, in one file that reads
offline."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO

from matplotlib.figure import Figure

from ..plot.residuals import residuals
from ..render.html import document, paragraph, table, tag
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
) -> str:
    """The document of an audit.

    Args:
        source: where ``expected`` comes from, in words.
        departures: what is not as expected, in words.
    """
    body = [
        tag("h1", escape(title)),
        paragraph(f"Expected: {source}."),
        tag("p", tag("code", escape(str(expected)))),
        tag("h2", "What departs"),
        _list(departures) if departures else paragraph("Nothing is other than expected."),
        tag("h2", "Theory against networks"),
        paragraph(verification.outcome()),
        _rows(verification),
        _figure(verification, probe),
        tag("h2", "What the tensors say"),
        paragraph(reading.words()),
    ]
    if reading.gaps:
        body += [tag("h2", "What is not modelled"), _list(map(str, reading.gaps))]
    return document(title, body)


def _list(lines: Iterable[str]) -> str:
    return tag("ul", "".join(tag("li", escape(line)) for line in lines))


def _rows(verification: Verification) -> str:
    rows = [
        (
            row["verdict"],
            row["quantity"],
            row["stream"],
            str(row["layer"]),
            f"{row['theory']:.4g}",
            f"{row['estimate']:.4g}",
            f"{row['se']:.2g}",
            f"{row['z']:.1f}",
        )
        for row in verification.worst().to_dict("records")
    ]
    return table(COLUMNS, [[escape(cell) for cell in row] for row in rows], frozenset(range(3, 8)))


def _figure(verification: Verification, probe: Probe) -> str:
    axes = residuals(verification)
    figure = axes.figure
    assert isinstance(figure, Figure)
    image = BytesIO()
    figure.savefig(image, format="png", dpi=200, bbox_inches="tight")
    source = "data:image/png;base64," + b64encode(image.getvalue()).decode()
    caption = (
        f"Networks less theory in standard errors, layers rising within each row; {probe.networks} "
        f"networks, {probe.depth} blocks, width {probe.width}, {probe.tokens} tokens."
    )
    return tag("figure", f'<img alt="{escape(caption)}" src="{source}">' + tag("figcaption", escape(caption)))
