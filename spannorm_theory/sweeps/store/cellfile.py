"""One finished cell as a Parquet file that says whose it is and whether it is whole.

A file holds numbers, names and one JSON text; reading it runs nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...base.errors import StoreError
from ...montecarlo.statistics import Statistics
from ..cells import Cell
from ..records import mapping, read_record, written

SCHEMA = pa.schema(
    [
        ("stream", pa.string()),
        ("quantity", pa.string()),
        ("layer", pa.int64()),
        ("networks", pa.int64()),
        ("shift", pa.float64()),
        ("mean", pa.float64()),
        ("m2", pa.float64()),
        ("log_mean", pa.float64()),
    ]
)
COLUMNS = tuple(f.name for f in fields(Statistics))
#: the entry of the file's metadata
MARK = b"spannorm"
_MARK = {"cell": written, "digest": written, "info": mapping}


class DamagedCellError(StoreError):
    """A cell's file is truncated, altered, or not what its name says."""


@dataclass(frozen=True)
class CellFile:
    """The content of a cell's file.

    Attributes:
        digest: checksum of the cell's text and numbers.
        info: how it was made: version, device, host, seconds.
    """

    cell: Cell
    statistics: Statistics
    digest: str
    info: dict[str, Any]


def digest(cell: Cell, statistics: Statistics) -> str:
    """SHA-256 of the cell's text and of every column's bytes."""
    total = hashlib.sha256(cell.text.encode())
    for name in COLUMNS:
        column = getattr(statistics, name)
        total.update("\n".join(column).encode() if column.dtype == object else column.tobytes())
    return total.hexdigest()


def write_cell(file: BinaryIO, cell: Cell, statistics: Statistics, info: dict[str, Any]) -> None:
    """Write one cell to an open file."""
    mark = {"cell": cell.text, "digest": digest(cell, statistics), "info": info}
    table = pa.table({name: getattr(statistics, name) for name in COLUMNS}, schema=SCHEMA)
    table = table.replace_schema_metadata({MARK: json.dumps(mark).encode()})
    pq.write_table(
        table,
        file,
        use_dictionary=["stream", "quantity", "layer", "networks"],
        write_statistics=False,
        compression="zstd",
    )


def read_cell(path: Path, key: str) -> CellFile:
    """Read and check a cell's file.

    Raises:
        DamagedCellError: it is not whole, or not the cell called ``key``.
        StoreError: it cannot be read at all.
    """
    try:
        path.lstat()
        if not path.is_file():  # opening a pipe would wait for ever
            raise _damaged(path, "it is a link to nothing" if path.is_symlink() else "it is not a file")
        with path.open("rb") as file:
            table = pq.ParquetFile(file).read(use_threads=False)
        mark = read_record((table.schema.metadata or {})[MARK], _MARK)
        cell, expected, info = Cell.parse(mark["cell"]), mark["digest"], mark["info"]
    except StoreError:
        raise
    except OSError as error:
        if error.errno is not None:  # pyarrow's own OSErrors, about the contents, have none
            raise StoreError(f"cannot read {path}: {error.strerror}") from None
        raise _damaged(path, "it is not a whole Parquet file") from None
    except (pa.ArrowException, KeyError, ValueError, TypeError):
        raise _damaged(path, "it is not a whole Parquet file of a cell") from None
    if not table.schema.remove_metadata().equals(SCHEMA):
        raise _damaged(path, "its columns are not those of a cell")
    if cell.key != key:
        raise _damaged(path, f"it holds the cell {cell.key}")
    columns = {
        name: np.array(table[name].to_pylist(), dtype=object)
        if pa.types.is_string(SCHEMA.field(name).type)
        else table[name].to_numpy()
        for name in COLUMNS
    }
    if any(table[name].null_count for name in COLUMNS):
        raise _damaged(path, "it has empty entries")
    statistics = Statistics(**columns)
    if digest(cell, statistics) != expected:
        raise _damaged(path, "its numbers are not those that were written")
    return CellFile(cell, statistics, expected, info)


def _damaged(path: Path, why: str) -> DamagedCellError:
    return DamagedCellError(
        f"the cell file {path} is damaged: {why}; run the sweep again, which moves it aside and computes the "
        "cell anew"
    )


def difference(a: Statistics, b: Statistics) -> float:
    """The largest relative difference of two cells' numbers; infinite where their labels differ."""
    if not a.labels_equal(b):
        return np.inf
    worst = 0.0
    for name in COLUMNS[4:]:
        x, y = getattr(a, name), getattr(b, name)
        with np.errstate(all="ignore"):
            ratio = np.abs(x - y) / np.maximum(np.abs(x), np.abs(y))
        worst = max(worst, float(np.nanmax(ratio, initial=0.0)))
    return worst
