"""Values of a training monitor at step 0."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spannorm_theory import Architecture, expected, predict
from spannorm_theory.base.jsontext import to_json
from spannorm_theory.cli.main import main

ARCH = Architecture(
    "siamese-norm",
    depth=3,
    width=64,
    heads=4,
    tokens=8,
    inputs="uniform",
    vocabulary=99,
    loss="cross-entropy",
)


@pytest.mark.exact
def test_expected_values_are_those_of_predict_as_norms(capsys: pytest.CaptureFixture[str]) -> None:
    values = ARCH.expected()
    assert json.loads(to_json(values)) == values == expected(str(ARCH))
    table = predict(ARCH).set_index(["quantity", "stream"])["value"]
    for name in ("loss", "logit_second_moment", "global_grad_norm"):
        assert values[name] == pytest.approx(table.loc[name, "output"].item(), rel=1e-12)
    for stream in ("0", "1"):
        np.testing.assert_allclose(values["branch_share"][stream], table.loc["branch_share", stream])
        norms = np.sqrt(table.loc["grad_variance", stream] * 64 * 8)
        np.testing.assert_allclose(values["grad_norm"][stream], norms)
    norms = np.sqrt(table.loc["weight_grad_norm", "ffn.down"])
    np.testing.assert_allclose(values["matrix_grad_norm"]["ffn.down"], norms)
    assert Architecture.parse(values["architecture"]) == ARCH
    fields = ["--depth", "3", "--width", "64", "--heads", "4", "--tokens", "8", "--inputs", "uniform"]
    assert main(["expected", "siamese-norm", *fields, "--vocabulary", "99", "--loss", "cross-entropy"]) == 0
    assert json.loads(capsys.readouterr().out) == values


def test_no_loss_is_expected_without_a_head_and_nothing_where_nothing_is_predicted() -> None:
    values = expected(ARCH.with_(loss="probe", tokens=64))
    assert "loss" not in values
    assert values["matrix_grad_norm"]["attn.value"] == [None] * 3  # many ids repeat
