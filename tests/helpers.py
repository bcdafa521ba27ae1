"""What several tests share: gains and their symbols, two ways to be equal, a verification that passes."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from sympy import Expr, simplify

from spannorm_theory.base import symbols

#: constant gains of branches under which no two of a law's terms cancel or tie
GAINS = (0.3, 0.7, 0.4, 1.1)
NAMED = dict(zip(("sigma_a2", "sigma_f2", "omega_a2", "omega_f2"), GAINS, strict=True))
SYMBOLS: dict[Expr, float] = {getattr(symbols, name): value for name, value in NAMED.items()}

#: every branch of second moment one, passing gradients on unchanged
UNIT: dict[Expr, int] = dict.fromkeys([*SYMBOLS, symbols.initial_variance], 1)


def equal(one: Expr, other: Expr) -> bool:
    """Whether two formulas are one."""
    return bool(simplify(one - other) == 0)


def rounded(expected: Any) -> Any:
    """``expected`` up to what rounding leaves of it: nine digits, and 1e-12 of what cancels."""
    return pytest.approx(expected, rel=1e-9, abs=1e-12)


class Page(HTMLParser):
    """What a page is made of; elements that do not nest are refused.

    Attributes:
        open: elements that are not closed.
        loads: what is fetched to show it.
        links, ids: where it leads, and where a link can lead.
        tags: every start tag, in order.
    """

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "a":
            self.links.append(values["href"] or "")
        else:
            self.loads += [values[key] or "" for key in ("src", "href", "srcset", "data") if key in values]
        if "id" in values:
            self.ids.append(values["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
