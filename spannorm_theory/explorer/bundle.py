"""The library's theory as an archive that Pyodide imports."""

from __future__ import annotations

from importlib import metadata, resources
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

PACKAGE = Path(__file__).parent.parent

#: rooms that the theory, its formulas and diagrams are made of
ROOMS = (
    "base",
    "gaussian",
    "softmax",
    "spec",
    "layers",
    "moments",
    "derivation",
    "prediction",
    "asymptotics",
    "bounds",
    "verification",
    "render",
    "plot",
    "explorer",
)

#: what rooms hold beside them and the archive does not need
LEFT_OUT = ("page", "templates", "__pycache__", "grid.json")

#: pure Python that these import and that not every Pyodide has: it goes into the archive, with its licence
BESIDE = "markupsafe"

#: of every file: equal sources give equal archives
WHEN = (1980, 1, 1, 0, 0, 0)


def bundle() -> bytes:
    """A zip of the package, with the rooms in :data:`ROOMS`, and of ``BESIDE``."""
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for name, content in sorted({**_rooms(), **_beside()}.items()):
            entry = ZipInfo(name, WHEN)
            entry.compress_type = ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()


def _rooms() -> dict[str, bytes]:
    files = [*PACKAGE.glob("*.py")]
    for room in ROOMS:
        files += [path for path in (PACKAGE / room).rglob("*") if path.is_file()]
    names = {path: path.relative_to(PACKAGE.parent) for path in files}
    return {n.as_posix(): p.read_bytes() for p, n in names.items() if not set(n.parts) & set(LEFT_OUT)}


def _beside() -> dict[str, bytes]:
    folder = resources.files(BESIDE)
    found = {f"{BESIDE}/{one.name}": one.read_bytes() for one in folder.iterdir() if one.name.endswith(".py")}
    licences = [one for one in metadata.files(BESIDE) or () if "LICENSE" in one.name.upper()]
    return {**found, **{f"{BESIDE}/{one.name}": Path(str(one.locate())).read_bytes() for one in licences}}
