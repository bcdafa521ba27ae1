"""What a store refuses, mends and merges, and that it is unharmed by what goes wrong."""

import errno
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from measures import draw

from spannorm_theory import Architecture, __version__
from spannorm_theory.base.errors import InputError, StoreError
from spannorm_theory.montecarlo.statistics import summarise
from spannorm_theory.sweeps.cells import grid, specify
from spannorm_theory.sweeps.run import run
from spannorm_theory.sweeps.store import files
from spannorm_theory.sweeps.store import store as store_module
from spannorm_theory.sweeps.store.cellfile import MARK, read_cell
from spannorm_theory.sweeps.store.export import export, sweep_table
from spannorm_theory.sweeps.store.manifest import FORMAT
from spannorm_theory.sweeps.store.store import DamagedCellError, Store

SMALL = {"width": 16, "heads": 2, "tokens": 4}


def specification(depths=(1, 2), networks=8, **options):
    return specify(
        grid({"placement": "pre-norm", "depth": list(depths), **SMALL}),
        networks=networks,
        chunk=4,
        device="cpu",
        **options,
    )


def filled(path, spec=None, measure=draw, **options):
    with ThreadPoolExecutor(1) as pool:
        return run(spec or specification(), path, pool, measure=measure, progress=False, **options)


def snapshot(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(Path(path).rglob("*")) if p.is_file()}


@pytest.mark.exact
def test_a_file_gives_back_what_was_written(tmp_path):
    result = filled(tmp_path / "store")
    for cell in result.cells:
        found = result.store.read(cell.key)
        expected = summarise(draw([cell])[0])
        assert found.cell == cell
        for name, column in vars(expected).items():
            np.testing.assert_array_equal(getattr(found.statistics, name), column)
        assert set(found.info) == {"version", "host", "seconds", "run", "device"}


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    path.write_bytes(b"")


def flip(path):
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


def alter(path):
    table = pq.ParquetFile(path).read()
    column = pa.array(table["mean"].to_numpy() + 1e-9)
    pq.write_table(table.set_column(table.schema.get_field_index("mean"), "mean", column), path)


def blank(path):
    table = pq.ParquetFile(path).read()
    column = pa.array([None] * len(table), pa.float64())
    pq.write_table(table.set_column(table.schema.get_field_index("mean"), "mean", column), path)


def other_columns(path):
    table = pq.ParquetFile(path).read()
    pq.write_table(table.drop_columns(["m2"]), path)


def no_mark(path):
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata(None), path)


def odd_mark(path):
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata({MARK: b'{"cell": 3}'}), path)


def exchange(path):
    (other,) = [p for p in path.parent.glob("*.parquet") if p != path][:1]
    shutil.copy(other, path)


@pytest.mark.exact
@pytest.mark.parametrize(
    "damage", [truncate, empty, flip, alter, blank, other_columns, no_mark, odd_mark, exchange]
)
def test_a_damaged_file_is_named_moved_aside_and_made_anew(damage, tmp_path):
    result = filled(tmp_path / "store")
    expected, key = result.table, result.cells[1].key
    path = result.store.cell_path(key)
    content = path.read_bytes()
    damage(path)
    with pytest.raises(DamagedCellError, match=key):
        read_cell(path, key)
    with pytest.raises(StoreError, match="damaged"):
        sweep_table(result.store, result.cells)
    again = filled(tmp_path / "store")
    assert again.computed == 1
    assert again.skipped == len(again.cells) - 1
    (aside,) = again.damaged
    assert aside.exists()
    assert str(aside) in again.summary()
    assert aside.read_bytes() != content
    assert again.table.equals(expected)


def test_a_newer_store_is_left_alone(tmp_path):
    filled(tmp_path / "store")
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_text(
        json.dumps({**json.loads(manifest.read_text()), "format": FORMAT + 1, "version": "9.0"})
    )
    before = snapshot(tmp_path / "store")
    for use in (Store, lambda path: filled(path)):
        with pytest.raises(StoreError, match=rf"has format {FORMAT + 1}, written by spannorm_theory 9\.0"):
            use(tmp_path / "store")
    assert snapshot(tmp_path / "store") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunk": 2}, "has chunk=4, not 2"),
        ({"dtype": "float64"}, "dtype=float32"),
        ({"engine": "explicit"}, "engine=auto"),
    ],
)
def test_cells_that_could_overlap_are_refused(change, message, tmp_path):
    filled(tmp_path / "store")
    before = snapshot(tmp_path / "store")
    options = {"chunk": 4, **change}
    spec = specify([Architecture("pre-norm", depth=1, **SMALL)], networks=8, device="cpu", **options)
    with pytest.raises(StoreError, match=message):
        filled(tmp_path / "store", spec)
    assert snapshot(tmp_path / "store") == before


def test_another_version_of_the_package_is_refused(tmp_path):
    filled(tmp_path / "store")
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"{__version__}"', '"0.0.9"'))
    with pytest.raises(StoreError, match=r"made by spannorm_theory 0\.0\.9"):
        filled(tmp_path / "store")
    assert len(Store(tmp_path / "store").finished()) == 4  # reading is fine


def test_folders_that_are_no_stores(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="holds something else"):
        filled(tmp_path / "mine")
    with pytest.raises(StoreError, match="it is a file"):
        filled(tmp_path / "mine" / "thesis.tex")
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        Store(tmp_path / "mine")
    (tmp_path / "mine" / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="is not a manifest"):
        Store(tmp_path / "mine")
    assert {p.name for p in (tmp_path / "mine").iterdir()} == {"thesis.tex", "manifest.json"}


def test_processes_may_make_one_store_at_once(tmp_path, monkeypatch):
    listing = store_module.entries

    def beaten(folder):  # between the look for a manifest and the look at the rest, another process is faster
        monkeypatch.setattr(store_module, "entries", listing)
        Store.create(folder, specification())
        return listing(folder)

    monkeypatch.setattr(store_module, "entries", beaten)
    (tmp_path / "store").mkdir()
    assert Store.create(tmp_path / "store", specification()).specifications() == [specification()]


def test_a_store_whose_maker_died_halfway_can_be_made(tmp_path):
    (tmp_path / "manifest.json.0123456789ab.tmp").write_text("{")
    assert filled(tmp_path).passed


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs users, as root may write anywhere")
def test_a_read_only_folder():
    parent = Path(tempfile.mkdtemp())
    try:
        filled(parent / "store")
        before = snapshot(parent / "store")
        for path in [parent, *parent.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)  # root may write anywhere
            with pytest.raises(StoreError, match="Permission denied; finished cells are safe"):
                filled(parent / "store", specification((1, 2, 3)))
        finally:
            os.seteuid(user)
        assert snapshot(parent / "store") == before
    finally:
        for path in [parent, *(p for p in parent.rglob("*") if p.is_dir())]:
            path.chmod(0o755)
        shutil.rmtree(parent)


def test_a_full_disk(tmp_path, monkeypatch):
    first = filled(tmp_path / "store")
    before = snapshot(tmp_path / "store" / "cells")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        whole = files.os.fsync

        def fsync(descriptor):
            return (
                full(descriptor)
                if "cells" in os.readlink(f"/proc/self/fd/{descriptor}")
                else whole(descriptor)
            )

        patch.setattr(files.os, "fsync", fsync)
        with pytest.raises(StoreError, match="No space left on device; finished cells are safe"):
            filled(tmp_path / "store", specification((1, 2, 3)))
    assert snapshot(tmp_path / "store" / "cells") == before
    again = filled(tmp_path / "store", specification((1, 2, 3)))
    assert (again.skipped, again.computed) == (len(first.cells), 2)


@pytest.mark.exact
def test_disjoint_stores_merge_into_the_whole(tmp_path):
    expected = filled(tmp_path / "whole", specification((1, 2, 3))).table
    filled(tmp_path / "a", specification((1, 2)))
    other = filled(tmp_path / "b", specification((2, 3)))
    store = Store(tmp_path / "a")
    assert store.merge(other.store) == 2
    assert store.merge(other.store) == 0  # a merge that was interrupted can be run again
    assert sweep_table(store, specification((1, 2, 3)).cells()).equals(expected)
    status = store.status()
    assert (status.wanted, status.done, status.failed, status.waiting) == (6, 6, 0, 0)


def test_a_conflicting_cell_stops_a_merge(tmp_path):
    def elsewhere(cells):
        samples, used = draw(cells)
        return {key: sample * (1 + 1e-6) for key, sample in samples.items()}, used

    ours = filled(tmp_path / "a", specification((2,)))
    other = filled(tmp_path / "b", specification((1, 2)), elsewhere)
    before = snapshot(tmp_path / "a")
    with pytest.raises(StoreError, match=r"depth=2 .*has other numbers.*nothing was merged"):
        ours.store.merge(other.store)
    assert snapshot(tmp_path / "a") == before
    with pytest.raises(InputError, match="with itself"):
        ours.store.merge(Store(tmp_path / "a"))
    truncate(other.store.cell_path(min(other.store.finished())))
    with pytest.raises(DamagedCellError):
        ours.store.merge(other.store)
    assert snapshot(tmp_path / "a") == before


def test_a_merge_of_other_chunks_is_refused(tmp_path):
    ours = filled(tmp_path / "a")
    spec = specify([Architecture("pre-norm", depth=1, **SMALL)], networks=8, chunk=8, device="cpu")
    with pytest.raises(StoreError, match="chunk"):
        ours.store.merge(filled(tmp_path / "b", spec).store)


@pytest.mark.exact
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_export_is_the_table(suffix, tmp_path, monkeypatch):
    import pandas as pd

    import spannorm_theory.sweeps.store.export as module

    monkeypatch.setattr(module, "PORTION", 2)
    archs = [
        *grid(
            {"placement": ["pre-norm", "post-norm"], "init": ["fan-in", 0.5], "logit_variance": 2.0, **SMALL}
        ),
        Architecture("pre-norm"),
    ]
    result = filled(tmp_path / "store", specify(archs, networks=4, device="cpu"))
    path = tmp_path / f"out.{suffix}"
    assert export(result.store, path) == len(result.table)
    found = pd.read_csv(path, dtype={"stream": str}) if suffix == "csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(found, result.table, check_dtype=False, rtol=1e-14)
    assert {"init", "logit_variance", "architecture", "heads"} <= set(found)
    assert "mask" not in found
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith("tmp")] == []
    with pytest.raises(InputError, match=r"\.parquet or \.csv"):
        export(result.store, tmp_path / "out.xlsx")
    with pytest.raises(InputError, match="cannot write"):
        export(result.store, tmp_path / "no" / "out.csv")


def test_claims_exclude_each_other_and_end_with_their_owner(tmp_path):
    store = Store.create(tmp_path / "store", specification())
    with store.claim("a") as mine, store.claim("a") as other, store.claim("b") as another:
        assert (mine, other, another) == (True, False, True)
        assert f"process {os.getpid()}" in store.owner("a")
        assert set(store.status().running) == {"a", "b"}
    assert store.owner("a") is None
    assert not store.abandoned("a")
    with pytest.raises(ZeroDivisionError), store.claim("a"):
        1 / 0  # noqa: B018
    assert store.abandoned("a")
    Store.create(tmp_path / "store", specification())
    assert not store.abandoned("a")


def test_unfinished_files_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    spec = specification()
    store = Store.create(tmp_path / "store", spec)
    dead, alive = (store.cell_path(key).with_suffix(".parquet.0.tmp") for key in ("a", "b"))
    dead.touch()
    alive.touch()
    with store.claim("b"):
        Store.create(tmp_path / "store", spec)
        assert not dead.exists()
        assert alive.exists()
    store.tidy_up()
    assert not alive.exists()
