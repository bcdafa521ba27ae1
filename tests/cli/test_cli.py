"""The command line: what it prints, its exit status, and that bad input gives one clear line."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from spannorm_theory import Architecture
from spannorm_theory.cli.flags import FIELDS
from spannorm_theory.cli.main import main

SMALL = ["--depth", "2", "--width", "32", "--heads", "2", "--tokens", "8"]


def test_flags_are_the_fields_of_an_architecture() -> None:
    fields = [f.name for f in dataclasses.fields(Architecture) if f.init]
    assert fields == ["placement", "scaling", *(name for rows in FIELDS.values() for name, _, _ in rows)]


def test_help_and_import_load_nothing_heavy() -> None:
    code = (
        "import sys, spannorm_theory, spannorm_theory.cli.main as cli; cli.parser().format_help();"
        "assert not {'torch', 'sympy', 'pandas', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_list_loads_neither_scipy_nor_pandas() -> None:
    code = (
        "import sys; from spannorm_theory.cli.main import main; main(['list']);"
        "assert not {'torch', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_theory_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, spannorm_theory as st; arch = st.Architecture('span-norm'); arch._repr_html_();"
        "st.predict(arch); st.derive('span-norm').text();"
        "assert not {'torch', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed["placements"]) >= 28
    assert len(listed["scaling rules"]) >= 22
    assert all(
        row["source"] and row["doc"] for kind in ("placements", "scaling rules") for row in listed[kind]
    )
    (span,) = (row for row in listed["placements"] if row["name"] == "span-norm")
    assert (span["title"], span["year"], span["source"]) == ("SpanNorm", 2026, "arXiv:2601.22580")
    assert span["block"] == "norm(x0 + ffn(norm(x0 + attention(x0))))"
    assert span["first block"] == "norm(x0 + ffn(norm(x0 + attention(norm(x0)))))"
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^    siamese-norm .*  normalised_input=True, depth_scaling=True$", text, re.M)
    assert re.search(r"^    span-norm .* 2026  arXiv\S+ +published with depth-scaled-init$", text, re.M)
    assert re.search(r"^    sub-ln .*  only with sub-ln$", text, re.M)
    entries = [line for line in text.splitlines() if re.match("    [a-z]", line)]
    assert len(entries) == sum(map(len, listed.values()))
    assert len({line.split()[0] for line in text.splitlines() if re.match("  [A-Z]", line)}) < len(entries)
    assert main(["list", "--formulas"]) == 0
    text = capsys.readouterr().out
    assert "\n        block: norm(x0 + ffn(norm(x0 + attention(x0))))\n" in text
    assert "\n        attention: attn.output x 1/sqrt(L)\n" in text


def test_derive(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", "siamese-norm", "--scaling", "unit"]) == 0
    text = capsys.readouterr().out
    assert "q'_11 = b_f + n_3" in text
    assert "q_11 = l*sigma_a^2 + l*sigma_f^2 + q_0" in text
    assert "q_11 at l=L: Theta(L), constant sigma_a^2 + sigma_f^2" in text
    assert main(["derive", "post-norm", "--latex"]) == 0
    latex = capsys.readouterr().out
    assert r"\begin{align*}" in latex
    assert r"\sigma_{a}^{2}" in latex
    assert latex.count("{") == latex.count("}")
    assert main(["derive", "pre-norm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["closed_form"]["identity_gain"] == "1"


def test_what_is_not_predicted_at_any_layer_is_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "pre-norm", "--depth", "2", "--width", "64", "--inputs", "zipf"]) == 0
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()[2:]}
    assert lines["stable_rank[0]"] == ["-"] * 3
    assert "-" not in lines["variance[0]"]


def test_predict_and_simulate_answer_the_same_questions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "pre-norm", *SMALL, "--json"]) == 0
    theory = json.loads(capsys.readouterr().out)
    assert main(["simulate", "pre-norm", *SMALL, "--networks", "4", "--quiet", "--json"]) == 0
    estimate = json.loads(capsys.readouterr().out)
    key = ("layer", "stream", "quantity")
    assert {tuple(r[k] for k in key) for r in theory} == {tuple(r[k] for k in key) for r in estimate}
    assert all(r["se"] >= 0 for r in estimate)


def test_simulate_by_position(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["simulate", "pre-norm", *SMALL, "--networks", "4", "--quiet", "--by", "position"]
    assert main([*command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["position"] for row in rows} == set(range(1, 9))
    assert {row["quantity"] for row in rows} == {"variance", "grad_variance"}
    assert main([*command, "--at", "1, 8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        f"{name}[0] at {p}" for name in ("variance", "grad_variance") for p in (1, 8)
    ]


def test_verify_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "span-norm", *SMALL, "--networks", "32", "--quiet"]) == 0
    assert "AGREES" in capsys.readouterr().out
    assert main(["verify", "span-norm", *SMALL, "--networks", "6", "--quiet"]) == 1
    assert "UNDECIDED: with 6 networks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["derive", "postnorm"], "did you mean post-norm"),
        (["derive", "post-norm", "--scaling", "gpt3"], "did you mean gpt2"),
        (["predict", "post-norm", "--activation", "gelu2"], "did you mean gelu"),
        (["predict", "post-norm", "--width", "100", "--heads", "3"], "divisible"),
        (["predict", "post-norm", "--depth", "0"], "depth must be"),
        (["verify", "post-norm", "--networks", "1"], "at least 3 for a standard error"),
        (["simulate", "post-norm", *SMALL, "--device", "cuda:77", "--quiet"], "cuda:77"),
        (["simulate", "post-norm", *SMALL, "--networks", "0", "--quiet"], "networks"),
        (["simulate", "post-norm", *SMALL, "--by", "token"], "known: position"),
        (["simulate", "post-norm", *SMALL, "--at", "1,2"], "by='position'"),
        (["simulate", "post-norm", *SMALL, "--by", "position", "--at", "1,,9"], "integers from 1 to 8"),
    ],
)
def test_bad_input_exits_two_with_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_tables_show_standard_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of networks, and the theory's own where it samples."""
    assert main(["simulate", "pre-norm", *SMALL, "--networks", "4", "--quiet"]) == 0
    assert " ± " in capsys.readouterr().out
    assert main(["predict", "pre-norm", *SMALL]) == 0
    assert " ± " not in capsys.readouterr().out
    assert main(["predict", "pre-norm", *SMALL, "--mask", "causal"]) == 0
    assert " ± " in capsys.readouterr().out
