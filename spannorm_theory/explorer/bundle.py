"""The library's theory as an archive that Pyodide imports."""

from __future__ import annotations

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
LEFT_OUT = ("page", "__pycache__", "grid.json")

#: of every file: equal sources give equal archives
WHEN = (1980, 1, 1, 0, 0, 0)


def bundle() -> bytes:
    """A zip of the package, with the rooms in :data:`ROOMS`."""
    files = [*PACKAGE.glob("*.py")]
    for room in ROOMS:
        files += [path for path in (PACKAGE / room).rglob("*") if path.is_file()]
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for path in sorted(files):
            name = path.relative_to(PACKAGE.parent)
            if not set(name.parts) & set(LEFT_OUT):
                entry = ZipInfo(name.as_posix(), WHEN)
                entry.compress_type = ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()
