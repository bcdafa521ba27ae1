"""``spannorm compare``, and the flags of an architecture on report and figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import spannorm_theory as st
from spannorm_theory.base.errors import InputError
from spannorm_theory.cli.main import main
from spannorm_theory.report.figure_set import Recipe, cost

SMALL = ["--depth", "3", "--width", "32", "--heads", "2", "--tokens", "8", "--quiet"]
TINY = ["--depth", "2", "--width", "32", "--heads", "2", "--tokens", "8", "--networks", "3", "--quiet"]

MINE = """
def my_norm(x, net):
    y = net.norm(net.add(x, net.attention(x)))
    return net.add(y, net.ffn(net.norm(y)))
"""

REGISTERED = """
from spannorm_theory import placement

@placement("two-streams", title="Two", source="here", streams=2, readout=lambda s, net: net.norm(s[0]))
def mine(streams, net):
    x, y = streams
    x = net.add(x, net.attention(net.norm(y)))
    return x, net.add(y, net.ffn(net.norm(x)))
"""


def test_the_table_the_sentences_and_the_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registries: None
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "other.py").write_text(REGISTERED)
    mine, other = f"{tmp_path / 'mine.py'}:my_norm", f"{tmp_path / 'other.py'}:mine"
    figure = tmp_path / "f.png"
    names = ["pre-norm ffn_ratio=2", f"{mine}@gpt2 ffn_ratio=2", other]
    assert main(["compare", *names, "--no-laws", "--figure", str(figure), *SMALL]) == 0
    text = capsys.readouterr().out
    assert text.startswith("candidate")
    for name in ("pre-norm@unit ffn_ratio=2", "my-norm@gpt2 ffn_ratio=2", "two-streams@unit"):
        assert f"\n{name}: squared gradient" in text
    with Image.open(figure) as image:
        record = json.loads(image.info["Description"])
    assert len(record["architectures"]) == 3
    assert record["networks"] == 0


def test_json_is_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "post-norm", "pre-norm", "--sort", "given", "--no-laws", "--json", *SMALL]
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)
    found = st.compare(
        ["post-norm", "pre-norm"], sort_by="given", laws=False, depth=3, width=32, heads=2, tokens=8
    )
    assert [row["candidate"] for row in rows] == ["post-norm@unit", "pre-norm@unit"]
    assert rows[1]["squared_gradient"] == found.table["squared_gradient"][1]
    assert rows[0]["sentence"] == found.sentences[0]
    assert rows[1]["cosine_above_0.9"] is None


def test_a_model_and_any_field(capsys: pytest.CaptureFixture[str]) -> None:
    fields = ["--like", "llama-3-8b", "--depth", "2", "--width", "64", "--heads", "4", "--kv-heads", "2"]
    assert main(["compare", "pre-norm", "--no-laws", "--json", "--quiet", *fields]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["depth"], row["width"], row["theory"]) == (2, 64, "sampled")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pre-nrm"], "did you mean pre-norm"),
        (["pre-norm@gpt3"], "did you mean gpt2"),
        (["nowhere.py:f"], "of a file that exists"),
        (["nowhere.py"], "expected FILE.py:NAME"),
        (["pre-norm,ffn_ratio=2"], "such as 'pre-norm gpt2 depth=24'"),
        (["pre-norm@unit depht=5"], "did you mean depth"),
        (["pre-norm", "--sort", "los"], "did you mean loss"),
        (["pre-norm", "--figure", "f.gif"], ".pdf, .svg or .png"),
        (["pre-norm", "--figure", "no/dir/f.pdf"], "no/dir"),
        (["pre-norm", "--latex", "--columns", "candidate,los"], "did you mean loss"),
        (["pre-norm", "--like", "llama-3-8"], "did you mean llama-3-8b"),
    ],
)
def test_bad_candidates_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_one_figure_of_the_set_with_any_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = ["--like", "llama-3-8b", "--kv-heads", "1", "--out", str(tmp_path)]
    assert main(["figures", "rank-collapse", "pre-norm", *TINY, *fields]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"rank-collapse.{form}" for form in ("json", "pdf", "png", "svg")
    ]
    recipe = json.loads((tmp_path / "rank-collapse.json").read_text())
    archs = recipe["architectures"]
    assert {(a["activation"], a["mask"], a["kv_heads"], a["scaling"]) for a in archs} == {
        ("swiglu", "causal", 1, "unit"),
        ("swiglu", "causal", 1, "depth-scaled-init"),
    }
    assert main(["figures", "rank-colapse", *TINY, *fields]) == 2
    assert "did you mean rank-collapse" in capsys.readouterr().err


def test_a_set_says_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"depth": 2, "width": 32, "heads": 2, "tokens": 8, "networks": 3, "names": "comparison"}
    st.write_figures(tmp_path, "pre-norm", "unit", **sizes)
    said = capsys.readouterr().err.splitlines()[0]
    assert said == (
        "spannorm: 1 figure(s) of 1 architectures simulate 3 networks of depth 2, width 32, 8 tokens, "
        "about 1 s"
    )
    with pytest.raises(InputError, match=r"beyond 1 s; take a smaller --width.*--longest"):
        st.write_figures(tmp_path / "no", "pre-norm", "unit", **{**sizes, "longest": 1e-9})
    assert not list((tmp_path / "no").iterdir())


def test_what_is_estimated_grows_with_networks_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    archs = tuple(st.Architecture("pre-norm", depth=depth, width=32, heads=2) for depth in (4, 6))
    recipe = Recipe("x", "comparison", "icml", archs, 10, 0)
    monkeypatch.setattr(cost, "_block", lambda arch: 0.5)
    monkeypatch.setattr("spannorm_theory.montecarlo.resources.cores", lambda: 2)
    assert cost.estimated([recipe]) == 0.5 * 10 * (4 + 6) / 2
    spectra = Recipe("y", "spectra", "icml", archs, 10, 0)  # draws its own beside those of its caption
    assert cost.estimated([spectra]) == 2 * cost.estimated([recipe])
    assert cost.estimated([Recipe("z", "branch-map", "icml", archs[:1], 10, 0)]) == 0


FILES = {
    "predict": (["predict", "{}"], "my-norm unit depth=3"),
    "derive": (["derive", "{}", "--scaling", "gpt2"], "my-norm, scaling gpt2"),
    "simulate": (["simulate", "{}", "--networks", "3"], "my-norm unit depth=3"),
    "verify": (["verify", "{}", "--networks", "3"], "my-norm unit"),
    "expected": (["expected", "{}"], "my-norm unit"),
    "step": (["step", "{}"], "my-norm unit depth=3"),
    "compare": (["compare", "{}@gpt2", "--no-laws"], "my-norm@gpt2"),
}


@pytest.mark.parametrize(("words", "shown"), FILES.values(), ids=FILES)
def test_every_command_takes_a_placement_of_a_file(
    words: list[str], shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], registries: None
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    file = f"{tmp_path / 'mine.py'}:my_norm"
    sizes = [] if words[0] == "derive" else SMALL[: 8 if words[0] in ("predict", "expected") else 9]
    assert main([word.format(file) for word in words] + sizes) in (0, 1)  # 1: three networks decide nothing
    assert shown in capsys.readouterr().out


def test_a_figure_of_a_placement_of_a_file(tmp_path: Path, registries: None) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    command = ["figures", "block-my-norm-unit", "--placements", f"{tmp_path / 'mine.py'}:my_norm", "--quiet"]
    assert main([*command, "--scalings", "unit", "--out", str(tmp_path / "f")]) == 0
    assert (tmp_path / "f" / "block-my-norm-unit.pdf").exists()


def test_a_recipe_finds_the_files_of_its_placements(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], registries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spannorm_theory.spec.placement import PLACEMENTS

    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    with PLACEMENTS.temporarily():
        assert main(["figures", "block-my-norm-unit", "mine.py:my_norm", "--quiet", "--out", "f"]) == 0
    assert json.loads(Path("f/block-my-norm-unit.json").read_text())["files"] == {
        "my-norm": "mine.py:my_norm"
    }

    def again(*files: str) -> int:
        with PLACEMENTS.temporarily():
            return main(["figures", "--from", "f/block-my-norm-unit.json", *files, "--quiet", "--out", "g"])

    assert again() == 0
    for path in Path("f").iterdir():
        assert (Path("g") / path.name).read_bytes() == path.read_bytes()
    Path("mine.py").rename("moved.py")
    capsys.readouterr()
    assert again() == 2
    error = capsys.readouterr().err
    assert "draws 'my-norm', of mine.py:my_norm; say where it is now" in error
    assert error.count("\n") == 1
    assert again("moved.py:my_norm") == 0


def test_one_file_is_one_module_and_its_errors_say_where(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    registries: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("other.py", "again.py"):
        (tmp_path / name).write_text(REGISTERED)
    (tmp_path / "wrong.py").write_text("x = 1\nimport no_such_module\n")
    (tmp_path / "span.py").write_text(MINE.replace("my_norm", "span_norm"))
    (tmp_path / "syntax.py").write_text("\nx = = 1\n")

    def refused(*names: str) -> str:
        assert main(["compare", *names, "--no-laws", *SMALL]) == 2
        return capsys.readouterr().err

    assert "is given twice; say it once" in refused("other.py:mine", "./other.py:mine")
    assert "again.py: the placement 'two-streams' exists already" in refused("other.py:mine", "again.py:mine")
    assert f"No module named 'no_such_module' ({tmp_path / 'wrong.py'}:2)" in refused("wrong.py:f")
    assert f"({tmp_path / 'syntax.py'}:2)" in refused("syntax.py:f")
    assert "give the function another name" in refused("span.py:span_norm")


def test_a_table_for_a_paper(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "pre-norm", "post-norm", "--no-laws", "--latex", *SMALL]) == 0
    head = capsys.readouterr().out.splitlines()[2]
    assert head.startswith("candidate & squared gradient & gradient ratio &")
    assert head.count("&") <= 6
    command = ["compare", "pre-norm", "--no-laws", "--latex", "--columns", "candidate,token_cosine", *SMALL]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[2] == r"candidate & token cosine \\"
    assert main(["compare", "pre-norm", "--columns", "loss", *SMALL]) == 2
    assert "--latex" in capsys.readouterr().err


def test_standard_placements_that_cannot_have_a_field_are_left_out() -> None:
    from spannorm_theory.placement_pages.cells import architectures

    size = {"depth": 2, "width": 32, "heads": 2, "tokens": 8}
    found = architectures(None, "unit", **size, norm_epsilon=1e-5)
    assert len(found) == 7
    assert "no-norm" not in {arch.placement for arch in found}
    with pytest.raises(InputError, match="no-norm, which norms no stream"):
        architectures("no-norm", "unit", **size, norm_epsilon=1e-5)
    with pytest.raises(InputError, match="divisible"):
        architectures(None, "unit", **{**size, "heads": 3})


@pytest.mark.parametrize("command", [["predict", "--depth", "3"], ["derive"]])
def test_a_rule_may_stand_behind_a_placement(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "pre-norm@gpt2"]) == 0
    joined = capsys.readouterr().out
    assert main([*command, "pre-norm", "--scaling", "gpt2"]) == 0
    assert capsys.readouterr().out == joined
    assert main([*command, "pre-norm@gpt2", "--scaling", "unit"]) == 2
    assert "--scaling; say it once" in capsys.readouterr().err
