"""kill -9 at random moments, of the parent or of a worker: nothing is lost, nothing finished is done again.

The default is two kills on stand-in cells; SPANNORM_KILLS=20 takes twenty, and SPANNORM_MEASURE=simulated
takes Monte Carlo.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from measures import simulated, slow
from victim import specification

from spannorm_theory.sweeps.run import run
from spannorm_theory.sweeps.store.export import sweep_table
from spannorm_theory.sweeps.store.store import Store

KILLS = int(os.environ.get("SPANNORM_KILLS", "2"))
MEASURE, DEPTHS, NETWORKS = os.environ.get("SPANNORM_MEASURE", "slow"), 6, 16
MEASURES = {"slow": slow, "simulated": simulated}
CELLS = DEPTHS * NETWORKS // 4


def start(store: Path, log: Path, gate: Path | None = None) -> subprocess.Popen:
    """A sweep in a process of its own; its last cell waits until there is a file at ``gate``."""
    command = [
        sys.executable,
        str(Path(__file__).parent / "victim.py"),
        str(store),
        MEASURE,
        str(DEPTHS),
        str(NETWORKS),
    ]
    env = {**os.environ, "SWEEP_LOG": str(log)}
    if gate is not None:
        last = specification(DEPTHS, NETWORKS).cells()[-1]
        env |= {"SWEEP_GATE": str(gate), "SWEEP_HELD": last.key}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE)


def begun(log: Path) -> list[str]:
    words = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [key for word, key in words if word == "start"]


def wait_until(condition, seconds=600.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    with ThreadPoolExecutor(4) as pool:
        store = tmp_path_factory.mktemp("whole") / "store"
        return run(
            specification(DEPTHS, NETWORKS), store, pool, measure=MEASURES[MEASURE], progress=False
        ).table


@pytest.mark.exact
@pytest.mark.parametrize("number", range(KILLS))
def test_a_kill_loses_nothing(number: int, tmp_path: Path, expected) -> None:
    rng = random.Random(1000 + number)
    store, log, parent_dies = tmp_path / "store", tmp_path / "log", number % 2 == 0
    gate = tmp_path / "gate"
    process = start(store, log, gate)
    moment = rng.randrange(CELLS)
    wait_until(lambda: len(list(store.glob("cells/*.parquet"))) >= moment and begun(log))
    time.sleep(rng.random() * 0.1)
    workers = [
        child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]
    finished, before = {path.stem for path in store.glob("cells/*.parquet")}, len(begun(log))
    if parent_dies:
        process.kill()
        process.communicate()
        _, alive = psutil.wait_procs(workers, timeout=120)
        assert not alive  # no orphan keeps working
        process = start(store, log, gate)
    else:
        rng.choice(workers).send_signal(signal.SIGKILL)
    gate.touch()
    _, error = process.communicate(timeout=900)
    assert process.returncode == 0, error.decode()
    starts = begun(log)
    again = set(starts[before:])
    # a cell may have been written, but not yet begun again, between the listing and the kill
    assert not again & finished
    assert len(starts) <= CELLS + 2
    assert len(set(starts)) == CELLS
    table = sweep_table(Store(store), specification(DEPTHS, NETWORKS).cells())
    assert table.equals(expected)
    assert not list(store.glob("claims/*"))
    assert not list(store.glob("cells/*.tmp"))


@pytest.mark.exact
def test_two_sweeps_of_one_store_share_the_work(tmp_path: Path, expected) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    both = [start(store, log) for _ in range(2)]
    for process in both:
        _, error = process.communicate(timeout=900)
        assert process.returncode == 0, error.decode()
    assert sorted(begun(log)) == sorted(cell.key for cell in specification(DEPTHS, NETWORKS).cells())
    assert sweep_table(Store(store), specification(DEPTHS, NETWORKS).cells()).equals(expected)


@pytest.mark.exact
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, expected, monkeypatch) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    process = start(store, log, tmp_path / "gate")
    wait_until(lambda: len(list(store.glob("cells/*.parquet"))) >= 3)
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=300)
    assert b"cells computed are kept" in error
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive
    finished = {path.stem for path in store.glob("cells/*.parquet")}
    before = len(begun(log))
    monkeypatch.setenv("SWEEP_LOG", str(log))
    with ThreadPoolExecutor(4) as pool:
        result = run(specification(DEPTHS, NETWORKS), store, pool, measure=MEASURES[MEASURE], progress=False)
    assert not set(begun(log)[before:]) & finished
    assert result.table.equals(expected)
