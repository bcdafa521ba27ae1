"""The atlas as files: a page, a CSV, and a LaTeX table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import InputError
from .latex import longtable
from .page import page

if TYPE_CHECKING:
    from .build import Atlas

NAMES = ("atlas.html", "atlas.csv", "atlas.tex")


def write(atlas: Atlas, out: str | os.PathLike[str]) -> Path:
    """Write atlas.html, atlas.csv and atlas.tex; other files in the folder are left alone.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(out)
    contents = page(atlas), atlas.table.to_csv(index=False), longtable(atlas.cells)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in zip(NAMES, contents, strict=True):
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the atlas to {out}: {error.strerror or error}") from None
    return folder
