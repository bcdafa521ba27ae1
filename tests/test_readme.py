"""The README's example prints what the README says, and its commands exist."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spannorm_theory as st
from spannorm_theory.models.families import FAMILIES, SAME

README = (Path(__file__).parent.parent / "README.md").read_text()


#: each example with the output that stands under it
EXAMPLES = re.findall(r"```python\n((?:(?!```).*\n)+)```\n\nprints.*\n\n((?:    .*\n)+)", README)


@pytest.mark.statistical
@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=lambda text: text.split("\n")[-2][:20])
def test_the_example_prints_what_it_says(code: str, shown: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("import spannorm_theory as st\n" + code, "README.md", "exec"), {})
    assert printed.getvalue() == "".join(line[4:] + "\n" for line in shown.splitlines())


def test_examples_are_found() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.exact
def test_its_counts_are_those_of_the_registries() -> None:
    """Those of a process of its own: other tests register rules."""
    counted = "import spannorm_theory as st; print(len(st.placements()), len(st.scalings()))"
    done = subprocess.run([sys.executable, "-c", counted], capture_output=True, text=True, check=True)
    placements, rules = done.stdout.split()
    text = " ".join(README.split())
    assert f"{placements} placements of the norms" in text
    assert f"{rules} scaling rules" in text
    assert f"{len(FAMILIES.keys() | SAME.keys())} model types are known" in text
    assert f"`st.published()` are {len(st.published())} published models" in text


def test_its_make_targets_exist() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^    )make ([\w-]+)", README, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target
