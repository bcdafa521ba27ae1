"""The first file of a store: its format, its version, and what all of its cells have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..._version import __version__
from ...base.errors import StoreError
from ..cells import DEVICES, DTYPES, ENGINES, Specification
from ..records import Kind, one_of, read_record, whole, written
from . import files

NAME = "manifest.json"
#: version of the layout; a store of a larger one is left alone
FORMAT = 1
#: what all cells of a store have in common: networks of two protocols could overlap or differ in law
PROTOCOL: dict[str, Kind] = {
    "chunk": whole(1),
    "engine": one_of(ENGINES),
    "dtype": one_of(DTYPES),
    "device": one_of(DEVICES),
}


@dataclass(frozen=True)
class Manifest:
    """What a store says of itself.

    Attributes:
        store: its folder.
        version: of the package that made it.
        protocol: values of the entries in :data:`PROTOCOL`.
    """

    store: Path
    format: int
    version: str
    protocol: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of the store in a folder.

        Raises:
            StoreError: the folder is no store, its manifest is damaged, or of a later format.
        """
        path = folder / NAME
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{folder} is not a store of a sweep: it has no {NAME}") from None
        except OSError as error:
            raise StoreError(f"cannot read the store at {folder}: {error.strerror or error}") from None
        _refuse_later(content, folder)
        try:
            values = read_record(content, {"format": whole(1), "version": written, **PROTOCOL})
        except ValueError as error:
            raise StoreError(
                f"{path} is damaged: {error}, so it is not a manifest; take that of a copy of the store, or "
                "use another store"
            ) from None
        return cls(folder, values.pop("format"), values.pop("version"), values)

    @classmethod
    def write(cls, folder: Path, protocol: dict[str, Any]) -> None:
        """Make the manifest of a new store, unless another process has."""
        content = json.dumps({"format": FORMAT, "version": __version__, **protocol}, indent=1).encode()
        files.write_bytes(folder / NAME, content, exclusive=True)

    def require(self, version: str, protocol: dict[str, Any]) -> None:
        """Refuse cells of another version or protocol.

        Raises:
            StoreError: naming the difference.
        """
        if self.version != version:
            raise StoreError(
                f"the store at {self.store} was made by spannorm_theory {self.version}, not {version}; their "
                "numbers may differ: use another store"
            )
        for name, value in protocol.items():
            if self.protocol[name] != value:
                raise StoreError(
                    f"the store at {self.store} has {name}={self.protocol[name]}, not {value}: use "
                    "another store"
                )


def protocol_of(specification: Specification) -> dict[str, Any]:
    """The entries of :data:`PROTOCOL` that a specification asks for."""
    return {name: getattr(specification, name) for name in PROTOCOL}


def _refuse_later(content: bytes, folder: Path) -> None:
    """A later format may have other entries, so it is looked at before them."""
    try:
        values = json.loads(content)
        later, version = int(values["format"]), str(values["version"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return  # damaged, which is said by who reads the rest
    if later > FORMAT:
        raise StoreError(
            f"the store at {folder} has format {later}, written by spannorm_theory {version}; this is "
            f"{__version__}, which reads up to format {FORMAT}: update it, or use another store"
        )
