"""The written part of the site's sources: Markdown and notebooks as they stand in the repository."""

from __future__ import annotations

import re
import shutil
from collections.abc import Container
from pathlib import Path

from spannorm_theory.placement_pages.pictures import slug
from spannorm_theory.spec.catalogue import placements, scalings

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: what the pages of the package share with the site
TEMPLATES = ROOT / "spannorm_theory" / "render" / "templates"

#: what leads from a page to what only the site has, below its title
BUTTONS = {
    "explorer.md": ":::{button-link} ../explorer/index.html\n:color: primary\n\nOpen the explorer\n:::\n",
}

_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
_FILE = re.compile(r"\[[\w/]+\.md\]\(([^)]+\.md)\)")
_LABEL = re.compile(r"\*\*\((T\d+\.\d+)\)\*\*")
_CITED = re.compile(r"(?<![\[(*])\((T\d+\.\d+)\)(?!\*)")


def written() -> list[Path]:
    """Every page that people wrote, by its place in the repository."""
    return sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")])


def stage(source: Path) -> None:
    """Copy the pages, at the same places, with the files that they show or lead to."""
    frame = HERE / "pages"
    for base, pages in ((frame, sorted(frame.rglob("*.md"))), (ROOT, written())):
        for page in pages:
            place = page.relative_to(base)
            text = _FILE.sub(r"[](\1)", page.read_text(encoding="utf-8"))  # by the title of the page
            target = _above(source / place)
            target.write_text(_on_site(text, page.name), encoding="utf-8")
            for link in _LINK.findall(text):
                file = (ROOT / place.parent / link).resolve()
                if file.is_file() and file.suffix not in (".md", ".ipynb"):
                    shutil.copy(file, _above(source / file.relative_to(ROOT)))


def _on_site(text: str, name: str) -> str:
    """A page with its links to what stands in no file of the repository."""
    title, _, rest = text.partition("\n\n")
    text = f"{title}\n\n{BUTTONS[name]}\n{rest}" if name in BUTTONS else text
    return labelled(text) if name == "theory.md" else catalogued(text) if name == "models.md" else text


def catalogued(text: str) -> str:
    """The table of models with placements and rules as links to their pages."""

    def row(match: re.Match[str]) -> str:
        before, placement, rule = match.groups()
        return (
            f"{before}{_paged(placement, 'placements', placements())} | {_paged(rule, 'rules', scalings())},"
        )

    return re.sub(r"^(\| [^|]+ \| \d+ \| )([^|]+) \| ([^|,]+),", row, text, flags=re.M)


def _paged(text: str, folder: str, known: Container[str]) -> str:
    """The text as a link, if what it begins with has a page."""
    name = re.split(r"[(+]", text)[0]
    return f"[{text}](../catalogue/{folder}/{slug(name)}.md)" if name in known else text


def _above(file: Path) -> Path:
    """A file, whose folder is made where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def labelled(text: str) -> str:
    """The theory with its labels as anchors, such as ``#t3-2``, and each mention of one as a link to it."""
    defined = set(_LABEL.findall(text))
    fences = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    for at in range(0, len(fences), 2):
        part = _CITED.sub(lambda m: f"[{m[0]}](#{_anchor(m[1])})" if m[1] in defined else m[0], fences[at])
        fences[at] = _LABEL.sub(lambda m: f"[**({m[1]})**]{{#{_anchor(m[1])}}}", part)
    return "".join(fences)


def _anchor(label: str) -> str:
    return label.lower().replace(".", "-")


def static(folder: Path) -> None:
    """The style of the package's own pages inside the site's, with its font and its script.

    Rules of the style sheet hold inside an ``embedded`` element; those of whole pages match nothing there.
    """
    for name in ("formulas.woff2", "formulas.LICENSE.txt", "tables.js"):
        shutil.copy(TEMPLATES / name, folder / name)
    rules = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    (folder / "embedded.css").write_text(f".embedded {{\n{rules}}}\n", encoding="utf-8")
