"""Pages from the templates beside this file, and the few pieces of markup that are made in Python."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from math import isfinite, isnan
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from jinja2 import Environment

#: formulas with a longer text than this are folded
FOLD = 400


@dataclass(frozen=True)
class Cell:
    """A cell of a table that sorts.

    Attributes:
        text: what is shown; what is not markup is escaped.
        key: what it sorts by; the text where it is None, and last where it is empty.
        kind: its class. title: its tooltip.
    """

    text: str
    key: float | str | None = None
    kind: str = ""
    title: str = ""

    @classmethod
    def number(cls, value: float, form: str) -> Cell:
        """A number in a form; a dash that sorts last where there is none."""
        return cls("–", "") if isnan(value) else cls(format(value, form).replace("-", "−"), value)


@dataclass(frozen=True)
class Formula:
    """A formula on a line of its own, under a name where it is folded away."""

    markup: Markup
    name: Markup
    folded: bool

    @classmethod
    def of(cls, markup: Markup, text: str, name: str) -> Formula:
        """A formula that is folded where its text is long; ``name`` is markup."""
        if len(text) <= FOLD:
            return cls(markup, Markup(""), False)
        return cls(markup, Markup(f"{name} (long: {len(text)} characters)"), True)


def document(template: str, **values: object) -> str:
    """A page that reads offline: all that it shows is in it.

    Args:
        template: a file of ``templates/``, which says what it reads. Every page reads a title, and a menu:
            pairs of address and text of the links that stand at its side, or none. Below the one that leads
            ``here`` stand the page's parts, titles by anchor.
    """
    return _environment().get_template(template).render(**{"menu": (), "here": "", "parts": {}} | values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=PackageLoader("spannorm_theory.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.globals["data_uri"] = _data_uri
    found.filters["source"] = link
    found.filters["prose"] = prose
    found.filters["raised"] = raised
    return found


@lru_cache(maxsize=4)
def _data_uri(name: str, kind: str) -> str:
    content = resources.files(__package__).joinpath("templates", name).read_bytes()
    return f"data:{kind};base64,{b64encode(content).decode()}"


def power_of_ten(log: float) -> Markup:
    """exp(log) to three digits, as a number or as m x 10^k."""
    if not isfinite(log):
        return Markup("0" if log < 0 else "–")
    exponent = log / 2.302585092994046
    if -3 <= exponent < 5:
        return Markup(f"{10**exponent:.3g}" if exponent < 3 else f"{10**exponent:.0f}")
    mantissa, _, carried = f"{10 ** (exponent % 1):.2e}".partition("e")
    return Markup(f"{mantissa}×10<sup>{exponent // 1 + int(carried):.0f}</sup>".replace("-", "−"))


def raised(text: str) -> Markup:
    """Words with exponents, such as e^(0.2 L^0.5) or L^-1, as markup."""

    def power(match: re.Match[str]) -> str:
        exponent = raised(match[1] or match[2]).replace("-", "−")
        return f"<sup>{exponent}</sup>"

    nested = r"(?:[^()]|\([^()]*\))*"
    return Markup(re.sub(rf"\^(?:\(({nested})\)|(-?[\d.]*\d))", power, str(escape(text))))


def link(source: str) -> Markup:
    """A source as a link where it is an address or an arXiv number, else as text."""
    if source.startswith("arXiv:"):
        return anchor("https://arxiv.org/abs/" + source.removeprefix("arXiv:"), source)
    if source.startswith("https://"):
        return anchor(source, source.removeprefix("https://"))
    return escape(source)


def prose(docstring: str) -> Markup:
    """A docstring's text, with what stands between double backticks as code."""
    return Markup(re.sub(r"``(.+?)``", r"<code>\1</code>", str(escape(docstring))))


def anchor(address: str, text: str) -> Markup:
    """Text that leads to an address."""
    return Markup('<a href="{}">{}</a>').format(address, text)
