"""Public names say what they take, return and are used for; the examples themselves are run as tests."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import spannorm_theory as st

PUBLIC: dict[str, Any] = {
    name: getattr(st, name) for name in dir(st) if not name.startswith("_") and name != "plot"
}
PUBLIC |= {f"plot.{name}": getattr(st.plot, name) for name in st.plot.__all__}
#: made by a function that has an example, or needing a notebook
WITHOUT_EXAMPLE = {
    *("Audit", "Identification", "Reading", "ClaimsReport", "Sweep", "Atlas", "Gap", "Comparison"),
    "plot.Explorer",
}


def methods(of: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods that a class defines itself."""
    for name, member in vars(of).items():
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if inspect.isfunction(function) and not name.startswith("_"):
            yield f"{of.__name__}.{name}", function


CALLS = {name: one for name, one in PUBLIC.items() if inspect.isfunction(one)}
CALLS |= dict(method for one in PUBLIC.values() if inspect.isclass(one) for method in methods(one))


@pytest.mark.parametrize("name", CALLS)
def test_a_call_says_its_arguments_and_what_it_returns(name: str) -> None:
    text, signature = inspect.getdoc(CALLS[name]) or "", inspect.signature(CALLS[name])
    asked = [parameter for parameter in signature.parameters if parameter not in ("self", "cls")]
    section = text.partition("Args:\n")[2].partition("\n\n")[0]
    said = {word for names in re.findall(r"^    (\w[\w, ]*):", section, re.M) for word in names.split(", ")}
    assert set(asked) == said
    if signature.return_annotation not in ("None", None, inspect.Signature.empty):
        assert "Returns:\n" in text


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - WITHOUT_EXAMPLE))
def test_a_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(PUBLIC[name]) or "")
