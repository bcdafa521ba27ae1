"""Colours, markers and dashes that never change, and files that do not either."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from spannorm_theory.base.errors import InputError, UnknownNameError
from spannorm_theory.plot import block_diagram, comparison, depth_profile, placement_style, save, style
from spannorm_theory.plot.canvas.marks import own_look
from spannorm_theory.prediction.predict import predict
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.spec.placements import PLACEMENTS, STANDARD, placement

SMALL = {"depth": 4, "width": 32, "heads": 4, "tokens": 8}


def test_every_placement_has_a_colour_and_a_marker_of_its_own() -> None:
    styles = [placement_style(name) for name in STANDARD]
    assert len({style.colour for style in styles}) == len(styles)
    assert len({style.marker for style in styles}) == len(styles)
    every = [placement_style(name) for name in PLACEMENTS]
    assert len({(style.colour, style.marker) for style in every}) == len(every)


def test_a_placement_looks_the_same_in_every_figure() -> None:
    tables = {p: predict(Architecture(p, **SMALL)) for p in ("pre-norm", "post-norm", "span-norm")}

    def colour(names: list[str]) -> str:
        ax = depth_profile([tables[name] for name in names], "variance")
        (line,) = [line for line in ax.lines if line.get_label() == "SpanNorm"]
        return str(line.get_color())

    expected = placement_style("span-norm").colour
    assert colour(["span-norm"]) == colour(["pre-norm", "span-norm", "post-norm"]) == expected


def own_block(x: Any, net: Any) -> Any:
    return net.norm(net.add(x, net.ffn(x)))


@pytest.mark.usefixtures("registries")
def test_own_placements_look_like_none_of_the_toolkits_and_like_no_other() -> None:
    toolkit = [placement_style(name) for name in PLACEMENTS]
    for at in range(4):
        placement(f"own-look-{at}", title=f"Own {at}", source="a test")(own_block)
    own = [placement_style(f"own-look-{at}") for at in (2, 0, 3, 1)] + [placement_style("read-from-a-file")]
    assert not {style.colour for style in own} & {style.colour for style in toolkit}
    assert not {style.marker for style in own} & {style.marker for style in toolkit}
    assert len({(style.colour, style.marker) for style in own}) == 5
    assert own[1] == placement_style("own-look-0")


def test_own_placements_have_their_looks_in_the_order_of_their_registration() -> None:
    code = (
        "import spannorm_theory as st\n"
        "for name in ('first-own', 'second-own'):\n"
        "    own = st.placement(name, title=name, source='a test')\n"
        "    own(lambda x, net: net.norm(net.add(x, net.ffn(x))))\n"
        "print(st.plot.placement_style('second-own'), st.plot.placement_style('first-own'))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert printed.stdout == f"{own_look(1)} {own_look(0)}\n"


def test_options_keep_the_colour_of_their_placement() -> None:
    plain, varied = placement_style("siamese-norm"), placement_style("siamese-norm(depth_scaling=False)")
    assert varied.colour == plain.colour
    assert (varied.marker, varied.dash) != (plain.marker, plain.dash)
    assert varied.hollow


@pytest.mark.parametrize("suffix", ["pdf", "png", "svg"])
def test_equal_figures_give_equal_files(tmp_path: Path, suffix: str) -> None:
    arch = Architecture("span-norm", **SMALL)
    figures = [depth_profile(predict(arch), "variance").figure for _ in range(2)]
    first, second = (save(f, tmp_path / f"{i}.{suffix}").read_bytes() for i, f in enumerate(figures))
    assert first == second
    assert len(first) > 1000


def test_fonts_are_embedded_as_truetype(tmp_path: Path) -> None:
    path = save(block_diagram("span-norm").figure, tmp_path / "block.pdf")
    content = path.read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


def test_files_that_cannot_be_written_are_said_in_one_line(tmp_path: Path) -> None:
    figure = block_diagram("pre-norm").figure
    with pytest.raises(InputError, match=r"saved as \.pdf, \.svg or \.png"):
        save(figure, tmp_path / "x.jpg")
    with pytest.raises(InputError, match="cannot write"):
        save(figure, tmp_path / "nowhere" / "x.png")


def test_a_style_sets_sizes_until_its_block_ends() -> None:
    table = predict(Architecture("span-norm", **SMALL))
    house = depth_profile(table, "variance").figure.get_figwidth()
    with style("talk"):
        talk = depth_profile(table, "variance")
        assert talk.yaxis.label.get_fontsize() == 16
    assert talk.figure.get_figwidth() > depth_profile(table, "variance").figure.get_figwidth() == house
    with pytest.raises(UnknownNameError, match="did you mean neurips"):
        style("neurps")


@pytest.mark.parametrize(("name", "full"), [("neurips", 5.5), ("icml", 6.75), ("iclr", 5.5), ("tmlr", 6.5)])
def test_venues_have_the_text_width_of_their_class_file(name: str, full: float) -> None:
    table = predict(Architecture("span-norm", **SMALL))
    with style(name):
        figure = comparison([table], ["variance"])
    assert figure.get_figwidth() == full


def test_a_plain_call_stays_in_force_and_leaves_matplotlib_alone() -> None:
    before = dict(mpl.rcParams)
    chosen = style("iclr")
    assert block_diagram("pre-norm").title.get_fontsize() == pytest.approx(1.1 * chosen.rc["font.size"])
    style("house")
    assert dict(mpl.rcParams) == before


def test_a_figure_is_saved_in_the_style_it_was_made_in(tmp_path: Path) -> None:
    table = predict(Architecture("span-norm", **SMALL))
    with style("talk"):
        inside = save(depth_profile(table, "variance").figure, tmp_path / "a.svg").read_bytes()
        figure = depth_profile(table, "variance").figure
    assert save(figure, tmp_path / "b.svg").read_bytes() == inside
