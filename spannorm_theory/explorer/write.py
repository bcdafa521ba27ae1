"""Write the explorer: one page that opens from a file, and beside it what its worker loads."""

from __future__ import annotations

import os
from base64 import b64encode
from html import escape
from importlib import resources
from pathlib import Path

from .. import render
from .._version import __version__
from ..base import arguments
from ..base.errors import InputError, shown
from ..base.files import make_folder, write_file
from .bundle import bundle
from .designs import SIZES

#: where the page takes Python from, unless another address is given
RUNTIME = "https://cdn.jsdelivr.net/pyodide/v314.0.7/full/"

STYLES = ("paper.css", "layout.css")

#: in this order: a file uses what those before it define
SCRIPTS = (
    "state.js",
    "series.js",
    "axes.js",
    "colours.js",
    "panel.js",
    "choose.js",
    "panels.js",
    "findings.js",
    "downloads.js",
    "live.js",
    "main.js",
)

#: files of the worker, which stay modules of their own
WORKER = ("worker.mjs", "engine.mjs")


def write_explorer(out: str | os.PathLike[str], *, runtime: str = RUNTIME, documentation: str = "") -> Path:
    """Write the explorer into a folder: curves of every placement to choose and compare in a browser.

    index.html holds the curves, and opens from the file system. The live theory beside them, for a placement
    that a reader types in, needs the folder on a web host: worker.mjs, engine.mjs and theory.zip, the
    library's theory, are loaded from there, and Python from ``runtime``.

    Source: docs/explorer.md.

    Args:
        out: the folder; files of other names in it stay.
        runtime: address of Pyodide's files: absolute, or relative to the page.
        documentation: address of the documentation site's folder, with its slash at the end, to which and to
            whose pages of placements and rules the page then leads: absolute, or relative to the page.

    Returns:
        the folder's path.

    Raises:
        InputError: it cannot be written, or an address is no printable ASCII text.

    Example:
        >>> import spannorm_theory as st, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(path.name for path in st.write_explorer(folder).iterdir())
        ['engine.mjs', 'index.html', 'theory.zip', 'worker.mjs']
    """
    if not (_printable(runtime) and runtime):
        raise InputError(f"runtime must be an address, such as {RUNTIME}; got {shown(runtime)}")
    if not (_printable(documentation) and documentation[-1:] in ("/", "")):
        raise InputError(f"documentation must be a folder's address, such as ../; got {shown(documentation)}")
    folder = make_folder(arguments.path("out", out))
    write_file(folder / "index.html", page(runtime, documentation))
    write_file(folder / "theory.zip", bundle())
    for name in WORKER:
        write_file(folder / name, _read(name))
    return folder


def _printable(address: object) -> bool:
    return isinstance(address, str) and address.isascii() and address.isprintable()


def page(runtime: str = RUNTIME, documentation: str = "") -> str:
    """The page, with styles, scripts and curves in it."""
    parts = {
        "runtime": escape(runtime),
        "documentation": escape(documentation),
        "version": __version__,
        **{name: str(size) for name, size in SIZES.items()},
        "style": "".join(map(_read, STYLES)),
        "font": b64encode(_font()).decode(),
        "script": "".join(map(_read, SCRIPTS)),
        "grid": grid().replace("</", "<\\/"),
    }
    text = _read("index.html")
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


def _font() -> bytes:
    """The letters of formulas, as all pages have them."""
    return resources.files(render).joinpath("templates", "formulas.woff2").read_bytes()


def grid() -> str:
    """The curves, formulas and looks that are kept, as JSON."""
    return resources.files(__package__).joinpath("grid.json").read_text(encoding="utf-8")


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("page", name).read_text(encoding="utf-8")
