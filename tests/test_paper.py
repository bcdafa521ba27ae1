"""The write-up states nothing by hand that code can state, and proves what it claims."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from sympy import Integer

from spannorm_theory.literature.bibliography import bibliography, papers

HERE = Path(__file__).parent.parent / "papers" / "norm-placement"
GENERATED = HERE / "generated"
SOURCE = (HERE / "paper.tex").read_text()
CLAIMS = ("theorem", "proposition", "corollary")

#: integers that structure formulas: identities, halves, exponents and index pairs
STRUCTURE = {"0", "1", "2", "11"}
#: further numbers typed by hand, as they stand in the source with what is around them, and why
ALLOWED = {
    "A_{ij}^3": "third power sum of a row, from expanding tr M^2",
    "v_l=4(1-c_l^2)": "two residual sums of 2w(2-w)/d with 1-w = c",
    "GPT-2": "a name",
    "Gemma~2 and OLMo~2": "names",
    r"95\% interval": "the library's error bars",
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The scripts beside the write-up."""
    from importlib import import_module

    names = ("measured", "formulas", "balance", "tables")
    monkeypatch.syspath_prepend(str(HERE))
    yield {name: import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def body(source: str) -> str:
    """The document without comments, labels, citations, file names and lengths."""
    text = source.partition(r"\begin{document}")[2].partition(r"\bibliographystyle")[0]
    text = re.sub(r"(?<!\\)%.*", "", text)
    text = re.sub(r"\\(label|ref|cite[a-z]*|includegraphics|generated)(\[[^]]*\])*\{[^}]*\}", "", text)
    return re.sub(r"\\(setlength|renewcommand)(\\\w+|\{\\\w+\})\{[^}]*\}", "", text)


def typed_numbers(source: str) -> list[str]:
    """Numbers in the text, and numbers in its mathematics that are not structure."""
    text = body(source)
    for known in ALLOWED:
        text = text.replace(known, "")
    maths = re.compile(r"\$[^$]*\$|\\begin\{(equation|align)\*?\}.*?\\end\{\1\*?\}", re.S)
    found = re.findall(r"\d[\d.,]*", maths.sub("", text))
    for formula in maths.finditer(text):
        found += [n for n in re.findall(r"\d+(?:\.\d+)?", formula[0]) if n not in STRUCTURE]
    return found


def claims(source: str) -> list[tuple[str, str | None, bool]]:
    """Each theorem-like environment: its kind, its label, and whether a proof follows it at once."""
    pattern = re.compile(
        rf"\\begin\{{({'|'.join(CLAIMS)})\}}(.*?)\\end\{{\1\}}\s*(\\begin\{{proof\}})?", re.S
    )
    found = []
    for match in pattern.finditer(source):
        label = re.search(r"\\label\{([^}]*)\}", match[2])
        found.append((match[1], label[1] if label else None, match[3] is not None))
    return found


@pytest.mark.exact
def test_no_number_is_typed_by_hand() -> None:
    assert typed_numbers(SOURCE) == []
    for known in ALLOWED:
        assert known in SOURCE, f"{known} is no longer used"


@pytest.mark.exact
@pytest.mark.parametrize(
    "typed", ["grows by 2.1 percent", r"a ratio of $6.6\times 10^{8}$", r"within $3$ errors", "8 blocks"]
)
def test_a_typed_number_is_found(typed: str) -> None:
    assert typed_numbers(SOURCE.replace(r"\section{Limitations}", typed, 1))


@pytest.mark.exact
def test_every_claim_is_labelled_and_proved() -> None:
    found = claims(SOURCE)
    assert len(found) == sum(SOURCE.count(rf"\begin{{{kind}}}") for kind in CLAIMS)
    for kind, label, proved in found:
        assert label is not None, kind
        assert proved, f"{label} has no proof"
    without = SOURCE.replace(r"\begin{proof}", "", 1)
    assert not all(proved for *_, proved in claims(without))


@pytest.mark.exact
def test_every_theorem_has_a_check_and_every_check_is_used() -> None:
    checks = json.loads((GENERATED / "checks.json").read_text())
    labels = {label for _, label, _ in claims(SOURCE)}
    assert {label for label in labels if label and label.startswith("thm:")} <= set(checks)
    assert set(checks) <= labels
    for label, macros in checks.items():
        if label != "thm:balance":
            assert all(re.search(rf"\\{macro}\b", SOURCE) for macro in macros), label


@pytest.mark.exact
def test_macros_and_files_exist_and_are_used() -> None:
    defined = set(re.findall(r"\\newcommand\{\\(\w+)\}", (GENERATED / "numbers.tex").read_text()))
    unused = [name for name in defined if not re.search(rf"\\{name}\b", SOURCE)]
    assert not unused
    names = re.findall(r"generated/([\w.]+)|\\generated\{([\w.]+)\}", SOURCE)
    for first, second in names:
        if first or second:
            assert (GENERATED / (first or second)).is_file(), first or second
    cited = {
        k.strip()
        for keys in re.findall(r"\\cite\w*(?:\[[^]]*\])*\{([^}]*)\}", SOURCE)
        for k in keys.split(",")
    }
    assert len(cited) > 10
    assert cited <= set(bibliography())


@pytest.mark.exact
def test_generated_formulas_are_what_the_library_derives(modules: dict[str, ModuleType]) -> None:
    assert modules["formulas"].macros() == (GENERATED / "formulas.tex").read_text()
    assert modules["tables"].activations() == (GENERATED / "activations.tex").read_text()
    assert modules["tables"].atlas() == (GENERATED / "atlas.tex").read_text()


@pytest.mark.exact
def test_a_wrong_formula_is_refused(modules: dict[str, ModuleType]) -> None:
    formula = modules["formulas"].FORMULAS[0]
    with pytest.raises(ValueError, match="not what the library derives"):
        replace(formula, shown=formula.shown + Integer(1)).check()


@pytest.mark.exact
def test_the_balance_holds_for_every_placement(modules: dict[str, ModuleType]) -> None:
    checks = json.loads((GENERATED / "checks.json").read_text())
    assert modules["balance"].check_balance() == checks["thm:balance"]


@pytest.mark.exact
@pytest.mark.skipif(
    not (shutil.which("latexmk") and shutil.which("pdflatex")), reason="needs latexmk and pdflatex"
)
def test_equal_sources_give_equal_bytes(tmp_path: Path) -> None:
    pages = []
    shutil.copy(papers("references.bib"), tmp_path)
    for name in ("one", "two"):
        folder = tmp_path / name
        shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("*.pyc", "__pycache__", "paper.pdf"))
        shutil.copytree(GENERATED, folder / "generated", dirs_exist_ok=True)
        subprocess.run(
            ["latexmk", "-pdf", "-quiet", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=folder,
            env={
                "PATH": "/usr/bin:/bin",
                "SOURCE_DATE_EPOCH": "0",
                "FORCE_SOURCE_DATE": "1",
                "HOME": str(tmp_path),
            },
            check=True,
            capture_output=True,
        )
        pages.append((folder / "paper.pdf").read_bytes())
        log = (folder / "paper.log").read_text(errors="replace")
        assert "Overfull" not in log
        assert "undefined" not in log
    assert pages[0] == pages[1]
