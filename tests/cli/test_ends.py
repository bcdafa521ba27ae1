"""How commands end: refused before work, interrupted, or with an output that cannot be written."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import InputError
from spannorm_theory.cli.ends import ended
from spannorm_theory.cli.main import main

SMALL = ["--depth", "2", "--width", "32", "--heads", "2", "--tokens", "8"]
RUN = [sys.executable, "-m", "spannorm_theory"]


def test_json_has_every_digit_and_no_token_that_is_not_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A gradient of 1e-13 was printed as 0.0."""
    command = ["predict", "span-norm", "--depth", "2", "--input-variance", "1e-30", "--inputs", "zipf"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    table = st.predict(st.Architecture("span-norm", depth=2, input_variance=1e-30, inputs="zipf"))
    assert [row["value"] for row in found] == [None if x != x else x for x in table["value"]]
    assert min(row["value"] for row in found if row["quantity"] == "variance") == pytest.approx(1e-30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["atlas", "--out", "FILE"], "it is a file"),
        (["claims", "--out", "FILE/x"], "cannot write"),
        (["claims", "--html", "FOLDER"], "it is a folder"),
        (["figures", "--out", "FILE"], "it is a file"),
        (["report", "--out", "FILE"], "it is a file"),
        (["report", "--out", "FILE/x"], "Not a directory"),
        (["bench", "--out", "FILE"], "it is a file"),
        (["sweep", "--preset", "balance", "--out", "FILE"], "it is a file"),
        (["atlas", "--networks", "0", "--sample", "3"], "does not read --sample"),
        (["prdict"], "unknown command 'prdict'; did you mean predict?"),
        (["predict", "pre-norm", "--depth", "9" * 9000], "invalid int value: '9999"),
        (["predict"], "predict needs a placement .*, or --like"),
        (["predict", "pre-norm", "--depth", str(10**13)], "depth .* would fit"),
        (
            ["predict", "pre-norm", "--mask", "causal", "--tokens", "1000000", "--theory", "sampled"],
            "tokens .* would fit",
        ),
        (["predict", "pre-norm", "--experts", "100000000"], "experts .* would fit"),
        (["simulate", "pre-norm", "--networks", "100000000000"], "networks would fit"),
        (["simulate", "pre-norm", "--depth", str(10**13)], "depth .* would fit"),
        (
            ["simulate", "pre-norm", "--loss", "cross-entropy", "--vocabulary", str(10**12)],
            "vocabulary .* would fit",
        ),
    ],
)
def test_what_can_be_refused_is_refused_in_one_line_before_any_work(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    filled = [a.replace("FILE", str(tmp_path / "file")).replace("FOLDER", str(tmp_path)) for a in arguments]
    start = time.perf_counter()
    assert main(filled) == 2
    assert time.perf_counter() - start < 5
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 400 + len(str(tmp_path))
    assert re.search(message, captured.err), captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "text",
    [
        "networks = 'many'",
        "imports = 5",
        "imports = ['no.such.module']",
        "imports = ['broken_module']",
        "imports = ['leaving_module']",
        "architecture = [1]",
        "architecture = {placement = 'pre-norm'}",
        "grid = 'pre-norm'",
        "seed = 'x'",
        "seed = [[1]]",
        "chunk = 0",
        "device = 3",
        "a = " + "[" * 5000,
        "networks = ",
        f"[grid]\nplacement = 'pre-norm'\nwidth = {list(range(8, 80_000, 8))}\ndepth = {list(range(1, 500))}",
        "networks = 100000000000\n[grid]\nplacement = 'pre-norm'",
    ],
)
def test_hostile_specifications_are_refused_in_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_module.py").write_text("\n\n1 / 0\n")
    (tmp_path / "leaving_module.py").write_text("raise SystemExit(0)")
    (tmp_path / "spec.toml").write_text(text + ("" if "grid" in text else "\n[grid]\nplacement = 'pre-norm'"))
    assert main(["sweep", "spec.toml", "--quiet"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert len(err) < 500
    assert "broken" not in text or "broken_module.py, line 3" in err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (["--version"], {"stdout": "/dev/full"}, "cannot write the output: No space left"),
        (["--help"], {"stdout": "/dev/full"}, "cannot write the output: No space left"),
        (["simulate", "pre-norm", *SMALL, "--quiet"], {"PYTHONIOENCODING": "ascii"}, "to an output in ascii"),
        (["prdict"], {"stderr": "/dev/full"}, ""),
    ],
)
def test_an_output_that_cannot_be_written_is_said_in_one_line(command, options, message) -> None:
    files = [options.get(name, os.devnull) for name in ("stdout", "stderr")]
    with open(files[0], "w") as out, open(files[1], "w") as err:
        done = subprocess.run(
            [*RUN, *command],
            stdout=out,
            stderr=subprocess.PIPE if message else err,
            env={**os.environ, **options},
            check=False,
            text=True,
        )
    assert done.returncode == 2
    assert message in (done.stderr or "")
    assert (done.stderr or "\n").count("\n") == 1


def test_a_pipe_that_closes_ends_quietly() -> None:
    process = subprocess.Popen([*RUN, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_an_ascii_terminal_is_told_before_networks_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import spannorm_theory.montecarlo.ensemble as ensemble

    monkeypatch.setattr(ensemble, "simulate", lambda *args, **options: pytest.fail("work was begun"))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert main(["simulate", "pre-norm", *SMALL]) == 2


def test_errors_warnings_and_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    def refused() -> int:
        raise InputError("two\nlines")

    def warned() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("something", RuntimeWarning, stacklevel=1)
        return 1

    def out_of_memory() -> int:
        raise MemoryError

    def unreadable() -> int:
        Path("/no/such/file").read_text()
        return 0

    before = signal.getsignal(signal.SIGTERM), warnings.showwarning
    assert [ended(command) for command in (refused, warned, out_of_memory, unreadable)] == [2, 1, 2, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["spannorm: two lines", "spannorm: something"]
    assert "memory ran out" in lines[2]
    assert "/no/such/file" in lines[3]
    assert (signal.getsignal(signal.SIGTERM), warnings.showwarning) == before


@pytest.mark.filterwarnings("default:interrupted")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_simulation_shows_what_was_finished(
    number: int, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tens of thousands of batches are queued: none of them is begun any more."""
    import torch  # noqa: F401  # which takes seconds to import

    sent: list[float] = []

    def send() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), number)

    timer = threading.Timer(2.0, send)
    timer.start()
    try:
        assert main(["simulate", "pre-norm", *SMALL, "--networks", "1000000", "--quiet"]) == status
    finally:
        timer.cancel()
    assert time.perf_counter() - sent[0] < 5
    captured = capsys.readouterr()
    assert "of 1000000 networks, those that were finished" in captured.err
    assert captured.err.count("\n") == 1
    assert "variance[0]" in captured.out


@pytest.mark.long  # three processes that are well under way
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["report", "--out", "report", "--placements", "pre-norm"], "nothing of the new report is written"),
        (["sweep", "spec.toml"], "cells computed are kept"),
        (["verify", "pre-norm", "--mask", "causal", "--depth", "300"], "interrupted"),
    ],
)
def test_interrupts_end_commands_within_seconds(command: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text("networks = 1600000\n[grid]\nplacement = 'pre-norm'\ndepth = 48")
    process = subprocess.Popen([*RUN, *command, "--quiet"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    time.sleep(6)
    start = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert time.perf_counter() - start < 5
    assert said in err
    assert err.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".", "report"))]
