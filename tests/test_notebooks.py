"""Every notebook executes, and the committed one shows what its source gives today."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted((HERE / "src").glob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::ResourceWarning")
def test_notebook_is_current(source: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build", HERE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build(source, tmp_path / "fresh.ipynb")
    assert (tmp_path / "fresh.ipynb").read_text() == (HERE / f"{source.stem}.ipynb").read_text()
