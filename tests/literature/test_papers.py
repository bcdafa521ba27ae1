"""papers/: every source in the code has its entry, and every name in a note exists."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import spannorm_theory as st
from spannorm_theory.base.formulas import WORDS
from spannorm_theory.base.quantities import QUANTITIES
from spannorm_theory.literature import load_claims
from spannorm_theory.literature.bibliography import address, bibliography, papers
from spannorm_theory.spec.net import Net
from spannorm_theory.spec.scaling import WEIGHTS

CODE = Path(st.__file__).parent
NOTES = sorted((papers("references.bib").parent / "notes").glob("*.md"))
EXPECTED = {
    *("spannorm", "hybridnorm", "siamesenorm", "xiong2020", "deepnet", "noci2022", "kedia2024"),
    *("curse-of-depth", "peri-ln", "residual", "b2t", "keel", "completep", "cowsik2024"),
}
#: sources that are nobody's paper
OWN = {"this package", "classical", "theory"}


def _known() -> set[str]:
    entries = bibliography().values()
    found = {f"arXiv:{entry['eprint']}" for entry in entries if "eprint" in entry}
    return found | {entry[key] for entry in entries for key in ("url", "ids") if key in entry}


def _sources() -> Iterator[tuple[str, str]]:
    """Of what the package itself registers: other tests may have added definitions."""
    for registry in (st.placements(), st.scalings()):
        for name, entry in registry.items():
            if entry.function.__module__.startswith("spannorm_theory"):
                yield name, entry.source.removesuffix(" (variant)")
    own = (CODE / "gaussian" / "activations.py").read_text(encoding="utf-8")
    for name, activation in st.activations().items():
        if f'"{name}"' in own:
            yield name, activation.source


@pytest.mark.exact
def test_every_source_of_a_definition_has_its_entry() -> None:
    known = _known() | OWN
    missing = {name: source for name, source in _sources() if source not in known}
    assert not missing


@pytest.mark.exact
def test_every_arxiv_number_in_the_code_has_its_entry() -> None:
    known = {entry.get("eprint") for entry in bibliography().values()}
    for path in CODE.rglob("*.py"):
        for number in re.findall(r"arXiv:(\d{4}\.\d{4,5})", path.read_text(encoding="utf-8")):
            assert number in known, (path.name, number)


@pytest.mark.exact
def test_entries_are_whole_and_distinct() -> None:
    entries = bibliography()
    assert len(entries) == papers("references.bib").read_text(encoding="utf-8").count("\n@")
    for key, entry in entries.items():
        assert entry["title"], key
        assert entry["year"].isdigit(), key
        assert address(key).startswith("https://"), key
        if "eprint" in entry:  # what BibTeX styles print of it
            assert entry["howpublished"] == f"arXiv:{entry['eprint']}", key
    addresses = [address(key) for key in entries]
    assert len(set(addresses)) == len(addresses)


@pytest.mark.exact
def test_there_is_a_note_for_each_paper_and_its_names_exist() -> None:
    assert {path.stem for path in NOTES} == EXPECTED
    claims = {claim.id: claim for claim in load_claims()}
    options = {option for entry in st.placements().values() for option in entry.options}
    fields = {f.name for f in dataclasses.fields(st.Architecture)}
    names = {*st.placements(), *st.scalings(), *st.activations(), *bibliography(), *claims, *options}
    names |= {*fields, *QUANTITIES, *WEIGHTS, *WORDS.values(), "layer", "depth"}
    names |= {f"net.{name}" for name in dir(Net) if not name.startswith("_")}
    for path in NOTES:
        text = path.read_text(encoding="utf-8")
        assert f"Source: `{path.stem}`" in text
        for name in re.findall(r"`([^`\n]+)`", text):
            field, _, value = name.partition("=")
            assert name in names or (field in fields and value), (path.name, name)
        listed = set(re.findall(r"^\* `([^`]+)`$", text, flags=re.MULTILINE))
        assert {i for i, claim in claims.items() if claim.source == path.stem} <= listed, path.name
