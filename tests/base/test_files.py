"""Files are whole or absent, whatever happens while they are written; what cannot be written is refused."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from spannorm_theory.base.errors import InputError
from spannorm_theory.base.files import beside, make_folder, require_file, require_folder, write_file


@contextmanager
def full_disk(size: int = 1000) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "table.csv", "the earlier one")
    with full_disk(), pytest.raises(InputError, match=r"cannot write .*table.csv: File too large"):
        write_file(path, "x" * 5000)
    assert path.read_text() == "the earlier one"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_or_interrupt_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "table.csv", "the earlier one")
    for error in (KeyboardInterrupt, ValueError):
        with suppress(error), beside(path) as temporary:
            temporary.write_text("half")
            raise error
    assert path.read_text() == "the earlier one"
    assert list(tmp_path.iterdir()) == [path]


def test_the_next_run_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a+b.csv"
    code = (
        "import os, signal, sys\nfrom spannorm_theory.base.files import beside\n"
        "with beside(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half"
    mine = tmp_path / "a+b.csv.mine.tmp"  # not of the form that this program gives
    mine.write_text("")
    with beside(path) as ours:
        assert not left.exists()
        write_file(path, "another, meanwhile")
        assert ours.exists()
        ours.write_text("whole")
    assert path.read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == [path, mine]


def test_links_modes_and_devices_stay(tmp_path: Path) -> None:
    target = write_file(tmp_path / "target", "old")
    target.chmod(0o600)
    link = tmp_path / "link"
    link.symlink_to(target)
    write_file(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600
    write_file("/dev/null", "anything")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(InputError, match="cannot write /dev/full: No space left"):
        write_file("/dev/full", "anything")


@pytest.mark.parametrize("check", [require_file, require_folder])
def test_what_cannot_be_written_is_refused_before_any_work(check, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bad = {tmp_path / "file" / "x": "(N|n)ot a directory|is a file|no folder", Path("/proc/x"): "."}
    bad |= {tmp_path / ("x" * 300): "name too long"}
    bad |= (
        {tmp_path: "it is a folder", tmp_path / "none" / "x": "there is no folder"}
        if check is require_file
        else {tmp_path / "file": "it is a file"}
    )
    for path, why in bad.items():
        with pytest.raises(InputError, match=f"cannot write .*({why})"):
            check(path)
    there = tmp_path / "file" if check is require_file else tmp_path / "a" / "b"
    for good in (None, tmp_path / "new", there):
        check(good)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it is a file"):
        make_folder(tmp_path / "file")
    assert make_folder(tmp_path / "a" / "b").is_dir()


def test_every_file_and_every_json_is_written_in_one_place() -> None:
    """The pipe to the workers of the benchmark is no file, and staging folders are renamed as a whole."""
    package = Path(__file__).parents[2] / "spannorm_theory"
    own = re.compile(r"\.write_text\(|\.write_bytes\(|\.to_json\(|json\.dump|\.to_csv\((folder|path|out)\b")
    allowed = {"base/files.py", "base/jsontext.py", "bench/worker.py", "bench/speed.py"}
    allowed |= {
        os.fspath(p.relative_to(package)) for p in (package / "sweeps").rglob("*.py")
    }  # its own forms
    found = {
        os.fspath(path.relative_to(package))
        for path in package.rglob("*.py")
        if own.search(re.sub(r"files\.write_bytes\(", "", path.read_text()))
    }
    assert found <= allowed, json.dumps(sorted(found - allowed))


def test_many_writers_of_one_file(tmp_path):
    """A writer's own file, made and not yet locked, is not taken for left over by another."""
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda _: write_file(tmp_path / "one", "text"), range(2000)))
    assert written == [tmp_path / "one"] * 2000
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
