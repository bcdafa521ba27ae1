"""The command line about a module of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spannorm_theory.cli.main import main

CODE = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.fc1, self.fc2 = nn.Linear(16, 64, bias=False), nn.Linear(64, 16, bias=False)
        for matrix in (self.fc1, self.fc2):
            nn.init.normal_(matrix.weight, 0, 0.02)

    def forward(self, x):
        return x + self.fc2(torch.relu(self.fc1(self.norm(x))))


def build(seed):
    return nn.Sequential(nn.Embedding(50, 16), nn.Sequential(Block(), Block(), Block()), nn.Linear(16, 50))


def both(seed):
    return build(seed), torch.arange(6)[None]


model = build(0)
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return str(path)


def test_parts_are_shown(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", f"{file}:both", "--only", "read"]) == 0
    out = capsys.readouterr().out
    assert "std 0.02 on ffn.up, ffn.down" in out
    assert "not in the architecture: the placement of the norms: " in out
    assert main(["audit", file, "--tokens", "6", "--networks", "3", "--quiet", "--only", "probe"]) == 0
    out = capsys.readouterr().out
    assert "Probe: 3 networks of Sequential (3 blocks of '1', width 16, 1 x 6 tokens" in out
    assert "weight_grad_norm[ffn.down]" in out


def test_parts_are_strict_json(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", f"{file}:both", "--only", "read", "--placement", "pre-norm", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)["read"]
    assert read["words"] == "std 0.02 on ffn.up, ffn.down"
    assert "tokens=6" in read["architecture"]
    assert {row["role"] for row in read["table"]} == {"ffn.up", "ffn.down", "embedding", "head"}
    assert main(["audit", f"{file}:model", "--only", "probe", "--tokens", "4", "--json", "--quiet"]) == 0
    rows = json.loads(capsys.readouterr().out)["probe"]
    assert {row["se"] for row in rows} == {None}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("FILE:bild", "unknown name in mine.py 'bild'; did you mean build?"),
        ("nope.py", "expected FILE.py:NAME or a configuration, of a file that exists"),
        ("FILE --only raed", "unknown part 'raed'; did you mean read?"),
        ("FILE --only read --networks 3", "audit --only read does not read --networks; leave it out"),
        ("FILE --only probe --placement pre-norm", "audit --only probe does not read --placement"),
        ("FILE --tokens 1", "tokens must be an integer of at least 2, got 1"),
        ("BROKEN", "broken.py failed: ZeroDivisionError: division by zero"),
    ],
)
def test_bad_input_exits_two_with_one_line(
    words: str, message: str, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    assert main(["audit", *words.replace("FILE", file).replace("BROKEN", str(broken)).split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
