"""A figure for a page: an SVG that is part of it and, where a folder is named, files beside it."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from .paper import paper, render, save


@dataclass(frozen=True)
class Picture:
    """A figure in a page.

    Attributes:
        uri: the SVG.
        width: in inches.
        name: of its files, without their suffix; empty where it has none.
    """

    caption: str
    uri: str
    width: float
    name: str = ""

    @classmethod
    def of(cls, figure: Figure, caption: str, folder: Path | None = None, name: str = "") -> Picture:
        """Keep a figure's SVG, and save it as PDF and PNG under ``folder`` where one is given."""
        with paper():  # the layout is the same in all forms: solve it once
            figure.draw_without_rendering()
        figure.set_layout_engine("none")
        if folder is not None:
            for suffix in ("pdf", "png"):
                save(figure, folder / f"{name}.{suffix}")
        uri = "data:image/svg+xml;base64," + b64encode(render(figure, "svg")).decode()
        return cls(caption, uri, float(figure.get_figwidth()), name)
