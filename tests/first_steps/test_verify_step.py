"""Theory of the step against networks: rows of both, and a theory of something else fails."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.first_steps import verify_step as verifying

ARCH = "span-norm depth=2 width=64 heads=2 tokens=6"


@pytest.mark.statistical
def test_every_row_that_networks_have_is_judged() -> None:
    result = st.verify_step(ARCH, "sign", networks=30, progress=False)
    measured = st.first_step(ARCH, "sign", networks=30, progress=False)
    assert len(result.table) == len(measured)
    assert result.passed, result.summary()
    judged = result.table[result.table["verdict"] == "not predicted"]
    assert set(judged["layer"]) == {0}  # the input, which nothing moves


@pytest.mark.statistical
def test_the_theory_of_another_optimiser_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    theory = verifying.predicted
    sign = verifying.optimiser_of("sign")

    def other(arch: Any, rule: Any, rates: Any) -> Any:
        return theory(arch, sign, rates)

    monkeypatch.setattr(verifying, "predicted", other)
    result = st.verify_step(ARCH, "sgd", networks=30, progress=False)
    assert not result.passed
    wrong = set(result.failures["quantity"])
    assert {"loss_slope", "update_ratio", "stream_change"} <= wrong
    assert not wrong & {"grad_l1", "grad_nuclear"}
    assert np.isfinite(result.threshold)
