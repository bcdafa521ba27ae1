"""Flags are given once and where they are read; negative numbers are values."""

from __future__ import annotations

import pytest

from spannorm_theory.cli.main import main

SMALL = ["--depth", "2", "--width", "16", "--heads", "2", "--tokens", "8"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict pre-norm --depth 2 --depth=3", "--depth is given twice; say it once"),
        ("predict pre-norm --qk-norm --qk-norm", "--qk-norm is given twice"),
        ("list --json --json", "--json is given twice"),
        ("sweep --status --networks 3", "sweep --status does not read --networks; leave it out"),
        ("sweep spec.toml --out figures", "sweep of a specification does not read --out"),
        ("bench --theory --seed 3", "bench --theory does not read --seed"),
        ("bench --widths 8 --width 8 --networks 2", "bench of speed does not read --networks, --width"),
        ("bench --accuracy --out folder", "bench --accuracy does not read --out"),
        ("figures --from x.json --depth 4", "figures --from does not read --depth"),
        ("figures laws --from x.json", "figures --from does not read 'laws'"),
        ("figures laws pre-norm --placements post-norm", "behind the figure's name or with --placements"),
        ("derive pre-norm --json --latex", "derive --json does not read --latex"),
        ("claims --json --evidence", "claims --json does not read --evidence"),
        ("claims x --full", "claims ID does not read --full"),
        ("predict pre-norm --input-cosine -inf", "input_cosine must be a number, got -inf"),
        ("predict pre-norm -5", "predict takes no further argument '-5'"),
    ],
)
def test_refused_in_one_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", ["-1e-1", "-.1", "-0.1", "-1.e-1", "-1E-1"])
def test_negative_numbers(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "pre-norm", *SMALL, "--input-cosine", number]) == 0
    assert "input_cosine=-0.1" in capsys.readouterr().out


def test_what_may_come_several_times(capsys: pytest.CaptureFixture[str]) -> None:
    line = "sweep spec.toml --executor submitit --job a=1 --job b=2"
    assert main(line.split()) == 2
    assert "twice" not in capsys.readouterr().err
