"""The default pool, a Dask cluster and submitit's local executor give one and the same table."""

import os
import warnings
from pathlib import Path

import pytest

from spannorm_theory.sweeps.cells import grid, specify
from spannorm_theory.sweeps.run import run

SMALL = {"depth": 2, "width": 16, "heads": 2, "tokens": 4}
SPEC = specify(grid({"placement": ["pre-norm", "span-norm"], **SMALL}), networks=8, chunk=2, device="cpu")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    result = run(SPEC, tmp_path_factory.mktemp("pool") / "store", workers=2, progress=False)
    assert result.computed == len(result.cells) == 8
    return result.table


@pytest.mark.exact
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_dask(expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        result = run(SPEC, tmp_path / "store", client.get_executor(), progress=False)
    assert result.computed == 8
    assert result.table.equals(expected)


@pytest.mark.exact
@pytest.mark.parametrize("cluster", ["local", "debug"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_submitit(cluster, expected, tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )
    executor = submitit.AutoExecutor(folder=tmp_path / "log", cluster=cluster)
    executor.update_parameters(timeout_min=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(SPEC, tmp_path / "store", executor, bundle=4, progress=False)
    assert result.computed == 8
    assert result.table.equals(expected)
