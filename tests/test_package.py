"""The wheel and the source archive in dist/, which ``make package`` builds and holds against these.

The wheel is installed alone in a fresh environment, away from the source: with all that it needs for the
interpreter of the tests, and without torch, which the theory does not load, for those that SPANNORM_PYTHONS
names besides.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import spannorm_theory as st
from spannorm_theory.cli.main import _parser

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
#: that a wheel has from outside the package's folder
CARRIED = {"papers/claims-full.json", "papers/claims.toml", "papers/references.bib"}
SIZES = ["--depth", "2", "--width", "32", "--heads", "2", "--tokens", "8"]
CELL = ["--placements", "pre-norm", "--scalings", "unit"]

SPEC = """
networks = 4
chunk = 4
[grid]
placement = "pre-norm"
depth = 2
width = 32
heads = 2
tokens = 8
"""

MODEL = """
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(32), nn.RMSNorm(32)
        self.attn = nn.MultiheadAttention(32, 2, bias=False, batch_first=True)
        self.up, self.down = nn.Linear(32, 128, bias=False), nn.Linear(128, 32, bias=False)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Embedding(100, 32), nn.ModuleList(Block() for _ in range(2))
        self.norm = nn.RMSNorm(32)

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def build(seed):
    return Stack()
"""

#: arguments of commands that load no torch, and a word of what each prints
THEORY = [
    (["--version"], st.__version__),
    (["list"], "span-norm"),
    (["list", "--formulas"], "norm(x0 + ffn(norm(x0 + attention(x0))))"),
    (["derive", "span-norm", "--latex"], r"\begin{align*}"),
    (["predict", "pre-norm", *SIZES], "grad_variance"),
    (["predict", "pre-norm", *SIZES, "--json"], '"quantity": "variance"'),
    (["expected", "pre-norm", *SIZES], '"architecture"'),
    (["model", "gpt2"], "pre-norm"),
    (["compare", "pre-norm", *SIZES, "--quiet"], "pre-norm@unit: "),
    (["explorer", "--out", "explorer"], "explorer"),
    (["atlas", *CELL, "--networks", "0", "--quiet", "--out", "atlas"], "pre-norm"),
]

#: arguments of commands that simulate
NETWORKS = [
    (["simulate", "pre-norm", *SIZES, "--networks", "4", "--quiet"], "variance"),
    (["verify", "pre-norm", *SIZES, "--networks", "64", "--quiet"], "within"),
    (["step", "pre-norm", *SIZES, "--networks", "4", "--quiet"], "slope"),
    (["claims", "keel-skip-product", "--quiet"], "keel-skip-product"),
    (["report", *CELL, *SIZES, "--networks", "64", "--quiet", "--out", "report"], "report"),
    (["bench", "--quick", "--quiet", "--out", "bench"], "bench"),
    (["figures", *CELL, *SIZES, "--networks", "16", "--quiet", "--out", "figures"], "figures"),
    (["sweep", "spec.toml", "--workers", "1", "--quiet"], "1 cell"),
    (["audit", "model.py:build", "--only", "read", "--quiet"], "Stack"),
]


def only(pattern: str) -> Path:
    """The one file of dist/ that has this form."""
    found = list(DIST.glob(pattern))
    assert len(found) == 1, f"{found}: run make package"
    return found[0]


def tracked(*folders: str) -> set[str]:
    """The files of the repository in these folders, or all."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders]
    return set(
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    )


@pytest.mark.package
@pytest.mark.exact
def test_the_wheel_is_the_package_with_its_papers_and_licence() -> None:
    with zipfile.ZipFile(only("*.whl")) as wheel:
        names = set(wheel.namelist())
        described = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(described).decode())
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == tracked("spannorm_theory") | {f"spannorm_theory/literature/{name}" for name in CARRIED}
    assert {"spannorm_theory/py.typed", "spannorm_theory/models/models.toml"} <= inside
    assert described.replace("METADATA", "licenses/LICENSE") in names
    assert described.replace("METADATA", "entry_points.txt") in names
    assert metadata["Version"] == st.__version__
    assert metadata["License-Expression"] == "Apache-2.0"


@pytest.mark.package
@pytest.mark.exact
def test_the_source_archive_is_the_repository() -> None:
    with tarfile.open(only("*.tar.gz")) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert names == tracked() | {"PKG-INFO"}


@pytest.mark.exact
def test_the_wheel_is_tried_with_every_command() -> None:
    assert {arguments[0] for arguments, _ in [*THEORY[1:], *NETWORKS]} == set(_parser()[1].names)


@pytest.mark.exact
def test_one_version_is_said_everywhere() -> None:
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
    assert re.search(rf"^version: {re.escape(st.__version__)}$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert re.search(rf"^## {re.escape(st.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.M)


def install(python: str, folder: Path, *packages: str) -> None:
    """A fresh environment in a folder, with packages at the versions of constraints.txt."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    environment = {**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt"), "PYTHONPATH": ""}
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages], check=True, env=environment)


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command in a folder away from the source."""
    environment = {**os.environ, "PYTHONPATH": "", "MPLBACKEND": "Agg"}
    command = [str(argument) for argument in arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def check(tmp_path: Path, commands: list[tuple[list[str], str]]) -> None:
    """Every command of the environment in ``tmp_path`` runs elsewhere and prints its word."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "spec.toml").write_text(SPEC)
    (elsewhere / "model.py").write_text(MODEL)
    where = run(
        elsewhere,
        tmp_path / "env" / "bin" / "python",
        "-c",
        "import spannorm_theory as st; print(st.__file__)",
    )
    assert where.stdout.startswith(str(tmp_path)), where.stderr
    for arguments, word in commands:
        done = run(elsewhere, tmp_path / "env" / "bin" / "spannorm", *arguments)
        assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        assert word in done.stdout, (arguments, done.stdout[-2000:])


@pytest.mark.package
def test_installed_alone_every_command_runs_elsewhere(tmp_path: Path) -> None:
    install(sys.executable, tmp_path / "env", only("*.whl"))
    check(tmp_path, [*THEORY, *NETWORKS])


@pytest.mark.package
@pytest.mark.parametrize("python", os.environ.get("SPANNORM_PYTHONS", "").split())
def test_the_theory_runs_on_other_pythons_without_torch(python: str, tmp_path: Path) -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    install(python, tmp_path / "env", *(name for name in needed if not name.startswith("torch")))
    install(python, tmp_path / "env", "--no-deps", str(only("*.whl")))
    check(tmp_path, THEORY)
