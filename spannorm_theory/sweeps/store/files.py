"""Files that are whole or absent, and locks that end with their owner."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...base.errors import StoreError
from ...base.files import TEMPORARY as TEMPORARY
from ...base.files import write_bytes as write_bytes
from ...base.files import write_whole as write_whole

_NO_LOCKS = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn the system's errors about a store into one clear line.

    Raises:
        StoreError: naming the path, the system's reason, and that finished cells are safe.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(unwritable(path, error)) from None


def unwritable(path: str | Path, error: OSError) -> str:
    """One line about a store that the system will not let us write."""
    return (
        f"cannot write to the store at {path}: {error.strerror or error}; finished cells are safe, and the "
        "same sweep goes on from them once that is mended"
    )


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Try to own a lock file while the block runs; says whether it could.

    The kernel releases the lock when its owner ends, however it ends, so no claim is ever stale. On a
    file system without locks everybody owns everything: work may be done twice, and nothing is lost.
    """
    descriptor, held = _lock(path)
    try:
        if held:
            owner = f"{socket.gethostname()} process {os.getpid()} since {time.strftime('%F %T')}\n"
            os.ftruncate(descriptor, 0)
            os.write(descriptor, owner.encode())
        yield held
        if held:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(path: Path) -> tuple[int, bool]:
    """An open lock file, and whether its lock was free."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return descriptor, False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
        if os.fstat(descriptor).st_nlink:
            return descriptor, True
        os.close(descriptor)  # the last owner removed the file before the lock was taken


def owner(path: Path) -> str | None:
    """Who owns a lock file now; None where nobody does (its owner died, or finished)."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(descriptor, 200).decode(errors="replace").strip() or "somebody"
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None
