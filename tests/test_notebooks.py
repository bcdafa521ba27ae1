"""Every notebook runs at its small size without a warning, and the committed ones show their sources."""

from __future__ import annotations

import ast
import importlib.util
import os
from pathlib import Path

import jupytext
import nbformat
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import spannorm_theory as st

HERE = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted((HERE / "src").glob("*.py"))
names = pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)


def private_names(source: str) -> list[str]:
    """Names of the toolkit in a notebook's source that are not public."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spannorm_theory"):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.startswith("spannorm_theory.")]
        elif isinstance(node, ast.Attribute):
            of, name = ast.unparse(node.value), node.attr
            known = {"st": dir(st), "st.plot": st.plot.__all__}.get(of)
            if (name.startswith("_") and name != "__init__") or (known is not None and name not in known):
                found.append(ast.unparse(node))
    return found


def show(value: object) -> None:
    """What a notebook would do with a cell's last value, without encoding the picture."""
    figure = value.get_figure(root=True) if isinstance(value, Axes) else value
    if isinstance(figure, Figure):
        figure.draw_without_rendering()
    for form in ("_repr_html_", "_repr_latex_", "_repr_markdown_"):
        if hasattr(value, form):
            getattr(value, form)()


@names
@pytest.mark.usefixtures("registries", "own_generator")
def test_a_notebook_runs_at_its_small_size(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SPANNORM_SIZE", "small")
    monkeypatch.chdir(HERE)
    space: dict[str, object] = {"__name__": "__main__"}
    for cell in jupytext.read(source).cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(source), "exec"), space)
        if last is not None:
            show(eval(compile(ast.Expression(last.value), str(source), "eval"), space))


@names
def test_a_notebook_uses_public_names(source: Path) -> None:
    assert private_names(source.read_text()) == []


def test_private_names_are_found() -> None:
    source = (
        "from spannorm_theory.spec import room\nimport spannorm_theory.plot\nst.nope\nst.plot.nope\nst._HOME"
    )
    assert len(private_names(source)) == 5


@names
def test_the_committed_notebook_has_the_sources_cells_and_outputs(source: Path) -> None:
    committed = nbformat.read(HERE / f"{source.stem}.ipynb", as_version=4)
    fresh = jupytext.read(source)
    assert [(c.cell_type, c.source) for c in committed.cells] == [
        (c.cell_type, c.source) for c in fresh.cells
    ]
    outputs = [output for cell in committed.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::ResourceWarning")
def test_building_again_leaves_no_difference(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build", HERE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    source = SOURCES[0]
    module.build(source, tmp_path / "fresh.ipynb")
    assert (tmp_path / "fresh.ipynb").read_text() == (HERE / f"{source.stem}.ipynb").read_text()
