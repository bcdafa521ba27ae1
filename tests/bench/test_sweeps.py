"""The bench of sweeps: its tables, and the scheduler's limits."""

import json

import pytest
from helpers import rounded

from spannorm_theory.bench import sweeps
from spannorm_theory.bench import work as work_module
from spannorm_theory.bench.work import Work, work
from spannorm_theory.cli.main import main
from spannorm_theory.spec.architecture import Architecture


def test_tables(capsys, monkeypatch):
    monkeypatch.setattr(sweeps, "BASE", {"depth": 1, "width": 16, "heads": 2, "tokens": 4})
    monkeypatch.setattr(sweeps, "GROWTH", {"depth": (1, 2), "width": (16, 32)})
    monkeypatch.setattr(sweeps, "pool_cost", lambda cells: sweeps.store_cost((2,))[["cells"]])
    assert main(["bench", "--sweep", "--quick", "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"sweep cost", "sweep store", "sweep pool", "sweep work", "sweep scale"}
    assert all(row["write"] > 0 for row in found["sweep store"])
    assert {row["machine"] for row in found["sweep scale"]} == set(sweeps.MACHINES)


def test_the_store_adds_less_than_a_twentieth_to_cells_of_a_second():
    store = sweeps.store_cost((100,)).iloc[0]
    assert 0 < store["write"] < 0.05


@pytest.mark.exact
def test_the_model_of_a_gpu_counts_what_one_network_does():
    sizes = {"width": 64, "heads": 2, "tokens": 8}
    one, two = (work(Architecture("pre-norm", depth=depth, **sizes)) for depth in (2, 4))
    assert 1.7 < two.operations / one.operations < 2.1
    assert 1.7 < two.flops / one.flops < 2.1
    assert one.seconds(1000) > one.seconds(1) > work_module.LAUNCH * one.operations


def test_what_limits_a_sweep_is_named():
    asked = Work(operations=10_000, bytes=10**9, flops=10**9)
    found = sweeps.scale("small", 1.5, asked, 0.003, cells=2_000).set_index("machine")
    assert found.loc["laptop, 8 cores", "limit"] == "networks"
    assert found.loc["64 H200, Slurm, 1 a job", "limit"] == "starts"
    assert found.loc["1024 H200, Dask", "limit"] == "store"
    assert (found["simulated h"] >= 0.97 * found["limit h"]).all()


@pytest.mark.exact
def test_the_simulated_schedule_has_its_three_limits():
    def total(**changes):
        return sweeps.simulate_schedule(**{**STANDARD, **changes})

    STANDARD = {"cells": 1000, "workers": 10, "seconds": 1.0, "dispatch": 0.0, "write": 0.0, "spread": 0.0}
    assert total() == rounded(100)
    assert total(dispatch=0.5) == pytest.approx(500 + 1, rel=1e-9)  # the scheduler
    assert total(write=0.7) == pytest.approx(700 + 1, rel=1e-2)  # the store, and ten cells on their way
    assert total(spread=0.5) == pytest.approx(
        100, rel=0.1
    )  # a tenth of the cells are the last of their workers
    assert total(workers=5000) == rounded(1)
