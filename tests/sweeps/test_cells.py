"""Specifications: what they hold, what they refuse, and cells that are what their text says."""

import pytest

from spannorm_theory import Architecture
from spannorm_theory.base.errors import InputError
from spannorm_theory.sweeps.cells import Cell, Specification, fields_of, grid, read_specification, specify
from spannorm_theory.sweeps.worker import neighbours

SMALL = {"depth": 2, "width": 16, "heads": 2, "tokens": 4}
TEXT = """
networks = 8
chunk = 4
seeds = [0, 3]
device = "cpu"

[grid]
placement = ["pre-norm", "siamese-norm(depth_scaling=False)"]
depth = [2, 3]
width = 16
heads = 2
tokens = 4

[[architecture]]
placement = "post-norm"
scaling = "gpt2"
init = 0.02
"""


def test_a_file_is_a_grid_and_a_list(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(TEXT)
    found = read_specification(path)
    assert len(found.archs) == 5
    assert found.archs[-1] == "post-norm gpt2 init=0.02"
    cells = found.cells()
    assert len(cells) == len({cell.key for cell in cells}) == 5 * 2 * 2
    assert {(cell.seed, cell.first) for cell in cells} == {(0, 0), (0, 4), (3, 0), (3, 4)}
    assert Specification.parse(found.text) == found
    assert read_specification(path, networks=4).networks == 4


@pytest.mark.exact
def test_a_cell_is_its_text():
    (cell,) = specify([Architecture("pre-norm", **SMALL)], networks=4, device="cpu").cells()
    assert Cell.parse(cell.text) == cell
    # the name of a file in stores that exist: a change here orphans them
    assert cell.text == (
        '{"arch":"pre-norm unit depth=2 width=16 heads=2 tokens=4","count":4,"device":"cpu",'
        '"dtype":"float32","engine":"auto","first":0,"seed":0}'
    )
    assert cell.key == "3d45ee5a1f61a39235d34be6b11600d1"
    with pytest.raises(InputError, match="text form of a cell"):
        Cell.parse(cell.text.replace(",", ", "))


@pytest.mark.exact
@pytest.mark.parametrize(
    "arch",
    [
        Architecture("siamese-norm(depth_scaling=False)", "gpt2", init=0.02, logit_variance=4.0),
        Architecture("pre-norm", qk_norm=True),
    ],
)
def test_fields_are_read_without_building_the_architecture(arch):
    assert fields_of(str(arch)) == arch.to_dict()


def test_neighbours_are_runs_of_one_ensemble():
    cells = specify(
        [Architecture("pre-norm", **SMALL)], networks=12, chunk=4, seed=[0, 1], device="cpu"
    ).cells()
    assert [len(run) for run in neighbours(cells)] == [3, 3]
    assert [len(run) for run in neighbours([cells[0], *cells[2:]])] == [1, 1, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "netwroks = 4\n[grid]\nplacement = 'pre-norm'",
            "unknown field of a sweep 'netwroks'; did you mean networks",
        ),
        (
            "[grid]\nplacement = 'pre-norm'\ndeep = 3",
            "unknown field of Architecture 'deep'; did you mean depth",
        ),
        ("[grid]\nplacement = 'prenorm'", "did you mean pre-norm"),
        ("[[architecture]]\nplacement = 'pre-norm'\nwidht = 3", "did you mean width"),
        ("[grid]\nplacement = ['pre-norm', 'pre-norm']", "comes twice"),
        ("seeds = [1, 1]\n[grid]\nplacement = 'pre-norm'", "seed 1 comes twice"),
        ("seed = 1\nseeds = [1]\n[grid]\nplacement = 'pre-norm'", "both seed and seeds"),
        ("networks = 20\n[grid]\nplacement = 'pre-norm'", "take 16 or 32"),
        ("networks = 0\n[grid]\nplacement = 'pre-norm'", "networks must be"),
        ("device = 'gpu'\n[grid]\nplacement = 'pre-norm'", "device must be .auto., .cpu., .cuda."),
        ("imports = ['no_such_module']\n[grid]\nplacement = 'pre-norm'", "cannot import 'no_such_module'"),
        ("networks = 4", "at least one architecture"),
        ("grid = 3", r"write one table \[grid\]"),
        ("= 3", "is not TOML"),
    ],
)
def test_bad_specifications(text, message, tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_specification(path)


def test_a_file_that_is_not_there():
    with pytest.raises(InputError, match="cannot read"):
        read_specification("nowhere.toml")


def test_an_impossible_combination_is_named():
    with pytest.raises(InputError, match="divisible by heads"):
        grid({"placement": "pre-norm", "width": 16, "heads": [2, 3]})
