"""The page: overview, figures, one section for each placement, everything inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isnan

from sympy import Symbol

from ..asymptotics.growth import Growth
from ..asymptotics.laws import COLLAPSE, EMBEDDING
from ..base.letters import LETTERS
from ..plot.canvas.marks import placement_title
from ..render import mathml
from ..render.html import document, paragraph, table, tag
from .cells import Cell
from .figures import Picture, slug

TITLE = "Signal and gradient propagation by norm placement"


def page(
    groups: Mapping[str, Sequence[Cell]],
    networks: int,
    seed: int,
    comparisons: Sequence[Picture],
    sections: Mapping[str, str],
    routed: str,
    phases: str,
) -> str:
    """The whole document.

    Args:
        groups: cells by placement.
        comparisons: the figures that show all placements.
        sections: each placement's part, as markup.
        routed: the comparison with experts, as markup; may be empty.
        phases: the phase diagrams, as markup; may be empty.
    """
    body = [
        tag("h1", escape(TITLE)),
        _introduction(groups, networks, seed),
        _contents(groups, bool(routed), bool(phases)),
        tag("h2", "Overview", id="overview"),
        _overview(groups),
        tag("h2", "Side by side", id="figures"),
        paragraph("Lines are theory, points are Monte Carlo means with one standard error."),
        *(image.html() for image in comparisons),
        phases,
        routed,
        *sections.values(),
        tag("h2", "Notation", id="notation"),
        _notation(),
    ]
    return document(TITLE, body)


def _introduction(groups: Mapping[str, Sequence[Cell]], networks: int, seed: int) -> str:
    cells = [cell for group in groups.values() for cell in group]
    arch = cells[0].arch
    agree = sum(cell.passed for cell in cells)
    engine = next((c.verification.ensemble for c in cells if c.verification is not None), None)
    how = f" ({engine.engine} engine, {engine.dtype}, {engine.device})" if engine else ""
    sizes = f"depth {arch.depth}, width {arch.width}, {arch.heads} heads, {arch.tokens} tokens"
    return paragraph(
        "For each placement of the norms in a transformer block, the moments of the residual streams and of "
        "the loss gradient are derived from the block's definition and compared, layer by layer, with random "
        f"networks at initialisation: {sizes}, {arch.activation} feed-forward branches of ratio "
        f"{arch.ffn_ratio:g}; {networks} independent networks each, seed {seed}{how}. Theory and Monte Carlo "
        f"agree in {agree} of {len(cells)} cases.",
        class_="lead",
    )


def _contents(groups: Mapping[str, Sequence[Cell]], routed: bool, phases: bool) -> str:
    entries = [("#overview", "Overview"), ("#figures", "Side by side")]
    entries += [("#phases", "Phase diagrams")] if phases else []
    entries += [("#experts", "Dense and Mixture-of-Experts")] if routed else []
    entries += [("#" + slug(name), placement_title(name)) for name in groups]
    entries += [
        ("#notation", "Notation"),
        ("atlas.html", "Atlas: all laws as one table, checked"),
        ("claims.html", "Claims of papers, decided"),
    ]
    items = "".join(f'<li><a href="{anchor}">{escape(text)}</a></li>' for anchor, text in entries)
    return tag("nav", tag("ul", items))


def _overview(groups: Mapping[str, Sequence[Cell]]) -> str:
    rows = []
    for name, cells in groups.items():
        for i, cell in enumerate(cells):
            anchor = f'<a href="#{slug(name)}">{escape(placement_title(name))}</a>' if i == 0 else ""
            streams = cell.entry.streams
            variance = ["q"] if streams == 1 else [f"q_{s}{s}" for s in range(streams)]
            gains = ["identity gain"] if streams == 1 else [f"identity gain {s}" for s in range(streams)]
            collapses = [COLLAPSE] if streams == 1 else [f"{COLLAPSE} {s}" for s in range(streams)]
            rows.append(
                [
                    anchor,
                    escape(cell.arch.scaling),
                    _orders(cell, [f"{moment} at l=L" for moment in variance]),
                    _orders(cell, [EMBEDDING]),
                    _orders(cell, collapses),
                    _orders(cell, gains),
                    tag("span", escape(cell.verdict), class_="good" if cell.passed else "bad"),
                    _number(cell.worst_z, ".1f"),
                    _number(cell.worst_gate, ".0%"),
                ]
            )
    embedding = f"<math>{mathml.quantity('gamma at l=0')}</math>"
    last = f"<math>{mathml.quantity('q at l=L')}</math>"
    collapse = f"<math>{mathml.quantity(COLLAPSE)}</math>"
    head = [
        "Placement",
        "Scaling",
        f"Variance {last}",
        f"Gradient {embedding}",
        f"Token alignment {collapse}",
        "Identity gain",
        "Theory",
        "worst |z|",
        "gate",
    ]
    legend = (
        "Laws in the depth L for constant branch gains; two values are the two streams. The gradient is that "
        "at the embedding, for a unit gradient at the model's output; a dash marks what has no law here (the "
        "section says why), p the largest "
        "eigenvalue of a matrix (given there). z is in standard errors, over all rows; the gate is the "
        "largest difference as a share of what standard error and finite width together allow."
    )
    return table(head, rows, frozenset({6, 7})) + paragraph(legend, class_="note")


def _orders(cell: Cell, names: Sequence[str]) -> str:
    found = [cell.laws.get(name) for name in names]
    return ", ".join(mathml.theta(law) if isinstance(law, Growth) else "–" for law in found)


def _number(value: float, form: str) -> str:
    return "–" if isnan(value) else format(value, form)


def _notation() -> str:
    rows = [
        [mathml.inline(letter.written), f"<code>{escape(letter.code)}</code>", escape(letter.meaning)]
        for letters in LETTERS.values()
        for letter in letters
        if isinstance(letter.written, Symbol)
    ]
    return table(["Symbol", "Name in tables", "Meaning"], rows)
