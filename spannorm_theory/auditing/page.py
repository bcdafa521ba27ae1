"""The page of an audit: verdict, what departs, and theory against networks, in one file that reads
offline."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from ..plot.residuals import residuals
from ..render.html import document, paragraph, table, tag

if TYPE_CHECKING:
    from .audit import Audit

COLUMNS = (
    "quantity",
    "of",
    "worst layer",
    "theory",
    "networks",
    "standard error",
    "difference / SE",
    "verdict",
)


def page(audit: Audit) -> str:
    """The document of an audit."""
    title = f"Audit of {audit.probe.name}: {audit.verdict}"
    body = [
        tag("h1", escape(title)),
        paragraph(f"Expected: {audit.source}."),
        tag("p", tag("code", escape(str(audit.expected)))),
        tag("h2", "What departs"),
        _departures(audit),
        tag("h2", "Theory against networks"),
        paragraph(audit.verification.outcome()),
        _rows(audit),
        _figure(audit),
        tag("h2", "What the tensors say"),
        paragraph(audit.reading.words()),
    ]
    if audit.gaps:
        body += [tag("h2", "What is not modelled"), _list(map(str, audit.gaps))]
    return document(title, body)


def _departures(audit: Audit) -> str:
    found = list(map(str, audit.deviations))
    if audit.suspect is not None:
        found.append(f"From block {audit.first_block or 0} on: {audit.suspect.sentence}.")
    return _list(found) if found else paragraph("Nothing in the tensors is other than expected.")


def _list(lines: Iterable[str]) -> str:
    return tag("ul", "".join(tag("li", escape(line)) for line in lines))


def _rows(audit: Audit) -> str:
    rows = [
        (
            row["quantity"],
            row["stream"],
            str(row["layer"]),
            f"{row['theory']:.4g}",
            f"{row['estimate']:.4g}",
            f"{row['se']:.2g}",
            f"{row['z']:.1f}",
            row["verdict"],
        )
        for row in audit.verification.worst().to_dict("records")
    ]
    return table(COLUMNS, [[escape(cell) for cell in row] for row in rows], frozenset(range(2, 7)))


def _figure(audit: Audit) -> str:
    axes = residuals(audit.verification)
    figure = axes.figure
    assert isinstance(figure, Figure)
    image = BytesIO()
    figure.savefig(image, format="png", dpi=200, bbox_inches="tight")
    source = "data:image/png;base64," + b64encode(image.getvalue()).decode()
    caption = (
        f"Networks less theory in standard errors, layers rising within each row; {audit.probe.networks} "
        f"networks, {audit.probe.depth} blocks, width {audit.probe.width}, {audit.probe.tokens} tokens."
    )
    return tag("figure", f'<img alt="{escape(caption)}" src="{source}">' + tag("figcaption", escape(caption)))
