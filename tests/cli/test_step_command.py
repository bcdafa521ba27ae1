"""``spannorm step``: theory, networks, and one against the other."""

from __future__ import annotations

import json

import pytest

import spannorm_theory as st
from spannorm_theory.cli.main import main

SMALL = ["pre-norm", "--depth", "1", "--width", "64", "--heads", "2", "--tokens", "4", "--quiet"]
ARCH = "pre-norm depth=1 width=64 heads=2 tokens=4"


def test_rows_are_those_of_first_step(capsys: pytest.CaptureFixture[str]) -> None:
    for words, options in (
        (["--networks", "2", "--seed", "3"], {"networks": 2, "seed": 3}),
        (["--lr", "attn.query=0.1,ffn.up=2"], {"lr": {"attn.query": 0.1, "ffn.up": 2.0}}),
    ):
        assert main(["step", *SMALL, "--optimiser", "sgd", "--json", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        expected = st.first_step(ARCH, "sgd", progress=False, **options)
        assert [row["value"] for row in found] == pytest.approx(
            [None if x != x else x for x in expected["value"]]
        )
        assert {row["optimiser"] for row in found} == {"sgd"}


def test_text_says_which_step_and_verification_its_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["step", *SMALL, "--optimiser", "sign", "--networks", "2"]) == 0
    text = capsys.readouterr().out
    assert "first step of sign, means over 2 networks" in text
    assert "coherent_share[all]" in text
    assert main(["step", *SMALL, "--optimiser", "sign", "--verify"]) == 0
    assert "AGREES" in capsys.readouterr().out


def test_the_tangent_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    for words, options in (([], {}), (["--networks", "3", "--seed", "2"], {"networks": 3, "seed": 2})):
        assert main(["step", *SMALL, "--kernel", "--json", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        expected = st.tangent_kernel(ARCH, **options)
        assert [row["value"] for row in found] == pytest.approx(list(expected["value"]))
    assert main(["step", *SMALL, "--kernel"]) == 0
    text = capsys.readouterr().out
    assert ": tangent kernel, " in text
    assert "kernel_alignment[all]" in text
    assert main(["step", *SMALL, "--kernel", "--lr", "0.1", "--verify"]) == 2
    assert "--kernel does not read --lr, --verify" in capsys.readouterr().err


def test_exponents_between_depths(capsys: pytest.CaptureFixture[str]) -> None:
    small = [word for word in SMALL if word not in ("--depth", "1")]
    expected = st.step_exponents(ARCH, "sign", depths=(1, 2))
    assert main(["step", *small, "--optimiser", "sign", "--exponents", "1", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["stream"]: row["exponent"] for row in found} == pytest.approx(expected)
    assert main(["step", *small, "--optimiser", "sign", "--exponents", "1", "2"]) == 0
    text = capsys.readouterr().out
    assert "learning rates of sign go as powers of the depth, over 1 2 blocks" in text
    assert f"{expected['all']:.3f}" in text
    assert main(["step", *SMALL, "--exponents", "1", "2"]) == 2
    assert "--exponents does not read --depth" in capsys.readouterr().err


def test_wrong_rates_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--lr", "fast"], "--lr must be a number, or numbers by matrix"),
        (["--lr", "attn.quary=1"], "unknown matrix 'attn.quary'; did you mean attn.query"),
        (["--optimiser", "sine"], "unknown optimiser 'sine'; did you mean sign"),
        (["--verify", "--networks", "2"], "networks must be an integer of at least 3"),
    ):
        assert main(["step", *SMALL, *words]) == 2
        assert said in capsys.readouterr().err
