"""Public names say what they take, return and are used for; the examples themselves are run as tests."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spannorm_theory as st

ROOT = Path(__file__).parent.parent
PUBLIC: dict[str, Any] = {
    name: getattr(st, name) for name in dir(st) if not name.startswith("_") and name != "plot"
}
PUBLIC |= {f"plot.{name}": getattr(st.plot, name) for name in st.plot.__all__}
#: made by a function that has an example, or needing a notebook
WITHOUT_EXAMPLE = {
    *("Audit", "Identification", "Reading", "Sweep"),
    "plot.Explorer",
}

#: take whatever they are given, or leave it to torch and matplotlib to refuse
REFUSE_NOTHING = {
    "Architecture.at",
    "Comparison.figure",
    *(f"Store.{name}" for name in ("cell_path", "has", "claim", "owner", "abandoned", "failure")),
    *(f"Transformer.{name}" for name in ("block", "read_out", "headed")),
}

#: look up what they are given, or write it: there is no formula in them, and no page of their own
NO_SOURCE = {"depth_where", "value_at", "write_latex", "write_report"}


def methods(of: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods that a class defines itself."""
    for name, member in vars(of).items():
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if inspect.isfunction(function) and not name.startswith("_"):
            yield f"{of.__name__}.{name}", function


def said(text: str, part: str) -> set[str]:
    """The names that a part of a docstring explains."""
    section = text.partition(f"{part}:\n")[2].partition("\n\n")[0]
    names = re.findall(r"^    (\w[\w, ]*):", section, re.M)
    return {word for several in names for word in several.split(", ")}


CALLS = {name: one for name, one in PUBLIC.items() if inspect.isfunction(one)}
CALLS |= dict(method for one in PUBLIC.values() if inspect.isclass(one) for method in methods(one))


@pytest.mark.parametrize("name", CALLS)
def test_a_call_says_its_arguments_and_what_it_returns(name: str) -> None:
    text, signature = inspect.getdoc(CALLS[name]) or "", inspect.signature(CALLS[name])
    asked = [parameter for parameter in signature.parameters if parameter not in ("self", "cls")]
    assert set(asked) == said(text, "Args")
    if signature.return_annotation not in ("None", None, inspect.Signature.empty):
        assert "Returns:\n" in text


@pytest.mark.parametrize("name", CALLS)
def test_a_call_says_what_it_refuses(name: str) -> None:
    """Whatever has an argument checks it, and so does what raises an error itself."""
    text, code = inspect.getdoc(CALLS[name]) or "", inspect.getsource(CALLS[name])
    raises = re.search(r"^ +raise |files.reporting", code, re.M) is not None
    if raises or (said(text, "Args") and name not in REFUSE_NOTHING):
        assert "Raises:\n" in text
    assert not (raises and name in REFUSE_NOTHING)


@pytest.mark.parametrize("name", sorted(name for name in CALLS if name in PUBLIC and "plot." not in name))
def test_a_function_says_where_it_comes_from(name: str) -> None:
    """A page or a formula of the theory, or what holds the sources of many entries."""
    source = re.search(r"^Source: (.+)", inspect.getdoc(CALLS[name]) or "", re.M)
    assert (source is None) == (name in NO_SOURCE)
    for file in re.findall(r"[\w./]+\.(?:md|toml)\b", source[1]) if source else []:
        assert (ROOT / file).is_file()


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - WITHOUT_EXAMPLE))
def test_a_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(PUBLIC[name]) or "")


def test_every_column_and_key_is_said() -> None:
    arch = "pre-norm depth=2 width=64 heads=2 tokens=4"
    causal, logged = f"{arch} mask=causal", f"{arch} loss=cross-entropy vocabulary=9"
    gains = dict.fromkeys(("sigma_a2", "sigma_f2", "omega_a2", "omega_f2"), 1.0)
    predicted = [*st.predict(arch), *st.predict(causal), *st.predict(causal, by="position")]
    cases: list[tuple[Any, str, Any]] = [
        (st.predict, "Columns", predicted),
        (st.spectra, "Columns", st.spectra(arch, layers=2)),
        (st.Recursion.iterate, "Columns", st.derive("pre-norm").iterate(2, **gains)),
        (st.Verification, "Columns", st.verify(arch, networks=3, progress=False).table),
        (st.expected, "Keys", [*st.expected(arch), *st.expected(logged)]),
    ]
    for of, part, found in cases:
        assert said(inspect.getdoc(of) or "", part) == set(found), of
