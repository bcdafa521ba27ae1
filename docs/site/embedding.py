"""A page of the package's templates as a page of the site: its headings are Markdown, the rest stays HTML."""

from __future__ import annotations

import re

from spannorm_theory.render.typeset import typeset

_HEADING = re.compile(r"<h2[^>]*>(.*?)</h2>", re.S)
_TITLE = re.compile(r"<h1>(.*?)</h1>", re.S)


def embedded(html: str, head: str = "") -> str:
    """Markdown with the content of ``html``, the title first.

    Args:
        html: a whole document, or what stands in its main part.
        head: Markdown between the title and the content.
    """
    found = re.search(r"<main>(.*)</main>", html, re.S)
    content = found[1] if found else html
    title = _TITLE.search(content)
    assert title is not None
    first, *rest = _HEADING.split(content[: title.start()] + content[title.end() :])
    parts = [f"# {title[1]}\n\n{head}{raw(first)}"]
    for heading, part in zip(rest[::2], rest[1::2], strict=True):
        parts.append(f"## {heading}\n\n{raw(part)}")
    return "\n".join(parts)


def inline(text: str) -> str:
    """A sentence of a definition as a part of a Markdown line, its formulas set."""
    return re.sub(r"([\\`*_\[\]|$])", r"\\\1", typeset(" ".join(text.split())))


def raw(html: str) -> str:
    """HTML as a part of a Markdown page."""
    fence = "`" * 9
    return f'{fence}{{raw}} html\n<div class="embedded">\n{html.strip()}\n</div>\n{fence}\n'
