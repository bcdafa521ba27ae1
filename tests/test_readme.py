"""The README's example prints what the README says, and its commands exist."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.statistical
def test_the_example_prints_what_it_says() -> None:
    code = re.search(r"```python\n(import.*?)```", README, re.S)
    shown = re.search(r"prints\n\n((?:    .*\n)+)", README)
    assert code is not None
    assert shown is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code[1], "README.md", "exec"), {})
    expected = "".join(line[4:] + "\n" for line in shown[1].splitlines())
    assert printed.getvalue() == expected


@pytest.mark.reference
def test_the_comparison_prints_what_it_says() -> None:
    code = re.search(r"```python\n(found = st.compare.*?)```", README, re.S)
    shown = re.search(r"the most even gradient first,\n\n((?:    .*\n)+)", README)
    assert code is not None
    assert shown is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("import spannorm_theory as st\n" + code[1], "README.md", "exec"), {})
    assert printed.getvalue() == "".join(line[4:] + "\n" for line in shown[1].splitlines())


def test_its_make_targets_exist() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^    )make ([\w-]+)", README, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target
