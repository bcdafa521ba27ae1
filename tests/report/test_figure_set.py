"""The standard set of figures: what is written, what the files know, and that a recipe makes them again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from spannorm_theory._version import __version__
from spannorm_theory.base.errors import InputError
from spannorm_theory.cli.main import main
from spannorm_theory.placement_pages.cells import architectures, groups
from spannorm_theory.report.figure_set import Recipe, remake, write_figures
from spannorm_theory.report.figure_set.write import FORMS, standard_set
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.spec.placements import STANDARD

SIZES = ["--depth", "3", "--width", "32", "--heads", "2", "--tokens", "8", "--networks", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures")
    write_figures(
        path, ["pre-norm", "span-norm"], ["unit"], 3, 64, 2, 8, networks=3, style="tmlr", progress=False
    )
    return path


def test_the_set_is_complete_in_every_form(folder: Path) -> None:
    names = {path.stem for path in folder.glob("*.json")}
    assert names == {
        "overview",
        "comparison",
        "rank-collapse",
        "weight-gradients-unit",
        "residuals-unit",
        "spectra-unit",
        "finite-width",
        "laws",
        "positions",
        "branch-map",
        "learning-share",
        "coordinate-check",
        "block-pre-norm-unit",
        "block-span-norm-unit",
    }
    assert all((folder / f"{name}.{form}").stat().st_size > 1000 for name in names for form in FORMS)
    assert (folder / "verification.tex").read_text().startswith(r"\begin{tabular}{llrrrrll}")


@pytest.mark.parametrize(("window", "mask"), [(None, "causal"), (8, "none")])
def test_positions_are_those_of_the_design_where_its_tokens_are_unlike(window: int | None, mask: str) -> None:
    arch = Architecture("pre-norm", depth=3, width=32, heads=2, tokens=16, window=window)
    (drawn,) = (recipe for recipe in standard_set([arch], "paper", 3, 0) if recipe.kind == "positions")
    assert [one.mask for one in drawn.architectures] == [mask]


def test_each_file_carries_its_recipe(folder: Path) -> None:
    beside = json.loads((folder / "comparison.json").read_text())
    assert beside["style"] == "tmlr"
    assert [a["placement"] for a in beside["architectures"]] == ["pre-norm", "span-norm"]
    assert {"python", "torch", "matplotlib"} <= set(beside["versions"])
    assert beside["versions"]["spannorm_theory"] == __version__
    with Image.open(folder / "comparison.png") as image:
        assert json.loads(image.info["Description"]) == beside
        assert image.width == 1300  # 6.5 inches at 200 dpi
    assert b"architectures" in (folder / "comparison.pdf").read_bytes()
    assert "architectures" in (folder / "comparison.svg").read_text()


def test_captions_say_the_sizes_that_a_reader_needs(folder: Path) -> None:
    for path in folder.glob("*.json"):
        words = json.loads(path.read_text())["caption"]
        if path.stem.startswith("block") or path.stem == "branch-map":
            continue
        assert "N = 3 random networks" in words, path.stem
        assert "n = 8 tokens; L/d = 0.0" in words, path.stem
    words = json.loads((folder / "comparison.json").read_text())["caption"]
    assert "Depth L = 3 blocks, width d = 64" in words
    assert "a gradient of unit second moment per coordinate at the model's output" in words
    assert "with 95% intervals" in words


def test_panels_have_at_most_five_curves() -> None:
    archs = architectures(None, ["unit", "gpt2"], 4, 32, 2, 8)
    found = [(end, list(dict.fromkeys(arch.placement for arch in some))) for end, some in groups(archs)]
    assert found == [("", list(STANDARD)[:5]), ("-2", list(STANDARD)[5:])]
    for recipe in standard_set(archs, "icml", 4, 0):
        if recipe.kind in ("comparison", "weight-gradients", "residuals"):
            streams = {arch.placement: arch.definition.streams for arch in recipe.architectures}
            assert sum(streams.values()) <= 5


def test_what_takes_long_or_cannot_be_is_left_out_of_the_set() -> None:
    causal = [Architecture("pre-norm", depth=8, width=64, heads=2, tokens=16, mask="causal", window=4)]
    assert not {"laws", "branch-map"} & {recipe.kind for recipe in standard_set(causal, "icml", 4, 0)}
    routed = [Architecture("pre-norm", depth=8, width=64, heads=2, tokens=16, experts=4, dense_layers=4)]
    (laws,) = [recipe for recipe in standard_set(routed, "icml", 4, 0) if recipe.kind == "laws"]
    assert [arch.depth for arch in laws.architectures] == [8]  # fewer blocks would leave none of experts


@pytest.mark.exact
@pytest.mark.parametrize("name", ["overview", "finite-width", "block-span-norm-unit"])
def test_a_recipe_makes_the_same_bytes(folder: Path, tmp_path: Path, name: str) -> None:
    files = remake(folder / f"{name}.json", tmp_path)
    assert len(files) == 4
    for path in files:
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_the_command_makes_a_figure_again_and_says_what_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads((folder / "block-span-norm-unit.json").read_text())
    values["versions"]["matplotlib"] = "1.0"
    (tmp_path / "old.json").write_text(json.dumps(values))
    assert main(["figures", "--from", str(tmp_path / "old.json")]) == 0
    captured = capsys.readouterr()
    assert "matplotlib 1.0, here" in captured.err
    assert str(tmp_path / "block-span-norm-unit.pdf") in captured.out


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": 1, "architectures": [{}]}'])
def test_other_files_are_no_recipes(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError):
        remake(tmp_path / "x.json")


def test_bad_names_exit_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--style", "nips"], ["--placements", "prenorm"], ["--from", str(tmp_path / "none.json")]):
        assert main(["figures", "--out", str(tmp_path), "--quiet", *SIZES, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_kind_names_all_its_figures(tmp_path: Path) -> None:
    files = write_figures(tmp_path, ["pre-norm", "span-norm"], names="block", progress=False)
    assert {path.stem for path in files} == {
        f"block-{name}-{rule}" for name in ("pre-norm", "span-norm") for rule in ("unit", "depth-scaled-init")
    }
    with pytest.raises(InputError, match="unknown kind of figure 'xyz'; known: block, branch-map, compar"):
        write_figures(tmp_path, "pre-norm", names="xyz", progress=False)


def test_a_recipe_round_trips() -> None:
    recipe = Recipe("x", "block", "icml", (Architecture("span-norm"),), 4, 0, {"title": False})
    assert Recipe.from_dict(json.loads(recipe.line)) == recipe
    assert recipe.changes() == []
