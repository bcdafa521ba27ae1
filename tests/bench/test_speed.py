"""The speed table: its columns, what is scaled, and what goes wrong in a worker."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from spannorm_theory.base.errors import InputError
from spannorm_theory.bench import speed as speed_module
from spannorm_theory.bench import worker
from spannorm_theory.bench.figure import speed_figure, write_figure
from spannorm_theory.bench.speed import CONTESTANTS, Contestant, Plan, grid, speed
from spannorm_theory.cli.main import main
from spannorm_theory.spec.architecture import Architecture

SMALL = Architecture("pre-norm", "depth-scaled-init", depth=2, width=32, heads=2, tokens=4)


def row(**changes):
    values = {"placement": "pre-norm", "scaling": "unit", "width": 256, "tokens": 64}
    values |= {f"{name}{end}": 1.0 for name in CONTESTANTS for end in ("", "_min", "_max", "_mib")}
    return values | changes


@pytest.fixture(scope="module")
def measured():
    """The table of a small stack, and what was said on the way."""
    said = []
    return speed([SMALL], repeats=2, progress=said.append), said


@pytest.fixture
def modules_alone(monkeypatch):
    """One worker starts where five would."""
    monkeypatch.setattr(speed_module, "CONTESTANTS", ("plain",))


def test_every_contestant_runs_in_a_process_of_its_own(measured):
    table, said = measured
    assert said == [f"speed: {SMALL}"]
    (found,) = table.to_dict("records")
    assert (found["width"], found["tokens"], found["depth"], found["blocks"]) == (32, 4, 2, 2)
    for name in CONTESTANTS:
        assert 0 < found[f"{name}_min"] <= found[name] <= found[f"{name}_max"]
        assert found[f"{name}_cpu"] > 0
        assert 50 < found[f"{name}_mib"] < 5000
    assert found["plain_over_implicit"] == found["plain"] / found["implicit"]
    assert found["tuned_over_implicit"] == found["tuned"] / found["implicit"]
    assert found["explicit_over_implicit"] == found["explicit"] / found["implicit"]
    assert found["implicit_over_floor"] == found["implicit"] / found["floor"]
    assert found["memory_ratio"] == found["plain_mib"] / found["implicit_mib"]


def test_large_stacks_of_matrices_run_fewer_blocks():
    (arch,) = grid([SMALL], [(4096, 64)], depth=48)
    assert arch.heads == 64
    assert [Plan.of(name, arch).arch.depth for name in CONTESTANTS] == [2, 2, 2, 48, 48]
    (arch,) = grid([SMALL], [(256, 64)], depth=48)
    assert {Plan.of(name, arch).arch.depth for name in CONTESTANTS} == {48}


def test_the_command_prints_the_table_and_draws_it(measured, tmp_path, capsys, monkeypatch):
    asked = []

    def known(archs, repeats, progress):
        asked.extend([*archs, repeats])
        progress("speed: so far")
        return measured[0]

    monkeypatch.setattr(speed_module, "speed", known)
    arguments = ["--quick", "--widths", "32", "--tokens", "4", "--depth", "2", "--repeats", "1"]
    assert main(["bench", *arguments, "--out", str(tmp_path / "figures")]) == 0
    assert asked == [Architecture("span-norm", "depth-scaled-init", depth=2, width=32, heads=1, tokens=4), 1]
    captured = capsys.readouterr()
    assert "a/c" in captured.out
    assert "memory a/c" in captured.out
    assert "speed: so far" in captured.err
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"speed.pdf", "speed.png"}


@pytest.mark.long
def test_the_command_measures():
    """Slow: five processes import PyTorch."""
    arguments = ["--quick", "--widths", "32", "--tokens", "4", "--depth", "2", "--repeats", "1"]
    assert main(["bench", *arguments, "--quiet"]) == 0


@pytest.mark.usefixtures("modules_alone")
def test_what_a_worker_refuses_is_said_in_one_line(capsys):
    with pytest.raises(InputError, match="repeat"):
        speed([SMALL], repeats=0)
    assert main(["bench", "--quiet", "--placements", "siamese-norm", "--quick"]) == 2
    captured = capsys.readouterr()
    assert "no module of siamese-norm" in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_worker_that_dies_is_named():
    plan = Plan("nobody", SMALL, 1)
    with (
        pytest.raises(InputError, match=r"nobody could not run pre-norm.*KeyError"),
        Contestant(plan) as dead,
    ):
        dead.wait_until_ready()


def test_memory_is_that_of_the_process_and_not_of_its_parent():
    ballast = bytearray(os.urandom(1) * (300 << 20))
    script = "from spannorm_theory.bench.worker import memory; print(memory('VmHWM'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < worker.memory("VmHWM")
    del ballast  # held until the child had run
    assert worker.memory("VmRSS") <= worker.memory("VmHWM")


def test_worker_answers_every_line(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["worker", json.dumps(Plan.of("implicit", SMALL).job)])
    monkeypatch.setattr(sys, "stdin", ["\n", "\n"])
    worker.main()
    ready, *answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ready["base"] > 0
    assert len(answers) == 2
    assert all(answer["seconds"] > 0 and answer["cpu"] > 0 for answer in answers)


def test_figure(tmp_path):
    table = pd.DataFrame([row(), row(width=512, plain=3.0, plain_max=4.0), row(tokens=16)])
    time, memory, length = speed_figure(table).axes
    assert len(time.lines) == len(memory.lines) == len(length.lines) == len(CONTESTANTS)
    assert list(time.lines[0].get_xdata()) == [256, 512]
    assert list(length.lines[0].get_xdata()) == [16, 64]
    assert [path.name for path in write_figure(table, tmp_path / "new")] == ["speed.pdf", "speed.png"]
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(InputError, match="cannot write to the folder"):
        write_figure(table, blocked)
