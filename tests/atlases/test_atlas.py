"""The atlas: its cells, what it says of known ones, that a wrong law is caught, and its files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from helpers import Page, rounded

import spannorm_theory as st
from spannorm_theory.asymptotics import laws
from spannorm_theory.asymptotics.growth import Growth
from spannorm_theory.atlases import cell, known
from spannorm_theory.atlases.branch_gains import ends
from spannorm_theory.atlases.build import architectures
from spannorm_theory.atlases.check import DEPTHS, mismatch
from spannorm_theory.atlases.records import LATER, OK, QUANTITIES
from spannorm_theory.atlases.trend import Trend, fit
from spannorm_theory.atlases.verdict import verdict
from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.cli.main import main
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.softmax.overlaps import head_overlaps
from spannorm_theory.softmax.query_bias import query_biases
from spannorm_theory.verification import verification

PLACEMENTS = ["no-norm", "pre-norm", "post-norm", "span-norm", "deepnorm", "keel", "siamese-norm"]
SCALINGS = ["unit", "depth-scaled-init", "keel", "layerscale-36"]
SHALLOW = (16, 64)


@pytest.fixture(scope="module")
def small() -> st.Atlas:
    return st.atlas(PLACEMENTS, SCALINGS, depths=SHALLOW, workers=2)


FLAT = "gradient at the input flat in the long run"

#: the function that derives each law
LAWS = {
    "gradient": "embedding_law",
    "ratio": "ratio_law",
    "forward": "moment_law",
    "identity": "identity_law",
    "collapse": "collapse_law",
}


def of(atlas: st.Atlas, placement: str, scaling: str = "unit") -> cell.Cell:
    (found,) = (c for c in atlas.cells if (c.arch.placement, c.arch.scaling) == (placement, scaling))
    return found


class TestCells:
    def test_rules_that_refuse_a_placement_are_left_out(self) -> None:
        found = {(a.placement, a.scaling) for a in architectures(["pre-norm", "post-norm"], ["keel", "lns"])}
        assert found == {("post-norm", "keel"), ("pre-norm", "lns")}

    def test_every_placement_and_every_rule_has_a_cell(self) -> None:
        names = list(st.placements())
        assert {a.placement for a in architectures(scalings=["unit"])} == set(names)
        assert {a.scaling for a in architectures(["no-norm", "post-norm", "sub-ln", "pre-norm"])} == set(
            st.scalings()
        )

    def test_names_and_fields_are_refused(self) -> None:
        with pytest.raises(UnknownNameError, match="pre-norm"):
            architectures(["prenorm"])
        with pytest.raises(InputError, match="width"):
            architectures(["pre-norm"], width=7)
        with pytest.raises(InputError, match="no cell is left"):
            architectures(["pre-norm"], ["keel"])
        with pytest.raises(InputError, match="networks"):
            st.atlas(["pre-norm"], ["unit"], networks=2)
        with pytest.raises(InputError, match="depths"):
            st.atlas(["pre-norm"], ["unit"], depths=[0])

    def test_a_cell_that_takes_too_long_is_reported(self) -> None:
        arch = st.Architecture("pre-norm", "deepscalelm")
        given_up = cell.compute(arch, (2000,), seconds=0.01)
        assert "more than 0.01 s" in given_up.problem
        assert given_up.failed
        assert verdict(given_up) == given_up.problem


class TestNumbers:
    @pytest.mark.exact
    def test_gains_of_aligned_and_of_independent_tokens(self) -> None:
        """Of independent tokens a row keeps the sum of its squares, and more along what its query picks."""
        arch = st.Architecture("pre-norm", activation="relu")
        aligned, independent = ends(arch)
        assert aligned == rounded((1.0, 0.5, 1.0, 0.5))
        shape = arch.tokens, arch.head_size
        picked = query_biases(1.0, 0.0, *shape).value / arch.width
        assert independent[0] == rounded(head_overlaps(1.0, 0.0, *shape).p2 + picked)
        assert independent[1::2] == rounded((0.5, 0.5))

    @pytest.mark.exact
    @pytest.mark.parametrize(
        ("trend", "logs"),
        [
            (Trend(rate=-0.2), [-0.2 * L for L in DEPTHS]),
            (Trend(power=1.5), [1.5 * np.log(L) for L in DEPTHS]),
            (Trend(rate=0.3, root=0.5), [0.3 * L**0.5 for L in DEPTHS]),
            (Trend(constant=2.0), [np.log(2.0) + 1 / L for L in DEPTHS]),
            (Trend(factorial=0.5), [0.5 * L * np.log(L) for L in DEPTHS]),
        ],
    )
    def test_fits_recover_what_they_are_given(self, trend: Trend, logs: Sequence[float]) -> None:
        """To three digits: of the constant's 1/L and of least squares at three depths."""
        found = fit(DEPTHS, logs)
        assert found.fitted
        for name in ("factorial", "rate", "power", "root"):
            assert getattr(found, name) == pytest.approx(getattr(trend, name), rel=1e-3, abs=1e-9)
        if trend.constant == 2.0:
            assert found.constant == pytest.approx(2.0, rel=1e-3)


@pytest.mark.law
class TestCheck:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"power": 1.01},
            {"power": 0.98},
            {"rate": 1e-5},
            {"log_power": 0.1},
            {"constant": 2.1},
            {"constant": 1.9},
        ],
    )
    def test_a_law_that_is_a_little_off_is_caught(self, wrong: dict[str, float]) -> None:
        right = Trend(power=1.0, constant=2.0)
        logs = [np.log(2 * L + 5 * L**0.5) for L in DEPTHS]
        assert mismatch(right, DEPTHS, logs) == ""
        assert mismatch(replace(right, **wrong), DEPTHS, logs)

    def test_a_missing_logarithm_is_caught(self) -> None:
        logs = [float(np.log(L) + np.log(np.log(L))) for L in DEPTHS]
        assert mismatch(Trend(power=1.0, constant=np.nan), DEPTHS, logs)

    def test_powers_of_the_logarithm(self) -> None:
        right = Trend(log_power=1.5, constant=0.7)
        logs = [float(np.log(0.7) + 1.5 * np.log(np.log(L) + 3)) for L in DEPTHS]
        assert mismatch(right, DEPTHS, logs) == ""
        for wrong in ({"log_power": 1.7}, {"log_power": 1.3}, {"constant": 0.8}, {"power": 0.02}):
            assert mismatch(replace(right, **wrong), DEPTHS, logs)

    @pytest.mark.parametrize(("name", "derived"), LAWS.items())
    def test_a_wrong_law_fails_the_cell_and_the_command(
        self, name: str, derived: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        right = getattr(laws, derived)

        def wrong(*asked: Any) -> Growth:
            law = right(*asked)
            return replace(law, power=law.power + 1)

        monkeypatch.setattr(laws, derived, wrong)
        for name_of in ("_known", "_laws"):  # neither reads nor keeps other laws
            monkeypatch.setattr(known, name_of, getattr(known, name_of).__wrapped__)
        arguments = ["atlas", "--placements", "span-norm", "--scalings", "depth-scaled-init", "--quiet"]
        assert main([*arguments, "--networks", "0", "--depths", "16"]) == 1
        printed = capsys.readouterr().out
        assert f"FAIL: {name}" in printed
        assert "FAIL span-norm depth-scaled-init" in printed
        assert "ln f grows by" in printed

    def test_every_law_of_the_sample_is_right(self, small: st.Atlas) -> None:
        assert small.passed
        assert small.failures == []
        for c in small.cells:
            for name, found in c.found.items():
                assert found.status in ((OK, LATER) if found.law else ("",)), (str(c.arch), name)
                assert (found.law is None) == bool(found.reason)

    def test_a_law_that_sets_in_late_is_checked_with_a_small_input(self, small: st.Atlas) -> None:
        found = of(small, "pre-norm", "layerscale-36").found["forward"]
        assert found.late
        assert found.status == OK
        assert "set in beyond depth" in verdict(of(small, "pre-norm", "layerscale-36"))


@pytest.mark.law
@pytest.mark.parametrize(
    ("placement", "scaling", "words"),
    [
        (
            "pre-norm",
            "unit",
            [
                "forward grows linearly (11 at 12, 55 at 48, 260 at 200 blocks)",
                FLAT,
                "tokens align as L^-0.68",
            ],
        ),
        (
            "post-norm",
            "unit",
            [
                "forward bounded",
                "explodes towards the input in the long run",
                "(0.29 at 12, 0.61 at 48, 15 at 200 blocks)",
                "align geometrically",
                "no part",
            ],
        ),
        ("span-norm", "depth-scaled-init", ["forward bounded", FLAT, "token alignment bounded"]),
        ("deepnorm", "unit", ["forward bounded", "L^0.5)", "align geometrically"]),
        ("keel", "keel", ["forward bounded", FLAT]),
        ("post-norm", "keel", ["nearly the identity at initialisation: cosine of input and output 1"]),
        ("no-norm", "unit", ["forward grows exponentially, e^(1.05 L)", "explodes"]),
        ("siamese-norm", "unit", ["forward grows linearly", FLAT, "tokens align as L^-0.56"]),
    ],
)
def test_verdicts_of_known_cells(small: st.Atlas, placement: str, scaling: str, words: list[str]) -> None:
    text = verdict(of(small, placement, scaling))
    for word in words:
        assert word in text


@pytest.mark.law
def test_table(small: st.Atlas) -> None:
    table = small.table
    assert len(table) == len(small.cells) == len(architectures(PLACEMENTS, SCALINGS))
    row = table[(table["placement"] == "pre-norm") & (table["scaling"] == "unit")].iloc[0]
    assert row["forward_law"] == "L"
    assert row["forward_constant"] == "sigma_a^2 + sigma_f^2"
    assert row["gradient_origin"] == "derived"
    assert row["gradient_power"] == pytest.approx(0.0215, abs=1e-3)
    assert row["ratio_power"] == pytest.approx(1.0215, abs=1e-3)
    # one normalisation: PreNorm's gradient at the embedding falls, for a unit gradient at the output
    own = [np.exp(row[f"gradient_at_{depth}"]) for depth in (12, 48, 200, 1000)]
    assert own == pytest.approx([0.73, 0.435, 0.326, 0.289], rel=0.01)
    assert row["forward_from"] == 200
    assert row["checked"] == "ok"
    first = table[(table["placement"] == "siamese-norm") & (table["scaling"] == "unit")].iloc[0]
    assert first["gradient_origin"] == "derived"
    assert "LargestEigenvalue" in first["gradient_law"]
    deep = table.dropna(subset=["cosine_64"])
    assert (deep["cosine_64"] <= 1 + 1e-12).all()
    bounded = table.dropna(subset=["forward_low"])
    assert len(bounded) > len(table) / 2
    assert (bounded["forward_low"] <= bounded["forward_high"] + 1e-12).all()


@pytest.mark.exact
def test_shares_are_those_of_the_pair_theory(small: st.Atlas) -> None:
    share = of(small, "post-norm").shares[64]
    profile = st.predict(st.Architecture("post-norm", depth=64)).set_index(["quantity", "layer"])["value"]
    assert share.update == rounded(profile["branch_share", 63])
    assert share.token_cosine == rounded(profile["token_cosine", 64])
    gain = np.prod([profile["layer_cosine", l] for l in range(64)])
    assert share.cosine == rounded(gain)


def test_files(small: st.Atlas, tmp_path: Path) -> None:
    folder = small.write(tmp_path / "new" / "folder")
    html = (folder / "atlas.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.loads == []
    assert page.tags.count("tr") == len(small.cells) + 1
    for formula in re.findall(r"<math.*?</math>", html, flags=re.DOTALL):
        ElementTree.fromstring(formula)
    table = pd.read_csv(folder / "atlas.csv")
    assert list(table["verdict"]) == [verdict(c) for c in small.cells]
    latex = (folder / "atlas.tex").read_text(encoding="utf-8")
    rows = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == len(small.cells) + 1
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {6}
    assert latex.count("{") == latex.count("}")
    assert latex.count("$") % 2 == 0
    with pytest.raises(InputError, match="cannot write"):
        small.write(folder / "atlas.csv")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(small: st.Atlas, tmp_path: Path) -> None:
    small.write(tmp_path)
    packages = "".join(rf"\usepackage{{{p}}}" for p in ("booktabs", "longtable", "amsmath", "amssymb"))
    text = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{atlas}}\end{{document}}"
    (tmp_path / "main.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)


class TestCommand:
    ARGUMENTS = ("atlas", "--placements", "pre-norm", "--scalings", "unit", "--depths", "16", "--quiet")
    SMALL = ("--width", "64", "--depth", "3", "--heads", "2", "--tokens", "8", "--networks", "32")

    def test_json_and_files(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        status = main([*self.ARGUMENTS, "--networks", "0", "--json", "--out", str(tmp_path)])
        assert status == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert row["forward_law"] == "L"
        assert row["monte_carlo"] == ""
        assert {path.name for path in tmp_path.iterdir()} == {"atlas.html", "atlas.csv", "atlas.tex"}

    def test_monte_carlo_sample(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*self.ARGUMENTS, *self.SMALL]) == 0
        assert "Monte Carlo agrees in 1 of 1 cells" in capsys.readouterr().out

    def test_a_monte_carlo_failure_exits_one(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def other(arch: st.Architecture, theory: str, progress: bool) -> Any:
            return replace(predict_profiles(arch.with_(activation="relu")), arch=arch)

        monkeypatch.setattr(verification, "predict_profiles", other)
        assert main([*self.ARGUMENTS, *self.SMALL]) == 1
        printed = capsys.readouterr().out
        assert "Monte Carlo agrees in 0 of 1 cells" in printed
        assert re.search(r"FAIL: DISAGREES: \d+ of \d+ rows", printed)

    def test_bad_input_exits_two(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["atlas", "--placements", "prenorm"]) == 2
        assert "did you mean" in capsys.readouterr().err


def test_the_sample_is_spread() -> None:
    sizes = {"depth": 1, "width": 16, "heads": 2, "tokens": 4, "depths": (1,), "networks": 3}
    rules = ["unit", "gpt2", "depth-scaled-init", "branch-sqrt-depth"]
    for sample, expected in ((2, [1, 3]), (12, [0, 1, 2, 3])):
        cells = st.atlas(["pre-norm"], rules, sample=sample, **sizes).cells
        assert [i for i, c in enumerate(cells) if c.monte_carlo] == expected


def test_quantities_are_all_there(small: st.Atlas) -> None:
    for c in small.cells:
        several = c.arch.definition.streams > 1
        assert set(c.found) == set(QUANTITIES) - ({"ratio"} if several else set())


@pytest.mark.law
def test_learning_rates_of_adam_and_sgd_or_why_there_is_none() -> None:
    rules = ["unit", "depth-scaled-init", "completep"]
    table = st.atlas(["post-norm", "siamese-norm"], rules, depths=(4,), workers=1).table
    row = table.set_index(["placement", "scaling"])
    powers = row.loc["post-norm"]
    assert list(powers["adam_rate_power"]) == [0, -1, 0]
    assert list(powers["sgd_rate_power"]) == [0, -1, 1]
    assert powers["adam_rate_exponential"]["unit"] < 0
    assert (row.loc["siamese-norm"]["rate_reason"] != "").all()
    assert row.loc["siamese-norm"]["adam_rate_power"].isna().all()
