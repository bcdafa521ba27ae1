"""The pages of a report, and the links between them."""

from __future__ import annotations

from collections.abc import Sequence

from ..placement_pages.pictures import slug
from ..plot.canvas.marks import placement_title

#: folder of the pages of placements, inside the report's
PLACEMENTS = "placements"

#: the other pages
INDEX, FIGURES, ATLAS, CLAIMS, NOTATION = (
    f"{name}.html" for name in ("index", "figures", "atlas", "claims", "notation")
)


def menu(names: Sequence[str], root: str = "") -> list[tuple[str, str]]:
    """The links at the side of every page, as address and text.

    Args:
        names: of the placements.
        root: the way to the report's folder, with its slash at the end; pages of placements lead to each
            other by their files alone.
    """
    folder = "" if root else f"{PLACEMENTS}/"
    return [
        (root + INDEX, "Ranking"),
        *((f"{folder}{slug(name)}.html", placement_title(name)) for name in names),
        (root + FIGURES, "Side by side"),
        (root + ATLAS, "Atlas of laws"),
        (root + CLAIMS, "Published claims"),
        (root + NOTATION, "Notation"),
    ]
