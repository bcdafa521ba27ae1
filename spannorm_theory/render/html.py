"""The few pieces that pages are made of, and a whole page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from math import isfinite

#: formulas with a longer text than this are folded
FOLD = 400


def document(title: str, body: Sequence[str], *, css: str = "", script: str = "", kind: str = "") -> str:
    """A page of markup that reads offline.

    Args:
        css: rules beside those that all pages share.
        kind: class of the body, for these rules.
    """
    shared = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    opened = f'<body class="{kind}">' if kind else "<body>"
    last = [f"<script>\n{script}</script>"] if script else []
    lines = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{shared}{css}</style>\n</head>\n{opened}",
        *filter(None, body),
        *last,
        "</body>\n</html>\n",
    ]
    return "\n".join(lines)


def tag(name: str, inner: str, **attributes: str) -> str:
    """An element around markup; ``class_`` stands for the attribute class."""
    text = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{text}>{inner}</{name}>"


def paragraph(text: str, **attributes: str) -> str:
    """Plain text as a paragraph."""
    return tag("p", escape(text), **attributes)


def maths(formulas: Iterable[str]) -> str:
    """Formulas, each on its own line, in a box that scrolls where the screen is narrower."""
    return "".join(tag("div", formula, class_="maths") for formula in formulas)


def folded(formula: str, text: str, name: str) -> str:
    """A formula on its own line, folded away where its text is long."""
    line = maths([formula])
    if len(text) <= FOLD:
        return line
    return tag("details", tag("summary", f"{name} (long: {len(text)} characters)") + line)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: frozenset[int] = frozenset()) -> str:
    """A table of markup; a row whose first cell is not empty starts a group."""

    def line(kind: str, values: Sequence[str], group: bool) -> str:
        cells = "".join(
            f'<{kind} class="n">{value}</{kind}>' if i in numeric else f"<{kind}>{value}</{kind}>"
            for i, value in enumerate(values)
        )
        return f'<tr class="first">{cells}</tr>' if group else f"<tr>{cells}</tr>"

    body = "\n".join(line("td", row, bool(row[0])) for row in rows)
    return tag(
        "div",
        f"<table><thead>{line('th', head, False)}</thead><tbody>\n{body}\n</tbody></table>",
        class_="wide",
    )


def power_of_ten(log: float) -> str:
    """exp(log) to three digits, as a number or as m x 10^k."""
    if not isfinite(log):
        return "0" if log < 0 else "–"
    exponent = log / 2.302585092994046
    if -3 <= exponent < 5:
        return f"{10**exponent:.3g}" if exponent < 3 else f"{10**exponent:.0f}"
    whole = int(exponent // 1)
    return f"{10 ** (exponent - whole):.2f}×10<sup>{whole}</sup>".replace("-", "−")


def link(source: str) -> str:
    """A source as a link where it is an address or an arXiv number, else as text."""
    if source.startswith("arXiv:"):
        return tag("a", escape(source), href="https://arxiv.org/abs/" + source.removeprefix("arXiv:"))
    if source.startswith("https://"):
        return tag("a", escape(source.removeprefix("https://")), href=source)
    return escape(source)
