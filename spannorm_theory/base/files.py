"""Files that are whole or absent: written beside their place and renamed, so that a full disk, an error or
a kill leaves the earlier file.

A file that is being written is locked by its writer; the kernel releases the lock when that process ends,
however it ends. What nobody holds is left from a killed run, and the next that writes the same file removes
it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from .errors import InputError

try:
    import fcntl
except ImportError:  # a system without these locks: nothing is ever taken for left over
    fcntl = None  # type: ignore[assignment]

#: suffix of files that are being written
TEMPORARY = ".tmp"


def unwritable(path: str | Path, error: OSError) -> InputError:
    """The error of a file that the system will not let us write."""
    return InputError(f"cannot write {path}: {error.strerror or error}")


def write_file(path: str | Path, content: str | bytes) -> Path:
    """Write a file of the user's: the earlier one stays until the new one is complete.

    Args:
        content: text is written as UTF-8.

    Returns:
        the path.

    Raises:
        InputError: it cannot be written; an earlier file is as it was.
    """
    with beside(path) as temporary:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


@contextmanager
def beside(path: str | Path) -> Iterator[Path]:
    """A path to write to, in place of ``path``, which takes its place when the block ends well.

    A link stays a link to the file that is replaced; a device or pipe is written directly.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        target = Path(path).resolve()
        if target.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if target.exists() and not target.is_file():
            yield target
            return
        remove_abandoned(target.parent, re.escape(target.name) + r"\.[0-9a-f]{12}\.tmp")
        with _temporary(target) as (temporary, file):
            yield temporary
            os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            temporary.replace(target)
    except OSError as error:
        raise unwritable(path, error) from None


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, exclusive: bool = False) -> bool:
    """Write a file under a temporary name and move it into place; returns whether it was.

    Args:
        write: is called with the open file.
        exclusive: leave a file that is there already.

    Raises:
        OSError: as the system says.
    """
    with _temporary(path) as (temporary, file):
        write(file)
        file.flush()
        os.fsync(file.fileno())
        if not exclusive:
            temporary.replace(path)
            return True
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True


def write_bytes(path: Path, content: bytes, *, exclusive: bool = False) -> bool:
    """Write a file whole from its content; else as :func:`write_whole`."""
    return write_whole(path, lambda file: file.write(content), exclusive=exclusive)


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside ``path``, open and locked, that is gone when the block ends unless it was renamed."""
    while True:
        temporary = path.with_name(f"{path.name}.{uuid4().hex[:12]}{TEMPORARY}")
        file = temporary.open("xb")
        if lock(file.fileno(), wait=True) is None or os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # it was taken for left over, in the moment before it was locked
    try:
        with file:
            yield temporary, file
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs, so that no other process takes it for left over."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock an open file or folder until it is closed: whether that was possible, and None where there are no
    locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove files and folders whose whole name fits the pattern and that no process holds.

    Each is held while it is removed: a writer that has just made it waits for the lock, and sees then that
    its file is gone.
    """
    for path in _held(folder, pattern):
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            path.unlink(missing_ok=True)


def abandoned(folder: Path, pattern: str) -> list[Path]:
    """Paths in a folder whose name fits the pattern and that no process holds."""
    return list(_held(folder, pattern))


def _held(folder: Path, pattern: str) -> Iterator[Path]:
    """Paths that fit and that nobody else holds, each locked until the next is asked for."""
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if re.fullmatch(pattern, name)]
        for path in (folder / name for name in names):
            if path.is_symlink():
                continue
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    if lock(descriptor):
                        yield path
                finally:
                    os.close(descriptor)


def require_file(path: str | Path | None) -> None:
    """Refuse, before any work, a file that could not be written in the end; None is no file.

    Raises:
        InputError: saying why.
    """
    if path is None:
        return
    try:
        target = Path(path).resolve()
        if target.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        if target.exists() and not target.is_file():
            if not os.access(target, os.W_OK):
                raise PermissionError(0, "Permission denied")
            return
        if not target.parent.exists():
            raise FileNotFoundError(0, f"there is no folder {target.parent}")
        _probe(target)
    except OSError as error:
        raise unwritable(path, error) from None


def require_folder(path: str | os.PathLike[str] | None) -> None:
    """Refuse, before any work, a folder that could not be made or written to; None is no folder.

    Raises:
        InputError: saying why.
    """
    if path is None:
        return
    try:
        target = Path(path).resolve()
        there = next(one for one in (target, *target.parents) if one.exists())
        if not there.is_dir():
            raise NotADirectoryError(0, "it is a file" if there == target else f"{there} is a file")
        _probe(there / (target.name if there != target else "file"))
    except OSError as error:
        raise InputError(f"cannot write to the folder {path}: {error.strerror or error}") from None


def make_folder(path: str | os.PathLike[str]) -> Path:
    """The folder, made with its parents where it is missing.

    Raises:
        InputError: it cannot be made.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror or error
        raise InputError(f"cannot write to the folder {path}: {reason}") from None
    require_folder(folder)
    return folder


def _probe(path: Path) -> None:
    """Make and remove a file beside ``path``: nothing else says whether one can be made there."""
    with _temporary(path):
        pass
