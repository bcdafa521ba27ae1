"""The bench of sweeps: its tables, and the scheduler's limits."""

import json

import pytest

from spannorm_theory.bench import sweeps
from spannorm_theory.cli import main


def test_tables(capsys, monkeypatch):
    monkeypatch.setattr(sweeps, "BASE", {"depth": 1, "width": 16, "heads": 2, "tokens": 4})
    monkeypatch.setattr(sweeps, "GROWTH", {"depth": (1, 2), "width": (16, 32)})
    monkeypatch.setattr(sweeps, "pool_cost", lambda cells: sweeps.store_cost((2,))[["cells"]])
    assert main(["bench", "--sweep", "--quick", "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"sweep cost", "sweep store", "sweep pool", "sweep scale"}
    assert all(row["write"] > 0 for row in found["sweep store"])
    assert {row["machine"] for row in found["sweep scale"]} == set(sweeps.MACHINES)


@pytest.mark.exact
def test_the_simulated_schedule_has_its_three_limits():
    def total(**changes):
        return sweeps.simulate_schedule(**{**STANDARD, **changes})

    STANDARD = {"cells": 1000, "workers": 10, "seconds": 1.0, "dispatch": 0.0, "write": 0.0, "spread": 0.0}
    assert total() == pytest.approx(100)
    assert total(dispatch=0.5) == pytest.approx(500 + 1, rel=1e-6)  # the scheduler
    assert total(write=0.7) == pytest.approx(700 + 1, rel=1e-2)  # the store
    assert total(spread=0.5) == pytest.approx(100, rel=0.1)
    assert total(workers=5000) == pytest.approx(1)
