"""What people and programs leave in the folder of a store is named, moved aside where it is a cell, and
computed anew."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from measures import draw
from test_store import filled, specification

from spannorm_theory.base.errors import InputError, StoreError
from spannorm_theory.cli.main import main
from spannorm_theory.sweeps.cells import Cell, Specification
from spannorm_theory.sweeps.records import read_record, whole
from spannorm_theory.sweeps.store.export import export, sweep_table
from spannorm_theory.sweeps.store.manifest import Manifest
from spannorm_theory.sweeps.store.store import FOLDERS, DamagedCellError, Store

pytestmark = pytest.mark.exact
DEEP = "[" * 100_000
NOT_CELLS = {
    "a folder": lambda path: path.mkdir(),
    "a folder with a file": lambda path: (path.mkdir(), (path / "thesis").write_text("precious")),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("kind", NOT_CELLS)
def test_no_file_in_the_place_of_a_cell(kind, tmp_path):
    result = filled(tmp_path / "store")
    expected, key = result.table, result.cells[1].key
    path = result.store.cell_path(key)
    path.unlink()
    NOT_CELLS[kind](path)
    for use in (
        lambda: result.store.read(key),
        lambda: sweep_table(result.store, result.cells),
        lambda: export(result.store, tmp_path / "out.csv"),
    ):
        with pytest.raises(DamagedCellError, match=f"{key}.*it is (not a file|a link to nothing)"):
            use()
    assert not (tmp_path / "out.csv").exists()
    again = filled(tmp_path / "store")
    assert (again.computed, again.skipped) == (1, len(again.cells) - 1)
    (aside,) = again.damaged
    assert os.path.lexists(aside)
    assert str(aside) in again.summary()
    assert again.table.equals(expected)


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("mine"), lambda path: path.symlink_to("nowhere")]
)
def test_no_folder_in_the_place_of_one(name, make, tmp_path):
    result = filled(tmp_path / "store")
    folder = tmp_path / "store" / name
    folder.rename(tmp_path / name)
    make(folder)
    with pytest.raises(
        StoreError, match=f"{name} is (a file|a link to nothing), where a store has a folder; move"
    ):
        filled(tmp_path / "store")
    if name in ("cells", "specifications"):
        with pytest.raises(StoreError, match="where a store has a folder"):
            Store(tmp_path / "store").status()
    folder.unlink()
    (tmp_path / name).rename(folder)
    assert filled(tmp_path / "store").table.equals(result.table)


def changed(**entries):
    return lambda text: json.dumps({**json.loads(text), **entries})


MANIFESTS = {
    "is nested too deeply": lambda text: DEEP,
    "is not JSON": lambda text: text[:-4],
    "is not a table of entries": lambda text: "[1]",
    "its chunk cannot be 0": changed(chunk=0),
    "its chunk cannot be '4'": changed(chunk="4"),
    "its chunk cannot be True": changed(chunk=True),
    "its chunk cannot be 4.0": changed(chunk=4.0),
    "its dtype cannot be 'float8'": changed(dtype="float8"),
    "its engine cannot be a list of 1 entries": changed(engine=["auto"]),
    "its format cannot be '1'": changed(format="1"),
    "its version cannot be None": changed(version=None),
    "it has no chunk": lambda text: text.replace("chunk", "chonk"),
    "it has 'more'": changed(more=1),
}


@pytest.mark.parametrize("message", MANIFESTS)
def test_a_damaged_manifest_is_named(message, tmp_path):
    filled(tmp_path / "store")
    path = tmp_path / "store" / "manifest.json"
    path.write_text(MANIFESTS[message](path.read_text()))
    for use in (Store, filled):
        with pytest.raises(StoreError, match=message) as caught:
            use(tmp_path / "store")
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


SPECIFICATIONS = {
    "nested too deeply": lambda text: DEEP,
    "its chunk cannot be 0": changed(chunk=0),
    "its networks cannot be '8'": changed(networks="8"),
    "its seeds cannot be": changed(seeds=[0.5]),
    "its archs cannot be": changed(archs="pre-norm"),
    "its content is not what its name says": changed(networks=10**9),
}


@pytest.mark.parametrize("message", SPECIFICATIONS)
def test_a_damaged_specification_is_named_and_its_sweep_writes_it_anew(message, tmp_path, capsys):
    result = filled(tmp_path / "store")
    (path,) = (tmp_path / "store" / "specifications").iterdir()
    whole_text = path.read_text()
    path.write_text(SPECIFICATIONS[message](whole_text))
    for job in (["--status"], ["--export", str(tmp_path / "out.csv")]):
        assert main(["sweep", "--store", str(tmp_path / "store"), *job]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert str(path) in error
    again = filled(tmp_path / "store")
    assert again.computed == 0
    assert path.read_text() == whole_text
    assert len(list((tmp_path / "store" / "damaged").iterdir())) == 1
    assert Store(tmp_path / "store").cells() == result.cells


FAILURES = {
    "deep": lambda path, text: path.write_text(DEEP),
    "of other types": lambda path, text: path.write_text('{"cell": 3, "error": [], "details": {}}'),
    "of another cell": lambda path, text: path.write_text(text),
    "a folder": lambda path, text: path.mkdir(),
    "a link to nothing": lambda path, text: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_damaged_record_of_a_failure_is_no_failure(kind, tmp_path):
    def failing(cells):
        raise RuntimeError("no such luck")

    first = filled(tmp_path / "store", specification((1,), 4), failing)
    (failure,) = first.failures
    text = (tmp_path / "store" / "failed" / f"{failure.cell.key}.json").read_text()
    other = specification((2,), 4)
    (cell,) = other.cells()
    path = tmp_path / "store" / "failed" / f"{cell.key}.json"
    FAILURES[kind](path, text)
    assert [f.cell for f in first.store.failures()] == [failure.cell]
    assert filled(tmp_path / "store", other).computed == 1
    assert filled(tmp_path / "store", specification((1,), 4), retry_failed=True).computed == 1
    assert not (tmp_path / "nowhere").exists()


def test_no_file_in_the_place_of_a_claim(tmp_path):
    spec = specification()
    folder, cell = Store.create(tmp_path / "store", spec).path / "claims", spec.cells()[0]
    (folder / cell.key).mkdir()
    (folder / spec.cells()[1].key).symlink_to(tmp_path / "elsewhere")
    assert filled(tmp_path / "store").passed
    assert not (tmp_path / "elsewhere").exists()
    assert not list(folder.iterdir())


def test_texts_are_read_strictly():
    spec = specification()
    cell = spec.cells()[0]
    assert Specification.parse(spec.text) == spec
    for entries in (
        {"seed": "0"},
        {"seed": 0.0},
        {"count": 0},
        {"first": -1},
        {"dtype": "float8"},
        {"more": 1},
    ):
        text = json.dumps({**json.loads(cell.text), **entries}, sort_keys=True, separators=(",", ":"))
        with pytest.raises(InputError, match="expected the text form of a cell"):
            Cell.parse(text)
    with pytest.raises(InputError, match="expected the text form of a cell"):
        Cell.parse(DEEP)
    with pytest.raises(ValueError, match=r"its n cannot be '9+\.\.\."):
        read_record(json.dumps({"n": "9" * 1000}), {"n": whole(1)})


def test_what_a_run_computed_is_told_from_what_others_did(tmp_path):
    """Another sweep finishes half of the cells while this one runs."""
    spec, other, calls = specification((1, 2)), specification((2,)), []

    def measure(cells):
        calls.append(cells)
        if len(calls) == 1:
            assert filled(tmp_path / "store", other).computed == 2
        return draw(cells)

    result = filled(tmp_path / "store", spec, measure)
    assert (result.skipped, result.computed, result.shared) == (0, 2, 2)
    assert "2 computed in" in result.summary()
    assert "2 by other processes meanwhile, 0 failed" in result.summary()
    again = filled(tmp_path / "store", spec)
    assert (again.skipped, again.computed, again.shared) == (4, 0, 0)


def test_manifests_of_one_store_are_written_once(tmp_path):
    store = filled(tmp_path / "store").store
    before = (store.path / "manifest.json").read_bytes()
    Manifest.write(store.path, {**store.protocol, "chunk": 7})
    assert (store.path / "manifest.json").read_bytes() == before


def test_two_exports_to_one_file_at_once(tmp_path):
    result = filled(tmp_path / "store")
    path, alone = tmp_path / "out.csv", tmp_path / "alone.csv"
    rows = export(result.store, alone)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: export(Store(tmp_path / "store"), path), range(8))) == [rows] * 8
    assert path.read_bytes() == alone.read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {"store", "out.csv", "alone.csv"}
