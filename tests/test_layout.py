"""The rooms are those that the contract of imports and the documentation name, and the checks are run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {path.parent.name for path in (ROOT / "spannorm_theory").glob("*/__init__.py")}


def recipe(target: str) -> str:
    """What make does for a target."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert found is not None, target
    return found[1]


@pytest.mark.exact
def test_the_contract_and_the_documentation_have_the_rooms_on_the_same_floors() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    floors = [set(floor.split(" | ")) & ROOMS for floor in reversed(contract["layers"])]
    floors = [floor for floor in floors if floor]
    assert set().union(*floors) == ROOMS
    page = re.findall(r"^\| (\d+) \| `(\w+)/` \|", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    assert {(int(floor), room) for floor, room in page} == {
        (number, room) for number, floor in enumerate(floors, 1) for room in floor
    }
    layout = (ROOT / "README.md").read_text().partition("## Layout")[2]
    assert set(re.findall(r"(\w+)/(?=  )", layout)) == ROOMS


@pytest.mark.exact
def test_lint_holds_the_contract_and_ci_runs_every_check() -> None:
    assert "lint-imports" in recipe("lint")
    assert "mypy" in recipe("types")
    assert "pytest" in recipe("test")
    assert "pytest" in recipe("test-long")
    assert "-m long" in recipe("test-long")
    assert "-m models" in recipe("test-models")
    assert re.search(r"^make lint types test$", (ROOT / ".ci" / "run").read_text(), re.M)
