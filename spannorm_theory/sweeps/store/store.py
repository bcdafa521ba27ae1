"""The folder that keeps a sweep: write-once files only, so that nothing needs to be repaired.

    manifest.json             format, package version, and what all cells have in common
    specifications/KEY.json   what was asked for; the store wants the cells of all of them
    cells/KEY.parquet         one finished cell each, under the hash of its text form
    claims/KEY                a lock that the process computing a cell holds
    failed/KEY.json           the error of a cell that failed
    damaged/                  files that were moved aside

A cell is written under a temporary name and renamed, and is the same bits whoever computes it: claims
only save work, correctness does not rest on them.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...base import arguments
from ...base.errors import InputError, StoreError
from ...montecarlo.statistics import Statistics
from ..cells import Cell, Specification
from ..records import read_record, written
from . import files
from .cellfile import CellFile, DamagedCellError, difference, read_cell, write_cell
from .folders import content_of, entries, require_folder
from .manifest import NAME, Manifest, protocol_of

FOLDERS = ("specifications", "cells", "claims", "failed", "damaged")
#: the entries of a failed cell's record
FAILURE = {"cell": written, "error": written, "details": written}


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result."""

    cell: Cell
    error: str
    details: str = ""


@dataclass(frozen=True)
class Status:
    """The state of a store: numbers of cells, and who computes what."""

    wanted: int
    done: int
    failed: int
    running: dict[str, str]

    @property
    def waiting(self) -> int:
        """Cells that nobody has begun."""
        return max(0, self.wanted - self.done - self.failed - len(self.running))


class Store:
    """A store that exists. :meth:`create` makes one.

    Args:
        path: its folder.

    Raises:
        StoreError: the folder is no store, or one that this version cannot read.

    Example:
        >>> import spannorm_theory as st
        >>> try:
        ...     st.Store("/nowhere")
        ... except st.SpannormError as error:
        ...     print(type(error).__name__)
        ...
        StoreError
    """

    def __init__(self, path: str | Path) -> None:
        self.path = arguments.path("store", path)
        self._manifest = Manifest.read(self.path)
        self.format, self.version = self._manifest.format, self._manifest.version
        self.protocol = self._manifest.protocol

    def __repr__(self) -> str:
        """The folder, and how much of it is done."""
        status = self.status()
        return f"Store: {self.path}, {status.done} of {status.wanted} cells done, {status.failed} failed"

    @classmethod
    def create(cls, path: str | Path, specification: Specification) -> Store:
        """Open the store at ``path`` for this specification, or make it.

        Args:
            path: a folder, made if it does not exist.
            specification: what is to be measured, and with which protocol.

        Returns:
            the store.

        Raises:
            StoreError: it cannot be written, holds something else, or its cells are of another
                version, chunk, engine, dtype or device.
        """
        folder = arguments.path("store", path)
        arguments.instance("specification", specification, Specification, "specify")
        protocol = protocol_of(specification)
        if folder.is_file():
            raise StoreError(f"cannot make a store at {path}: it is a file")
        with files.reporting(folder):
            fresh = not (folder / NAME).exists()
            if fresh and folder.is_dir() and not all(_ours(path) for path in entries(folder)):
                raise StoreError(f"cannot make a store at {path}: the folder holds something else")
            folder.mkdir(parents=True, exist_ok=True)
            if fresh:
                Manifest.write(folder, protocol)
        store = cls(folder)
        store._manifest.require(__version__, protocol)
        with files.reporting(folder):
            for name in FOLDERS:
                with suppress(FileExistsError):
                    (folder / name).mkdir()
                require_folder(folder / name)
            store._keep(specification)
            store.tidy_up()
        return store

    def _keep(self, specification: Specification) -> None:
        target = self.path / "specifications" / f"{specification.key}.json"
        content = specification.text.encode()
        if not files.write_bytes(target, content, exclusive=True) and content_of(target) != content:
            self._move_aside(target)
            files.write_bytes(target, content, exclusive=True)

    def tidy_up(self) -> None:
        """Remove what processes that died have left: claims that nobody holds, unfinished files; and move
        aside what is no file in the place of one."""
        for name in ("claims", "failed"):
            for path in entries(self.path / name):
                if path.is_symlink() or (path.exists() and not path.is_file()):
                    self._move_aside(path)
        for path in entries(self.path / "claims"):
            with files.claim(path):
                pass
        for path in entries(self.path / "cells"):
            if path.suffix == files.TEMPORARY and self.owner(path.name.partition(".")[0]) is None:
                with suppress(OSError):
                    path.unlink()

    def cell_path(self, key: str) -> Path:
        """The path at which the cell called ``key`` is or will be.

        Args:
            key: name of the cell, which is a hash of its text form.

        Returns:
            the path, whether or not a file is there.
        """
        return self.path / "cells" / f"{key}.parquet"

    def has(self, key: str) -> bool:
        """Whether the cell is finished.

        Args:
            key: name of the cell, which is a hash of its text form.

        Returns:
            True or False.
        """
        return self.cell_path(key).is_file()

    def read(self, key: str) -> CellFile:
        """A finished cell, checked.

        Args:
            key: name of the cell, which is a hash of its text form.

        Returns:
            the cell with its statistics and what is known of its run.

        Raises:
            DamagedCellError: the file is not what was written.
        """
        return read_cell(self.cell_path(key), key)

    def write(self, cell: Cell, statistics: Statistics, info: dict[str, Any]) -> None:
        """Keep a finished cell.

        Args:
            cell: what was measured.
            statistics: sums over its networks, by stream and quantity.
            info: what is kept beside them: version, host, seconds.

        Raises:
            StoreError: the system does not let it be written.
        """
        with files.reporting(self.path):
            files.write_whole(self.cell_path(cell.key), lambda file: write_cell(file, cell, statistics, info))

    def set_aside(self, key: str) -> Path:
        """Move a damaged cell out of the way; returns where it went.

        Args:
            key: name of the cell, which is a hash of its text form.

        Returns:
            the path of the file in the folder of damaged ones.

        Raises:
            StoreError: the system does not let it be written.
        """
        with files.reporting(self.path):
            return self._move_aside(self.cell_path(key))

    def _move_aside(self, path: Path) -> Path:
        target = self.path / "damaged" / f"{path.stem}-{time.time_ns()}{path.suffix}"
        return path.rename(target)

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Own a cell while computing it, unless another process does.

        Args:
            key: name of the cell, which is a hash of its text form.

        Returns:
            a context whose value says whether the cell is this process's own until the block ends.
        """
        return files.claim(self.path / "claims" / key)

    def owner(self, key: str) -> str | None:
        """Who is computing the cell.

        Args:
            key: name of the cell, which is a hash of its text form.

        Returns:
            host and process, or None.
        """
        return files.owner(self.path / "claims" / key)

    def abandoned(self, key: str) -> bool:
        """Whether a process died while it was computing the cell.

        Args:
            key: name of the cell, which is a hash of its text form.

        Returns:
            True or False.
        """
        return (self.path / "claims" / key).exists() and self.owner(key) is None

    def record_failure(self, cell: Cell, error: str, details: str = "") -> None:
        """Keep the error of a cell.

        Args:
            cell: what failed.
            error: in one line.
            details: the traceback.

        Raises:
            StoreError: the system does not let it be written.
        """
        value = {"cell": cell.text, "error": error, "details": details}
        with files.reporting(self.path):
            files.write_bytes(self.path / "failed" / f"{cell.key}.json", json.dumps(value, indent=1).encode())

    def failure(self, key: str) -> Failure | None:
        """The recorded error of a cell that is not finished.

        Args:
            key: name of the cell, which is a hash of its text form.

        Returns:
            the cell with its error; None where it has none or is finished.
        """
        path = self.path / "failed" / f"{key}.json"
        if self.has(key) or not path.is_file():
            return None
        try:
            value = read_record(path.read_bytes(), FAILURE)
            cell = Cell.parse(value["cell"])
        except (OSError, ValueError):
            return None  # a damaged record of a failure is no reason not to try again
        return Failure(cell, value["error"], value["details"]) if cell.key == key else None

    def forget_failure(self, key: str) -> None:
        """Let a failed cell be tried again.

        Args:
            key: name of the cell, which is a hash of its text form.

        Raises:
            StoreError: the system does not let it be written.
        """
        with files.reporting(self.path):
            (self.path / "failed" / f"{key}.json").unlink(missing_ok=True)

    def specifications(self) -> list[Specification]:
        """The specifications of all that the store was asked for.

        Returns:
            one for each call of ``sweep`` that asked for something else.

        Raises:
            StoreError: one is damaged, or the folder cannot be read.
        """
        found = []
        for path in sorted(entries(self.path / "specifications")):
            if path.suffix == ".json":
                try:
                    specification = Specification.parse(path.read_text(encoding="utf-8"))
                    if specification.key != path.stem:
                        raise ValueError("its content is not what its name says")
                except (OSError, ValueError) as error:
                    why = error.strerror if isinstance(error, OSError) else error
                    raise StoreError(
                        f"{path} is damaged: {why}; move it away, or run its sweep again, which writes it "
                        "anew"
                    ) from None
                found.append(specification)
        return found

    def cells(self) -> list[Cell]:
        """The cells of all specifications, each once.

        Returns:
            cells, in the order of the specifications.
        """
        return list({cell.key: cell for s in self.specifications() for cell in s.cells()}.values())

    def finished(self) -> set[str]:
        """Keys of all finished cells, by one listing of the folder.

        Returns:
            keys of cells.
        """
        return {path.stem for path in entries(self.path / "cells") if path.suffix == ".parquet"}

    def failures(self) -> list[Failure]:
        """The cells that failed.

        Returns:
            cells with their errors.
        """
        names = (path.stem for path in sorted(entries(self.path / "failed")) if path.suffix == ".json")
        return [failure for name in names if (failure := self.failure(name)) is not None]

    def status(self) -> Status:
        """The counts of cells that are wanted, done, running and failed.

        Returns:
            ``wanted``, ``done``, ``failed``, ``waiting`` (numbers), and ``running``, by cell who computes it.
        """
        wanted = {cell.key for cell in self.cells()}
        running = {p.name: who for p in entries(self.path / "claims") if (who := files.owner(p)) is not None}
        failed = {failure.cell.key for failure in self.failures()}
        return Status(len(wanted), len(wanted & self.finished()), len(wanted & failed), running)

    def merge(self, other: Store) -> int:
        """Take over the cells of another store; returns how many were new.

        Nothing is taken unless everything can be.

        Args:
            other: a store of the same protocol.

        Returns:
            the number of cells that were new.

        Raises:
            StoreError: the other store has another version or protocol, or a cell with other numbers.
        """
        arguments.instance("other", other, Store, "Store(path)")
        if other.path.resolve() == self.path.resolve():
            raise InputError(f"cannot merge the store at {self.path} with itself")
        if other.format != self.format:
            raise StoreError(f"the stores have formats {self.format} and {other.format}; update one")
        other._manifest.require(self.version, self.protocol)
        new = []
        for key in sorted(other.finished()):
            theirs = other.read(key)
            if self.has(key):
                ours = self.read(key)
                if ours.digest != theirs.digest:
                    cell, gap = theirs.cell, difference(ours.statistics, theirs.statistics)
                    raise StoreError(
                        f"the cell {key} ({cell.arch}, networks from {cell.first}, seed {cell.seed}) has "
                        f"other numbers in {other.path} than in {self.path} (relative difference {gap:.1e}); "
                        "nothing was merged"
                    )
            else:
                new.append(key)
        with files.reporting(self.path):
            for specification in other.specifications():
                self._keep(specification)
            for key in new:
                files.write_bytes(self.cell_path(key), other.cell_path(key).read_bytes())
        return len(new)


def _ours(path: Path) -> bool:
    """Whether a store that is being made may hold the path: another process may be making the same one, or
    have died while it did."""
    unfinished = path.name.startswith(f"{NAME}.") and path.suffix == files.TEMPORARY
    return path.name in (*FOLDERS, NAME) or unfinished


__all__ = ["DamagedCellError", "Failure", "Status", "Store"]
