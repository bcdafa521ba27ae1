"""Links between the pages of a built site: each leads to a file that is there, and to a place in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The anchors of a page, and what it leads to or loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors, self.links = {""}, set[str]()
        self.loads = set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag in ("a", "link") and "href" in given:
            (self.links if tag == "a" else self.loads).add(given["href"])
        if "src" in given:
            self.loads.add(given["src"])


@cache
def _read(file: Path) -> _Page:
    return _Page(file.read_text(encoding="utf-8"))


def broken(folder: Path) -> list[str]:
    """A line for each link of a folder's pages that leads nowhere, and for what they load from elsewhere.

    A fragment such as ``#d=span-norm.unit`` is what a page is to show, no place in it.
    """
    return [line for page in sorted(folder.rglob("*.html")) for line in _of(page, folder)]


def _of(page: Path, folder: Path) -> Iterator[str]:
    found, here = _read(page), page.relative_to(folder)
    for link in sorted(found.loads):
        if urlsplit(link).scheme in ("http", "https"):
            yield f"{here}: loads {link}"
    for link in sorted(found.links | found.loads):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if not file.is_file():
            yield f"{here}: {link}"
        elif file.suffix == ".html" and not _there(file, unquote(parts.fragment)):
            yield f"{here}: {link}, where there is no such place"


def _there(file: Path, fragment: str) -> bool:
    return "=" in fragment or fragment in _read(file).anchors
