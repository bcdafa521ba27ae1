"""Bars of what takes longer than two seconds: shown on standard error, and only then."""

from __future__ import annotations

import io
import sys
import time

import pytest

from spannorm_theory import Architecture
from spannorm_theory.base import waiting
from spannorm_theory.prediction.positions import predict_positions


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        """True."""
        return True


def test_a_clock_is_shown_after_the_delay_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with waiting.clock("derive x"):
        pass
    assert terminal.getvalue() == ""
    monkeypatch.setattr(waiting, "DELAY", 0.01)
    with waiting.clock("derive x"):
        time.sleep(0.3)
    assert "derive x: 00:0" in terminal.getvalue()


def test_no_clock_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "DELAY", 0.01)
    with waiting.clock("derive x"):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_long_causal_predictions_show_their_blocks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arch = Architecture("pre-norm", depth=2, width=64, heads=4, tokens=128, mask="causal")
    monkeypatch.setattr(waiting, "DELAY", 0)
    predict_positions(arch, progress=True)
    assert "/4 [" in capsys.readouterr().err
    predict_positions(arch)
    assert capsys.readouterr().err == ""
