"""What is really in the folder of a store: people and programs leave files, folders and links there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...base.errors import StoreError


def entries(folder: Path) -> Iterator[Path]:
    """Paths in a folder; none where there is none.

    Raises:
        StoreError: it is no folder, or cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            for entry in found:
                yield Path(entry.path)
    except (FileNotFoundError, NotADirectoryError):
        require_folder(folder, missing=True)
    except OSError as error:
        raise StoreError(f"cannot read {folder}: {error.strerror or error}") from None


def require_folder(path: Path, *, missing: bool = False) -> None:
    """Refuse what is no folder in the place of one; ``missing`` allows that nothing is there."""
    if not path.is_dir() and (path.exists() or path.is_symlink() or not missing):
        raise StoreError(
            f"{path} is {'a file' if path.exists() else 'a link to nothing'}, where a store has a folder; "
            "move it away and run the sweep again, which computes what is missing"
        )


def content_of(path: Path) -> bytes | None:
    """The content of a file; None of what is no file."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None
