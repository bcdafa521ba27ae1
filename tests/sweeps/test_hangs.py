"""Cells that hang, and workers of clusters that are killed: the rest goes on, and nothing is lost."""

import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from measures import draw, hanging, slow
from test_store import specification

from spannorm_theory.base.errors import InputError, StoreError
from spannorm_theory.cli.main import main
from spannorm_theory.sweeps.run import run

pytestmark = pytest.mark.exact
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _workers_find_the_measures(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


def test_a_cell_that_hangs_fails_and_the_rest_is_measured(tmp_path):
    spec = specification((1, 2, 3), 4)
    start = time.monotonic()
    result = run(spec, tmp_path / "s", workers=2, measure=hanging, progress=False, cell_timeout=1)
    assert time.monotonic() - start < 120
    (failure,) = result.failures
    assert "depth=3" in failure.cell.arch
    assert failure.error == "took longer than the 1 s of cell_timeout"
    assert result.computed == 2
    again = run(
        spec, tmp_path / "s", workers=1, measure=draw, progress=False, retry_failed=True, cell_timeout=60
    )
    assert (again.passed, again.computed) == (True, 1)


def test_a_time_limit_does_not_end_the_process_of_the_sweep(tmp_path):
    with ThreadPoolExecutor(1) as pool, pytest.raises(StoreError, match="take one that starts processes"):
        run(specification(), tmp_path / "s", pool, measure=hanging, progress=False, cell_timeout=1)


def test_an_executor_of_processes_ends_with_a_cell_that_hangs_and_the_next_goes_on(tmp_path):
    spec = specification((1, 3), 4)
    with ProcessPoolExecutor(1) as pool, pytest.raises(StoreError, match="finished cells are safe"):
        run(spec, tmp_path / "s", pool, measure=hanging, progress=False, cell_timeout=1)
    with ProcessPoolExecutor(1) as pool:
        result = run(spec, tmp_path / "s", pool, measure=hanging, progress=False, cell_timeout=1)
    assert [failure.error for failure in result.failures] == ["took longer than the 1 s of cell_timeout"]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "5", 1e300])
def test_a_time_limit_is_a_positive_number(seconds, tmp_path):
    with pytest.raises(InputError, match="cell_timeout must be a positive number of seconds"):
        run(specification(), tmp_path / "s", cell_timeout=seconds, progress=False)
    assert not (tmp_path / "s").exists()


def test_the_command_has_a_time_limit(tmp_path, capsys):
    (tmp_path / "spec.toml").write_text("networks = 2\n[grid]\nplacement = 'pre-norm'\n")
    command = ["sweep", str(tmp_path / "spec.toml"), "--store", str(tmp_path / "s"), "--cell-timeout", "0"]
    assert main(command) == 2
    assert "cell_timeout must be a positive number" in capsys.readouterr().err


def killing(children, store, count):
    """Kill one of the children, found by a function, once so many cells are there; returns the thread."""

    def kill():
        end = time.monotonic() + 120
        while len(list(store.glob("cells/*.parquet"))) < count and time.monotonic() < end:
            time.sleep(0.01)
        for child in children()[:1]:
            child.send_signal(signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def expected(spec, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        return run(spec, tmp_path / "whole", pool, measure=draw, progress=False).table


@pytest.mark.long  # a cluster starts, and one of its workers anew
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("measure", [slow, hanging])
def test_a_dask_worker_is_killed(measure, tmp_path):
    distributed = pytest.importorskip("distributed")
    spec = specification((1, 2, 3), 16)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = [psutil.Process(n.process.pid) for n in cluster.workers.values()]
        thread = killing(lambda: workers, tmp_path / "s", 2)
        result = run(
            spec, tmp_path / "s", client.get_executor(), measure=measure, progress=False, cell_timeout=3
        )
        thread.join()
    if measure is slow:
        assert result.passed
        assert result.computed == 12
        assert result.table.equals(expected(spec, tmp_path))
    else:
        assert [f.error for f in result.failures] == ["took longer than the 3 s of cell_timeout"] * 4
        assert result.computed == 8


@pytest.mark.long  # every job is a Python that starts
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("measure", [slow, hanging])
def test_a_submitit_job_is_killed(measure, tmp_path):
    submitit = pytest.importorskip("submitit")
    spec = specification((1, 2, 3), 8)
    executor = submitit.AutoExecutor(folder=tmp_path / "log", cluster="local")
    executor.update_parameters(timeout_min=5)

    def jobs():
        return [
            child
            for child in psutil.Process().children(recursive=True)
            if "submitit" in " ".join(child.cmdline()) and not child.children()
        ]

    thread = killing(jobs, tmp_path / "s", 1)
    result = run(spec, tmp_path / "s", executor, bundle=2, measure=measure, progress=False, cell_timeout=5)
    thread.join()
    if measure is slow:
        assert result.passed
        assert result.table.equals(expected(spec, tmp_path))
    else:
        assert [f.error for f in result.failures] == ["took longer than the 5 s of cell_timeout"] * 2
