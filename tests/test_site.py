"""The documentation site has every page and public name, and its parts without Sphinx do what they say."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import spannorm_theory as st

ROOT = Path(__file__).parent.parent
SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def site() -> Iterator[SimpleNamespace]:
    """The modules of docs/site, which is no package."""
    before = set(sys.modules)
    sys.path.insert(0, str(SITE))
    try:
        import catalogue
        import embedding
        import links
        import reference
        import rules
        import staging
        import theorems

        yield SimpleNamespace(
            catalogue=catalogue,
            embedding=embedding,
            links=links,
            reference=reference,
            rules=rules,
            staging=staging,
            theorems=theorems,
        )
    finally:
        sys.path.remove(str(SITE))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SITE)):
                del sys.modules[name]


@pytest.mark.exact
def test_every_written_page_is_in_the_contents(site: SimpleNamespace) -> None:
    listed = set()
    for page in sorted((SITE / "pages").rglob("*.md")):
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.S):
            listed |= {line.rpartition("<")[2].rstrip(">") for line in tree.splitlines() if line[:1] != ":"}
    contents = listed | {"docs/architecture"}  # of the generated reference
    written = {str(page.relative_to(ROOT).with_suffix("")) for page in site.staging.written()}
    missing = {page for page in written if not page.startswith("notebooks/")} - contents
    assert missing == set()
    assert ":glob:" in (SITE / "pages" / "notebooks" / "index.md").read_text()
    assert {
        "catalogue/placements/index",
        "catalogue/rules/index",
        "claims",
        "atlas",
        "reference/index",
    } <= contents


@pytest.mark.exact
def test_the_reference_has_every_public_name_once(site: SimpleNamespace) -> None:
    listed = [name for group in site.reference.GROUPS for name in site.reference.names(group)]
    assert sorted(listed) == sorted(set(dir(st)) - site.reference.ELSEWHERE)


@pytest.mark.exact
def test_the_catalogue_has_every_placement_and_rule(site: SimpleNamespace) -> None:
    pages = dict(site.catalogue._indices({}))
    for name in st.placements():
        assert f"({site.catalogue._file(name)})" in pages["placements"]
    for name in st.scalings():
        assert f"| [{name}](" in pages["rules"]
    assert {arch.scaling for arch in site.rules.cases()} == set(st.scalings())


@pytest.mark.exact
def test_a_page_of_a_placement_begins_with_its_gradient(site: SimpleNamespace) -> None:
    """At 48 blocks, that of the theory, its own rule first; the index has the same number."""
    archs = [st.Architecture("span-norm", rule, **site.rules.SIZES) for rule in ("depth-scaled-init", "unit")]
    laws = [site.catalogue._laws(arch) for arch in archs]
    text, index = (
        site.catalogue._answer(laws),
        dict(site.catalogue._indices({"span-norm": laws}))["placements"],
    )
    own, unit = (float(value) for value in re.findall(r"\*\*([\d.]+)\*\*", text))
    for arch, value in zip(archs, (own, unit), strict=True):
        table = st.predict(replace(arch, depth=48))
        assert value == pytest.approx(st.value_at(table, "grad_variance", layer=0), rel=0.005)
    assert f"[SpanNorm](span-norm.md) `span-norm` | {own} | {unit} |" in index
    assert text.index("published with it") < text.index("`unit`")
    assert "explorer/index.html#d=span-norm.depth-scaled-init.48.gelu.none&amp;d=span-norm.unit." in text


@pytest.mark.exact
def test_the_table_of_models_leads_to_the_catalogue(site: SimpleNamespace) -> None:
    text = site.staging.catalogued((ROOT / "docs" / "models.md").read_text())
    rows = [line for line in text.splitlines() if re.match(r"\| [\w.-]+ \| \d{4} \|", line)]
    assert len(rows) == len(st.published())
    for row in rows:
        placement, rule = re.findall(r"\[([^]]+)\]\(../catalogue/(?:placements|rules)/[\w-]+\.md\)", row)
        assert re.split(r"[(+]", placement)[0] in st.placements()
        assert re.split(r"[(+]", rule)[0] in st.scalings()


@pytest.mark.exact
def test_no_letter_of_a_formula_runs_into_the_next() -> None:
    r"""As in ``\etaU``, which is no command of TeX."""
    greek = "alpha|beta|gamma|delta|epsilon|eta|theta|kappa|lambda|rho|sigma|tau|phi|chi|omega"
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert not re.findall(rf"\\(?:{greek})[A-Za-z]+", page.read_text(), re.I), page.name


@pytest.mark.exact
def test_labels_of_the_theory_are_places_to_which_its_mentions_lead(site: SimpleNamespace) -> None:
    text = site.staging.labelled(
        "**(T3.1)** is used in (T3.1), not (T9.9).\n```python\n>>> 1  # (T3.1)\n```\n"
    )
    assert text == (
        "[**(T3.1)**]{#t3-1} is used in [(T3.1)](#t3-1), not (T9.9).\n```python\n>>> 1  # (T3.1)\n```\n"
    )
    theory = (ROOT / "docs" / "theory.md").read_text()
    labels = re.findall(r"\{#(t[\d-]+)\}", site.staging.labelled(theory))
    assert len(labels) == len(set(labels)) > 50


@pytest.mark.exact
def test_the_theorems_of_the_write_up_have_their_proofs_on_a_page(site: SimpleNamespace) -> None:
    text, paper = site.theorems.page(), (ROOT / "papers" / "norm-placement" / "paper.tex").read_text()
    stated = re.findall(r"\\begin{(theorem|proposition|corollary)}", paper)
    directives = re.findall(r"^````{prf:(\w+)}", text, re.M)
    assert [kind for kind in directives if kind != "proof"] == stated
    assert directives[1::2] == ["proof"] * len(stated)
    assert r"\frac{1}{1 + \sigma_{f}^{2}}" in text  # SpanNorm's identity gain, a command in the paper
    assert not set(re.findall(r"{prf:ref}`([\w-]+)`", text)) - set(re.findall(r":label: ([\w-]+)", text))
    with pytest.raises(SystemExit, match=r"\\marginpar"):
        site.theorems._prose(r"A word \marginpar{aside}.")


@pytest.mark.exact
def test_templates_become_pages_with_headings(site: SimpleNamespace) -> None:
    html = '<h1>Name</h1>\n<p>one</p>\n<h2 id="block">Block</h2>\n<p>two</p>'
    text = site.embedding.embedded(f"<html><main>{html}</main></html>")
    assert text.startswith("# Name\n")
    assert "## Block\n" in text
    assert text.count("{raw} html") == 2


@pytest.mark.exact
def test_links_that_lead_nowhere_are_found(site: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p id="here"><a href="b.html#there">b</a> <a href="#here">a</a></p>')
    (tmp_path / "b.html").write_text('<a name="there" href="https://example.org">b</a>')
    assert site.links.broken(tmp_path) == []
    (tmp_path / "c.html").write_text(
        '<a href="b.html#no">b</a><a href="d.html">d</a><img src="https://x.org/p.png">'
    )
    found = site.links.broken(tmp_path)
    assert [line.partition(":")[0] for line in found] == ["c.html"] * 3


@pytest.mark.reference
def test_the_start_prints_what_it_says() -> None:
    text = (ROOT / "docs" / "start.md").read_text()
    code, shown = re.search(r"```python\n(.*?)```", text, re.S), re.search(r"prints\n\n((?:    .*\n)+)", text)
    assert code is not None
    assert shown is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code[1], "start.md", "exec"), {})
    assert printed.getvalue() == "".join(line[4:] + "\n" for line in shown[1].splitlines())
