"""The theory behind the page: what its worker asks, in CPython and in Pyodide."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.base.errors import InputError
from spannorm_theory.cli.main import main
from spannorm_theory.explorer.live import answer
from spannorm_theory.explorer.write import RUNTIME, write_explorer
from spannorm_theory.spec.placements import PLACEMENTS

MINE = """@st.placement("mine", title="Mine", source="a test")
def mine(x, net):
    y = net.norm(net.add(x, net.attention(net.norm(x))))
    return net.add(y, net.ffn(net.norm(y)))
"""
ARCH = "mine unit depth=12 width=256 heads=4 tokens=32"
#: what only figures, sweeps, Monte Carlo and progress bars need
ABSENT = ("pyarrow", "torch", "seaborn", "tqdm", "tueplots", "psutil", "jinja2")


@pytest.fixture(autouse=True)
def _nothing_stays_registered() -> Iterator[None]:
    yield
    ask("curves", code="")


def ask(question: str, arch: str = ARCH, code: str = MINE) -> dict[str, Any]:
    return dict(json.loads(answer(question, json.dumps({"code": code, "arch": arch}))))


@pytest.mark.exact
def test_a_placement_that_was_typed_in_is_predicted_and_derived() -> None:
    found = ask("curves")
    assert found["depth"] == 12
    derived = ask("formulas")
    assert len(derived["equations"]) == 2
    table = st.predict(ARCH)
    rows = table[(table["quantity"] == "grad_variance")]
    assert found["curves"]["grad_variance"]["0"] == pytest.approx(rows["log_value"].tolist(), abs=1e-4)
    assert str(st.derive("mine").block.trace) == derived["block"]


def test_another_text_takes_the_place_of_the_first() -> None:
    assert "error" not in ask("curves")
    assert "error" not in ask("curves", code=MINE + "\n# again\n")
    assert "unknown placement 'mine'" in ask("curves", code="")["error"]
    assert "mine" not in PLACEMENTS


@pytest.mark.parametrize(
    ("code", "arch", "words"),
    [
        (MINE, "mine unit depth=0", "depth must be"),
        (MINE, "nine unit", "unknown placement 'nine'"),
        ("def mine(:", ARCH, "SyntaxError: .* \\(line 1 of the definition\\)"),
        (MINE + "\n1 / 0\n", ARCH, "ZeroDivisionError: .* \\(line 6 of the definition\\)"),
        (MINE.replace("net.norm(y)", "net.none(y)"), ARCH, "none"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(code: str, arch: str, words: str) -> None:
    message = ask("curves", arch, code)["error"]
    assert "\n" not in message
    assert re.search(words, message), message


@pytest.mark.exact
def test_the_archive_alone_has_the_theory_without_pyarrow_and_torch(tmp_path: Path) -> None:
    folder = write_explorer(tmp_path / "page")
    causal = "pre-norm unit depth=2 width=64 heads=4 tokens=80 mask=causal"
    asked = [("curves", ARCH), ("curves", causal), ("formulas", ARCH), ("diagram", ARCH)]
    script = f"""
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"no module named {{name}}", name=name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
import spannorm_theory
assert "theory.zip" in spannorm_theory.__file__
from spannorm_theory.explorer.live import answer
asked = json.load(sys.stdin)
print("[" + ",".join(answer(question, json.dumps(request)) for question, request in asked) + "]")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(folder / "theory.zip")],
        input=json.dumps([[question, {"code": MINE, "arch": arch}] for question, arch in asked]),
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *found, diagram = json.loads(done.stdout)
    assert found == [ask(question, arch) for question, arch in asked[:-1]]
    assert diagram["svg"].startswith("<svg")


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explorer", "--out", str(tmp_path), "--runtime", "https://example.org/pyodide/"]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert written == tmp_path / "index.html"
    assert "https://example.org/pyodide/" in written.read_text()
    assert main(["explorer", "--out", str(written)]) == 2
    assert "it is a file" in capsys.readouterr().err


def test_equal_sources_give_equal_files(tmp_path: Path) -> None:
    one, two = (write_explorer(tmp_path / name, runtime="pyodide/") for name in "ab")
    names = sorted(path.name for path in one.iterdir())
    assert names == ["engine.mjs", "index.html", "theory.zip", "worker.mjs"]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    assert 'name="runtime" content="pyodide/"' in (one / "index.html").read_text()
    assert RUNTIME in (write_explorer(tmp_path / "a") / "index.html").read_text()
    with pytest.raises(InputError, match="runtime must be an address"):
        write_explorer(tmp_path, runtime=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="documentation must be a folder's address"):
        write_explorer(tmp_path, documentation="../index.html")


@pytest.mark.reference
def test_pyodide_gives_the_numbers_of_cpython(tmp_path: Path) -> None:
    runtime = pyodide()
    if shutil.which("node") is None:
        pytest.skip("there is no node")
    folder = write_explorer(tmp_path)
    archs = [ARCH, "span-norm unit depth=48", "siamese-norm unit depth=12 tokens=80 mask=causal"]
    asked = [["curves", {"code": MINE, "arch": arch}] for arch in archs]
    asked += [["formulas", {"code": MINE, "arch": ARCH}], ["diagram", {"code": MINE, "arch": ARCH}]]
    script = Path(__file__).with_name("answers.mjs")
    done = subprocess.run(
        ["node", str(script), str(folder), str(runtime)],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout.splitlines()[-1])["answers"]
    for arch, found in zip(archs, answers, strict=False):
        ours = ask("curves", arch)["curves"]
        assert found["curves"].keys() == ours.keys()
        for name in ("variance", "grad_variance", "rank_collapse", "weight_grad_norm"):
            for stream, logs in ours[name].items():
                theirs = np.array(found["curves"][name][stream], dtype=float)
                assert theirs == pytest.approx(np.array(logs, dtype=float), abs=1.01e-4, nan_ok=True)
    assert answers[3] == ask("formulas")
    assert "<svg" in answers[4].get("svg", "") or "matplotlib" in answers[4]["error"]


def pyodide() -> Path:
    """The folder of a Pyodide with its packages; without one the test is skipped."""
    folder = os.environ.get("SPANNORM_PYODIDE")
    if not folder:
        pytest.skip("SPANNORM_PYODIDE names no folder with pyodide.mjs, its lock file and wheels")
    return Path(folder)
