"""``spannorm bench``: exit status, tables and JSON of each study."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from spannorm_theory.bench import accuracy, precision, regimes, resolutions, speed
from spannorm_theory.cli.main import main
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.verification.verification import compare

TINY = ["--width", "32", "--heads", "2", "--tokens", "6", "--depth", "2", "--networks", "3"]


def test_precision(capsys):
    arguments = ["bench", "--precision", "--placements", "pre-norm", "--scalings", "unit", *TINY]
    assert main([*arguments, "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = json.loads(captured.out)["precision"]
    assert {row["dtype"] for row in rows} == set(precision.DTYPES)
    assert main([*arguments, "--quiet"]) == 0
    assert "at_layer" in capsys.readouterr().out


@pytest.mark.long  # half a minute of tables, which the benchmarks page has too
def test_theory(capsys):
    arguments = [
        "bench",
        "--theory",
        "--placements",
        "sub-ln",
        "span-norm",
        "--scalings",
        "unit",
        "wang",
        "keel",
    ]
    assert main([*arguments, "--depth", "40", "--width", "64", "--repeats", "2", "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out)["theory"]
    cells = {(row["placement"], row["experts"]): row["cells"] for row in rows}
    assert cells == {("sub-ln", 1): 2, ("span-norm", 1): 3, ("span-norm", 8): 3}  # sub-ln takes no experts
    for row in rows:
        assert 0 < row["median"] <= row["slowest"]
        assert row["times_prenorm"] > 0
        assert row["scaling"] in arguments


def test_power(capsys):
    """What it says would be rejected is, and half of it is not."""
    arguments = ["--placements", "span-norm", "--scalings", "depth-scaled-init", "--widths", "128"]
    sizes = ["--heads", "4", "--tokens", "8", "--depth", "4", "--networks", "32"]
    assert main(["bench", "--power", *arguments, *sizes, "--json", "--quiet"]) == 0
    rows = {row["quantity"]: row for row in json.loads(capsys.readouterr().out)["power"]}
    least = rows["grad_variance"]["mean"]
    arch = Architecture("span-norm", "depth-scaled-init", depth=4, width=128, heads=4, tokens=8)
    ensemble, theory = simulate(arch, networks=32, progress=False), predict_profiles(arch)
    key = "0", "grad_variance"
    off = compare(theory, ensemble).drift.set_index("quantity").loc["grad_variance", "difference"]

    def passes(error):
        """Of a theory that is off by so much in the direction in which it is off already."""
        moved = theory.profiles[key] - np.sign(off) * (np.log1p(error) - abs(off))
        return compare(replace(theory, profiles={**theory.profiles, key: moved}), ensemble).passed

    assert passes(least / 2)
    assert not passes(1.2 * least)


def test_accuracy_has_four_tables(capsys, monkeypatch):
    seen = {}

    def table(name, count):
        def make(*arguments):
            seen[name] = arguments[:count]
            return pd.DataFrame({"met": [True]})

        return make

    monkeypatch.setattr(accuracy, "accuracy", table("accuracy", 2))
    monkeypatch.setattr(regimes, "hard_regime", table("hard", 1))
    monkeypatch.setattr(regimes, "width_sweep", table("sweep", 3))
    monkeypatch.setattr(resolutions, "resolutions", table("resolutions", 2))
    assert main(["bench", "--accuracy", "--quiet", "--json", "--mask", "none", "causal"]) == 0
    names = {"hard regime", "width sweep", "accuracy", "resolutions"}
    assert set(json.loads(capsys.readouterr().out)) == names
    archs, networks = seen["accuracy"]
    assert len(archs) == 2 * 5 * 2
    assert networks == 64
    assert seen["resolutions"] == (archs, resolutions.DRAWS)
    assert {(a.width, a.heads, a.tokens, a.depth, a.activation) for a in archs} == {
        (1024, 16, 64, 48, "gelu")
    }
    assert seen["hard"] == (regimes.HARD_NETWORKS,)
    assert seen["sweep"][1] == regimes.WIDTHS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "--placements", "postnorm"], "did you mean post-norm"),
        (["--accuracy", "--mask", "diagonal"], "mask"),
        (["--quick", "--repeats", "0"], "at least 1 repeat"),
        (["--theory", "--quick", "--repeats", "0"], "at least 1 repeat"),
        (["--theory", "--placements", "postnorm"], "did you mean post-norm"),
    ],
)
def test_bad_input_exits_two_with_one_line(arguments, message, capsys):
    assert main(["bench", "--quiet", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_studies_exclude_each_other(capsys):
    assert main(["bench", "--precision", "--accuracy"]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_the_standard_sizes_are_those_that_were_asked_for():
    widths, tokens = ({size[i] for size in speed.SIZES} for i in range(2))
    assert widths == {256, 512, 1024, 2048, 4096}
    assert tokens == {16, 32, 64, 128}
