"""The report end to end at a tiny size, and what must hold of its folder and page."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from browser import CHROMIUM, Browser
from helpers import Page

import spannorm_theory as st
import spannorm_theory.report.write as write_module
from spannorm_theory._version import __version__
from spannorm_theory.base.errors import AssumptionError, InputError, NonFiniteError, UnknownNameError
from spannorm_theory.base.quantities import SPECTRAL
from spannorm_theory.literature import ClaimsReport, claims, load_claims
from spannorm_theory.placement_pages import cells as cells_module
from spannorm_theory.placement_pages import page as placement_module
from spannorm_theory.report import write_report
from spannorm_theory.report.folder import replacing
from spannorm_theory.spec.architecture import Architecture

TINY = {"depth": 4, "width": 32, "heads": 4, "tokens": 8, "networks": 4, "progress": False}
PLACEMENTS = ["pre-norm", "siamese-norm"]


@pytest.fixture(scope="module", autouse=True)
def _claims_are_derived_once() -> Iterator[None]:
    """By the first report here; the others print what it found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_module, "claims", lru_cache(claims))
        yield


@pytest.fixture
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what else a report holds: figures are most of its time."""
    monkeypatch.setattr(write_module, "comparisons", lambda cells, folder: [])
    monkeypatch.setattr(placement_module, "diagrams", lambda cells, folder: [])
    monkeypatch.setattr(placement_module, "profiles", lambda cells, folder: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "deep" / "report"
    return write_report(out, PLACEMENTS, ["depth-scaled-init"], **TINY)


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[str, str]:
    """Every page by its address inside the report."""
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*.html")}


def test_the_folder_holds_page_figures_tables_and_record(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "index.html",
        "figures.html",
        "atlas.html",
        "claims.html",
        "notation.html",
        "placements/pre-norm.html",
        "placements/siamese-norm.html",
        "report.json",
        "tables/verification.csv",
        "tables/overview.csv",
        "tables/laws.csv",
    } <= names
    for stem in ("ranking", "comparison"):
        assert {f"figures/{stem}.pdf", f"figures/{stem}.png"} <= names
    for stem in (
        "weight-gradients-depth-scaled-init",
        "block-siamese-norm-depth-scaled-init",
        "profiles-pre-norm",
    ):
        assert {f"figures/{stem}.pdf", f"figures/{stem}.png"} <= names
    assert [path.name for path in folder.parent.iterdir()] == ["report"]


def test_the_pages_load_nothing_from_elsewhere_and_lead_to_what_is_there(
    folder: Path, pages: dict[str, str]
) -> None:
    for address, html in pages.items():
        page = Page(html)
        assert all(load.startswith("data:") for load in page.loads)
        assert not {"link", "iframe", "object"} & set(page.tags)
        assert "@import" not in html
        assert not re.search(r"url\((?!data:)|<script src", html)
        for link in page.links:
            if link.startswith("#"):
                assert link[1:] in page.ids, (address, link)
            elif not link.startswith("https://"):
                assert (folder / address).parent.joinpath(link).is_file(), (address, link)


def test_the_pages_have_formulas_and_figures(pages: dict[str, str]) -> None:
    html = pages["placements/siamese-norm.html"]
    formulas = re.findall(r"<math.*?</math>", html, flags=re.DOTALL)
    assert len(formulas) > 30
    for formula in formulas:
        ElementTree.fromstring(formula)
    page = Page(html)
    images = [load for load in page.loads if load.startswith("data:image/svg+xml;base64,")]
    assert len(images) == 2  # the block, the profiles
    for image in images:
        ElementTree.fromstring(b64decode(image.partition(",")[2]))
    assert set(page.tags) >= {"h1", "nav", "table", "figure", "figcaption", "details"}
    assert re.search(r"it is not the\s+gradient", html)
    assert "4 independent networks" in pages["index.html"]


def test_the_report_starts_with_the_ranking(folder: Path, pages: dict[str, str]) -> None:
    html = pages["index.html"]
    table = html[html.index("<tbody>") : html.index("</tbody>")]
    order = re.findall(r'<a href="placements/([a-z-]+)\.html">', table)
    best = st.compare([Architecture.parse(row["architecture"]) for row in _verdicts(folder)], laws=False)
    assert order == list(best.table["placement"])
    shown = re.findall(r"<td[^>]*>([0-9.]+)</td>", table)
    assert f"{best.table['gradient_ratio'][0]:.3g}" in shown


def _verdicts(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "report.json").read_text())["verdicts"])


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium brings it")
def test_every_page_fits_its_window_and_no_console_complains(
    folder: Path, pages: dict[str, str], tmp_path: Path
) -> None:
    with Browser(tmp_path) as browser:
        for address in pages:
            for width in (1400, 390):
                browser.visit(folder / address, width)
                assert browser.errors == []
                assert browser.tell("document.documentElement.scrollWidth") <= width, (address, width)
            if "<math" in pages[address]:
                fonts = "document.fonts.ready.then(() => [...document.fonts].map(f => f.status).join())"
                assert browser.tell(fonts) == "loaded", address


def test_the_record_says_what_was_run_and_how_it_came_out(folder: Path) -> None:
    record = json.loads((folder / "report.json").read_text())
    assert record["seed"] == 0
    assert {"python", "numpy", "torch"} <= set(record["versions"])
    assert record["versions"]["spannorm_theory"] == __version__
    archs = [Architecture.parse(verdict["architecture"]) for verdict in record["verdicts"]]
    assert [(a.placement, a.scaling) for a in archs] == [(p, "depth-scaled-init") for p in PLACEMENTS]
    for verdict in record["verdicts"]:
        assert isinstance(verdict["passed"], bool)
        assert verdict["networks"] == 4


def test_the_claims_page_says_whose_networks_it_shows(folder: Path, pages: dict[str, str]) -> None:
    text = pages["claims.html"]
    assert "those of the run of all claims that comes with the" in text
    assert '<a href="index.html">' in text
    record = json.loads((folder / "report.json").read_text())["claims"]
    assert record == {"run": len(load_claims()), "simulated": False, "changed": {}}


@pytest.mark.usefixtures("_without_figures")
def test_a_full_report_checks_claims_and_draws_planes_that_survive_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spannorm_theory.report import phase_presets as presets  # registers scaling rules: not for all tests

    asked: list[dict[str, object]] = []

    def quick(**options: object) -> ClaimsReport:
        asked.append(options)
        return claims(["swin-v2-identity"], simulated=bool(options["simulated"]))

    sizes = {"width": 16, "heads": 2, "tokens": 4}
    points = {
        (depth, cosine): Architecture("pre-norm", depth=depth, input_cosine=cosine, **sizes)
        for depth in (1, 2)
        for cosine in (0.0, 0.5)
    }
    plane = presets.Preset("tiny", "a plane", "depth", "input_cosine", {}, points, "token_cosine", -1, 4)
    monkeypatch.setattr(write_module, "claims", quick)
    monkeypatch.setattr(presets, "PRESETS", {"tiny": plane})
    out = write_report(tmp_path / "report", ["post-norm"], ["unit"], **TINY, full=True)
    assert asked == [{"full": True, "simulated": True}]
    assert "comes with the package" not in (out / "claims.html").read_text()
    page = (out / "figures.html").read_text()
    assert '<h2 id="phases">' in page
    assert "4 architectures of width 16" in page
    table = pd.read_csv(out / "tables" / "phase-tiny.csv")
    assert np.allclose(table["theory"], table["estimate"], atol=0.3)
    assert (out / "figures" / "phase-tiny.pdf").is_file()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("sweeps/cells/*")}
    assert len(kept) == 4
    write_report(out, ["post-norm"], ["unit"], **TINY, full=True)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("sweeps/cells/*")} == kept


def test_planes_survive_a_report_that_fails(tmp_path: Path) -> None:
    cell = tmp_path / "report" / "sweeps" / "cell"
    cell.parent.mkdir(parents=True)
    cell.write_text("precious")
    for error in (KeyboardInterrupt, None):
        with suppress(KeyboardInterrupt), replacing(tmp_path / "report", "report.json", "sweeps") as folder:
            (folder / "report.json").write_text("{}")
            if error is not None:
                raise error
        assert cell.read_text() == "precious"
    assert (tmp_path / "report" / "report.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("moment", ["work", "moved", "cells moved"])
def test_the_next_report_undoes_what_a_kill_left(tmp_path: Path, moment: str) -> None:
    """Killed at work, or between the two renames that put the new report in the place of the old one."""
    out, staging, earlier = (
        tmp_path / name for name in ("report", ".report.new-01234567", ".report.old-01234567")
    )
    (out / "sweeps").mkdir(parents=True)
    (out / "report.json").write_text("earlier")
    staging.mkdir()
    (staging / "report.json").write_text("half")
    if moment != "work":
        out.rename(earlier)
    if moment == "cells moved":
        (earlier / "sweeps").rename(staging / "sweeps")
    with suppress(KeyboardInterrupt), replacing(out, "report.json", "sweeps") as folder:
        assert (out / "report.json").read_text() == "earlier"
        assert (out / "sweeps").is_dir()
        with replacing(out, "report.json", "sweeps"):  # a second process takes nothing from this one
            assert folder.is_dir()
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_the_tables_hold_every_row(folder: Path) -> None:
    table = pd.read_csv(folder / "tables" / "verification.csv")
    record = json.loads((folder / "report.json").read_text())
    assert len(table) == sum(verdict["rows"] for verdict in record["verdicts"])
    assert {"theory", "estimate", "se", "z", "verdict", "low", "high"} <= set(table.columns)
    laws = pd.read_csv(folder / "tables" / "laws.csv", dtype=str)
    row = laws[(laws["placement"] == "pre-norm") & (laws["quantity"] == "q")].iloc[0]
    assert (row["order"], row["closed_form"]) == ("1", "(L*q_0 + l*sigma_a^2 + l*sigma_f^2)/L")


def test_equal_inputs_give_equal_files_and_replace_the_old_report(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    out.mkdir()
    (out / "report.json").write_text("{}")
    (out / "stale.txt").write_text("from an earlier report")
    write_report(out, ["post-norm"], ["gpt2"], **TINY)
    assert not (out / "stale.txt").exists()
    first = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    write_module.claims.cache_clear()  # type: ignore[attr-defined]
    write_report(out, ["post-norm"], ["gpt2"], **TINY)
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first


def test_a_failure_midway_leaves_the_earlier_report_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    out.mkdir()
    (out / "report.json").write_text("the earlier one")

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write_module, "comparisons", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(out, ["pre-norm"], ["unit"], **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert [path.name for path in out.iterdir()] == ["report.json"]
    assert (out / "report.json").read_text() == "the earlier one"


def test_targets_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write the report to .*: it is a file"):
        write_report(tmp_path / "file", ["pre-norm"], **TINY)
    with pytest.raises(InputError, match=r"cannot write the report to .*Not a directory"):
        write_report(tmp_path / "file" / "report", ["pre-norm"], **TINY)
    with pytest.raises(InputError, match="holds something else"):
        write_report(tmp_path, ["pre-norm"], **TINY)
    with pytest.raises(InputError, match="at least one placement"):
        write_report(tmp_path / "out", [], **TINY)
    with pytest.raises(UnknownNameError, match="did you mean span-norm"):
        write_report(tmp_path / "out", ["spam-norm"], **TINY)
    with pytest.raises(InputError, match="at least 3 for a standard error"):
        write_report(tmp_path / "out", ["pre-norm"], **{**TINY, "networks": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("_without_figures")
@pytest.mark.parametrize("predicted", [True, False])
def test_what_cannot_be_simulated_is_said_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, predicted: bool
) -> None:
    verify, predict = cells_module.verify, cells_module.predict

    def failing(arch: Architecture, **options: object) -> object:
        if arch.placement == "no-norm":
            raise NonFiniteError("variance is not finite at layer 3")
        return verify(arch, **options)

    def outside(arch: Architecture) -> pd.DataFrame:
        if not predicted:
            raise AssumptionError("leaves float64's range")
        return predict(arch)

    monkeypatch.setattr(cells_module, "verify", failing)
    monkeypatch.setattr(cells_module, "predict", outside)
    out = write_report(tmp_path / "report", ["no-norm", "post-norm"], ["unit"], **TINY)
    first, second = json.loads((out / "report.json").read_text())["verdicts"]
    assert (first["passed"], first["verdict"]) == (False, "not simulated")
    assert first["reason"] == "variance is not finite at layer 3"
    assert "rows" in second
    assert (
        "not simulated. variance is not finite at layer 3."
        in (out / "placements" / "no-norm.html").read_text()
    )
    table = pd.read_csv(out / "tables" / "verification.csv")
    assert ("no-norm" in set(table["placement"])) == predicted
    # the theory declines the rank metrics of saturated attention
    predicted = ~table["quantity"].isin([*SPECTRAL, "rank_residual"])
    assert np.isfinite(table["theory"][predicted]).all()


def test_the_report_compares_dense_with_experts(pages: dict[str, str]) -> None:
    html = pages["figures.html"]
    assert 'id="experts"' in html
    rows = re.findall(r"<td>(dense|2 of 8 experts|Switch, 1 of 8)</td><td class=\"n\">([0-9.]+)</td>", html)
    assert [name for name, _ in rows] == ["dense", "2 of 8 experts", "Switch, 1 of 8"]


def test_overview_has_the_gradient_of_several_streams(folder: Path) -> None:
    laws = pd.read_csv(folder / "tables" / "overview.csv").set_index("placement")["gradient_law"]
    assert laws["pre-norm"].startswith("Theta(1)")
    assert laws["siamese-norm"].startswith("Theta(1)")


def test_captions_are_text(pages: dict[str, str]) -> None:
    assert "gradient variance γ; token cosine ρ" in pages["figures.html"]
    assert "$" not in re.sub(r"<script>.*</script>", "", pages["figures.html"], flags=re.DOTALL)
