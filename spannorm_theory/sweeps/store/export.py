"""The tidy table of a store: cells merged into one set of rows for each architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...base import arguments
from ...base.errors import InputError, StoreError
from ...base.files import beside, require_file
from ...montecarlo.statistics import Statistics, estimates, merge
from ..cells import Cell, fields_of
from .store import Store

#: columns that every table has, as that of an ensemble
ALWAYS = ("placement", "scaling", "depth", "width", "tokens")
#: architectures whose rows are made at a time
PORTION = 256


def sweep_table(store: Store, cells: Sequence[Cell]) -> pd.DataFrame:
    """One row for each (architecture, layer, stream, quantity), over all networks that are finished.

    Returns:
        the columns of :attr:`Ensemble.table`, with architecture (its text form) and every field of
        ``Architecture`` in which the given cells differ.

    Raises:
        StoreError: none of the cells is finished.
        DamagedCellError: a cell's file is not what was written.
    """
    portions = list(_portions(store, cells))
    if not portions:
        raise StoreError(f"the store at {store.path} has no finished cell of this sweep")
    return pd.concat(portions, ignore_index=True)


def export(store: Store, path: str | Path) -> int:
    """Write the table of everything in the store as Parquet or CSV, by the suffix, a portion at a time;
    returns the number of rows.

    Raises:
        InputError: another suffix, or a file that cannot be written.
        StoreError: the store has no finished cell, or a damaged one.
    """
    path = arguments.path("path", path)
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"a table is exported as .parquet or .csv, got {path.name!r}")
    require_file(path)
    portions = _portions(store, store.cells())
    first = next(portions, None)
    if first is None:
        raise StoreError(f"the store at {store.path} has no finished cell")
    with beside(path) as temporary:
        rows = (_to_csv if path.suffix == ".csv" else _to_parquet)(temporary, first, portions)
    return rows


def _to_csv(path: Path, first: pd.DataFrame, rest: Iterator[pd.DataFrame]) -> int:
    first.to_csv(path, index=False)
    rows = len(first)
    for portion in rest:
        portion.to_csv(path, index=False, header=False, mode="a")
        rows += len(portion)
    return rows


def _to_parquet(path: Path, first: pd.DataFrame, rest: Iterator[pd.DataFrame]) -> int:
    whole = pa.Table.from_pandas(first, preserve_index=False).replace_schema_metadata(None)
    rows: int = 0
    with pq.ParquetWriter(path, whole.schema, compression="zstd") as writer:
        while True:
            writer.write_table(whole)
            rows += int(whole.num_rows)
            portion = next(rest, None)
            if portion is None:
                return rows
            whole = pa.Table.from_pandas(portion, schema=writer.schema, preserve_index=False)


def _portions(store: Store, cells: Sequence[Cell]) -> Iterator[pd.DataFrame]:
    """Tables of some architectures at a time, in the order of the cells, merged in the order of networks."""
    finished = store.finished()
    by_arch: dict[str, list[Cell]] = {}
    for cell in cells:
        by_arch.setdefault(cell.arch, []).append(cell)
    columns = _columns(list(by_arch))
    groups: list[tuple[dict[str, Any], Statistics]] = []
    for arch, mine in by_arch.items():
        ordered = sorted((cell for cell in mine if cell.key in finished), key=lambda c: (c.seed, c.first))
        if ordered:
            merged = reduce(merge, (store.read(cell.key).statistics for cell in ordered))
            groups.append((columns(arch), merged))
        if len(groups) == PORTION:
            yield estimates(groups)
            groups = []
    if groups:
        yield estimates(groups)


def _columns(archs: Sequence[str]) -> Callable[[str], dict[str, Any]]:
    """Function from an architecture's text form to its leading columns, of the same names and types for
    all."""
    fields = {arch: fields_of(arch) for arch in archs}
    names = list(next(iter(fields.values()), {}))
    shown: dict[str, Callable[[Any], Any]] = {}
    for name in names:
        values = {values[name] for values in fields.values()}
        if name in ALWAYS or len(values) > 1:
            shown[name] = _one_type(values)
    order = [*ALWAYS, *(name for name in shown if name not in ALWAYS)]
    return lambda arch: {"architecture": arch, **{name: shown[name](fields[arch][name]) for name in order}}


def _one_type(values: set[Any]) -> Callable[[Any], Any]:
    """A conversion of values to one type: a number where all are numbers or absent, else text."""
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and kinds <= {str, int, float, bool}:
        return lambda value: value
    if kinds <= {int, float, type(None)}:
        return lambda value: float("nan") if value is None else float(value)
    return str
