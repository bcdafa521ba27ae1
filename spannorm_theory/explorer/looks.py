"""The look of each placement, as figures have it, in a browser's terms."""

from __future__ import annotations

from typing import Any

from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

from ..plot.canvas.marks import Dash, Marker, placement_style, placement_title
from ..spec.placements import PLACEMENTS

_COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}


def look(placement: str) -> dict[str, Any]:
    """Title, colour, dashes in widths of the line, and marker of a placement."""
    style = placement_style(placement)
    return {
        "title": placement_title(placement),
        "year": PLACEMENTS[placement].year,
        "source": PLACEMENTS[placement].source,
        "colour": style.colour,
        "dash": dashes(style.dash),
        "second": dashes(style.second_dash),
        "marker": outline(style.marker),
        "open": style.marker in ("x", "+"),
    }


def dashes(dash: Dash) -> list[float]:
    """Lengths of strokes and gaps; none for a line without gaps."""
    return [] if isinstance(dash, str) else list(dash[1])


def outline(marker: Marker) -> str:
    """The outline of one of matplotlib's markers as an SVG path, y downwards, one unit wide."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    parts: list[str] = []
    for points, code in path.iter_segments(simplify=False, curves=True):
        if code == Path.CLOSEPOLY:
            parts.append("Z")
            continue
        pairs = " ".join(f"{round(x, 3) + 0.0:g},{round(-y, 3) + 0.0:g}" for x, y in points.reshape(-1, 2))
        parts.append(_COMMANDS[code] + pairs)
    return "".join(parts)
