"""Drift: the mean difference over layers, with the error of a mean over layers that belong together."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import rounded

from spannorm_theory.base.quantities import Key
from spannorm_theory.verification.drift import drift

KEY: Key = ("0", "token_cosine")
NETWORKS, LAYERS = 40, 12


def found(sample: np.ndarray, theory: np.ndarray, allowed: float = 0.0) -> dict[str, float]:
    """The row of one quantity, tested at all layers but the last."""
    left_out = np.arange(LAYERS) == LAYERS - 1
    table = drift({KEY: sample}, {KEY: theory}, None, {KEY: np.full(LAYERS, allowed)}, {KEY: left_out}, 1e-3)
    (row,) = table.to_dict("records")
    return row


@pytest.mark.exact
@pytest.mark.parametrize("together", [0.0, 1.0])
def test_its_error_is_that_of_the_networks_means_over_layers(together: float) -> None:
    """Whether layers fluctuate by themselves or as one."""
    random = np.random.default_rng(0)
    sample = random.standard_normal((NETWORKS, LAYERS)) + 5 * together * random.standard_normal((NETWORKS, 1))
    row, means = found(sample, np.full(LAYERS, 0.3)), sample[:, :-1].mean(axis=1)
    assert row["layers"] == LAYERS - 1
    assert row["difference"] == rounded(means.mean() - 0.3)
    assert row["se"] == rounded(means.std(ddof=1) / np.sqrt(NETWORKS))
    assert row["z"] == rounded(row["difference"] / row["se"])


@pytest.mark.exact
def test_differences_of_both_signs_cancel_and_those_of_one_do_not() -> None:
    sample = np.random.default_rng(0).standard_normal((NETWORKS, LAYERS))
    signs = np.where(np.arange(LAYERS) % 2, 1.0, -1.0)
    signs[-2] = 0  # of the eleven layers five are above, and five below
    center = sample.mean(axis=0)
    assert abs(found(sample, center + signs)["gate"]) < 1e-9
    assert found(sample, center + np.abs(signs))["gate"] > 1
    assert found(sample, center + np.abs(signs), allowed=1.0)["gate"] < 1
