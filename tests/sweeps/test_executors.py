"""The default pool, Dask, submitit and MPI give one and the same table, through the command."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from spannorm_theory.base.jsontext import to_json
from spannorm_theory.cli.main import main
from spannorm_theory.sweeps import executors
from spannorm_theory.sweeps.cells import read_specification
from spannorm_theory.sweeps.pools import IN_FLIGHT, cores, room
from spannorm_theory.sweeps.run import run

SPEC = """
networks = 8
chunk = 2
device = "cpu"
[grid]
placement = ["pre-norm", "span-norm"]
depth = 2
width = 16
heads = 2
tokens = 4
"""
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture(autouse=True)
def _workers_find_the_package(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def sweep(spec, tmp_path, capsys):
    def swept(*options):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            store = str(tmp_path / "store")
            assert main(["sweep", str(spec), "--store", store, "--quiet", "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    return swept


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    (folder / "spec.toml").write_text(SPEC)
    result = run(read_specification(folder / "spec.toml"), folder / "store", workers=2, progress=False)
    assert result.computed == len(result.cells) == 8
    return json.loads(to_json(result.table))


@pytest.mark.exact
def test_dask_with_workers_of_its_own(sweep, expected):
    pytest.importorskip("distributed")
    assert sweep("--executor", "dask", "--workers", "2") == expected


@pytest.mark.exact
def test_dask_at_an_address(sweep, expected):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        assert sweep("--executor", "dask", "--address", cluster.scheduler_address) == expected


@pytest.mark.exact
def test_submitit_without_slurm(sweep, expected, tmp_path):
    pytest.importorskip("submitit")
    assert sweep("--executor", "submitit", "--job", "timeout_min=5", "--bundle", "4") == expected
    assert list((tmp_path / "store-jobs").glob("*_log.out"))


@pytest.mark.exact
def test_submitit_in_this_process(spec, expected, tmp_path):
    submitit = pytest.importorskip("submitit")
    executor = submitit.AutoExecutor(folder=tmp_path / "log", cluster="debug")
    result = run(read_specification(spec), tmp_path / "store", executor, progress=False)
    assert json.loads(to_json(result.table)) == expected


@pytest.mark.exact
@pytest.mark.skipif(shutil.which("mpiexec") is None, reason="needs mpiexec")
def test_mpi(spec, expected, tmp_path):
    pytest.importorskip("mpi4py")
    command = [
        "sweep",
        str(spec),
        "--store",
        str(tmp_path / "store"),
        "--executor",
        "mpi",
        "--quiet",
        "--json",
    ]
    found = subprocess.run(
        ["mpiexec", "-n", "2", sys.executable, "-m", "spannorm_theory", *command],
        check=True,
        capture_output=True,
    )
    assert json.loads(found.stdout) == expected


@pytest.mark.exact
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executor", "dsk"], "did you mean dask?"),
        (["--executor", "dask", "--address", "tcp://127.0.0.1:1"], "cannot reach a Dask scheduler at tcp:"),
        (["--executor", "dask", "--address", "tcp://127.0.0.1:1", "--workers", "2"], "has its own"),
        (["--address", "tcp://127.0.0.1:1"], "--address is an option of --executor dask, not of pool"),
        (["--executor", "submitit", "--workers", "2"], "--workers is an option of --executor pool, dask"),
        (["--executor", "submitit", "--job", "minutes"], "--job takes KEY=VALUE, got 'minutes'"),
        (["--executor", "submitit", "--job", "slrum_partition=x"], "submitit says: Unknown executor 'slrum'"),
        (["--executor", "dask", "--workers", "0"], "workers must be an integer of at least 1, got 0"),
    ],
)
def test_what_an_executor_cannot_take_is_said(options, message, spec, tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed")
    pytest.importorskip("submitit")
    monkeypatch.setattr(executors, "ANSWER", 0.2)
    assert main(["sweep", str(spec), "--store", str(tmp_path / "store"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.exact
@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("dask", "distributed", "dask"), ("submitit", "submitit", "slurm"), ("mpi", "mpi4py", "mpi")],
)
def test_a_missing_extra_is_named(name, module, extra, spec, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["sweep", str(spec), "--executor", name]) == 2
    error = capsys.readouterr().err
    assert f"this executor needs {module} (" in error
    assert f"pip install 'spannorm_theory[{extra}]'" in error


@pytest.mark.exact
def test_processes_that_submitit_starts_at_once_are_no_more_than_cores():
    class Executor:
        def __init__(self, cluster):
            self.cluster = cluster

    assert room(Executor("local")) == cores()
    assert room(Executor("slurm")) == room(object()) == IN_FLIGHT
