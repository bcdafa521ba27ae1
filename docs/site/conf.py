"""Sphinx's settings. ``build.py`` writes the sources and static files that they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from spannorm_theory._version import __version__

project = "spannorm_theory"
author = "the spannorm_theory toolkit"
copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_argparse_cli",
    "sphinx_design",
    "sphinx_proof",
    "sphinxcontrib.bibtex",
]

# pages: Markdown as a code host reads it, and notebooks as they were run
myst_enable_extensions = ["amsmath", "dollarmath", "attrs_inline", "colon_fence"]
myst_heading_anchors = 4
nb_execution_mode = "off"
prf_realtyp_to_countertyp = {"proposition": "theorem", "corollary": "theorem"}  # numbers of the write-up
bibtex_bibfiles = [str(Path(__file__).resolve().parents[2] / "papers" / "references.bib")]

# reference: signatures from annotations, by their short names; what is no public name has no page to lead to
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Columns", "params_style"), ("Keys", "params_style")]
nitpick_ignore_regex = [("py:.*", r"(?!spannorm_theory\.\w+$).*")]

# looks: one folder that opens offline; build.py names the folders of static files and of what stands beside
html_theme = "furo"
html_title = "spannorm_theory"
html_css_files = ["embedded.css", "site.css"]
html_js_files = [("tables.js", {"defer": "defer"}), ("site.js", {"defer": "defer"})]
html_copy_source = False
html_show_sphinx = False
templates_path = ["templates"]
html_show_search_summary = False  # it would fetch pages, which a browser refuses to those of a folder
mathjax_path = "mathjax/tex-svg.js"
mathjax4_config = {
    "loader": {"paths": {"fonts": "[mathjax]"}, "load": ["a11y/assistive-mml"]},
    "options": {  # formulas are MathML for who cannot see them: a speech worker cannot start from a file
        "enableMenu": False,
        "enableEnrichment": False,
        "enableSpeech": False,
        "enableBraille": False,
        "enableExplorer": False,
        "menuOptions": {
            "settings": {"enrich": False, "speech": False, "braille": False, "assistiveMml": True}
        },
    },
    "svg": {"fontCache": "global"},
}


_SEVERAL = re.compile(r"^\s+\w+(?:, \w+)+:")
_PAGE = re.compile(r"docs/(\w+)\.md")
_LABEL = re.compile(r"(?<![\w.])T(\d+)\.(\d+)")


def _together(app: object, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """Several attributes with one text stay together: a space would make the first a type."""
    section = ""
    for at, line in enumerate(lines):
        head = re.match(r"(\w+):$", line)
        section = head[1] if head else section
        if section == "Attributes":
            lines[at] = _SEVERAL.sub(lambda names: names[0].replace(", ", ",\u200b"), line)


def _docstring(app: object, what: str, name: str, found: object, options: object, lines: list[str]) -> None:
    """Pages and labels of the theory that a docstring names become links, and bars are magnitudes."""
    printed = False
    for at, line in enumerate(lines):
        printed = bool(line.strip()) and (printed or line.lstrip().startswith(">>>"))
        if not printed:
            parts = re.split(r"(``.+?``|`[^`]+`)", line)
            parts[::2] = [_linked(part) for part in parts[::2]]
            lines[at] = "".join(parts)


def _linked(text: str) -> str:
    text = _PAGE.sub(r":doc:`/docs/\1`", text.replace("|", r"\|"))
    return _LABEL.sub(r"`T\1.\2 <../docs/theory.html#t\1-\2>`__", text)


def setup(app: Any) -> None:
    """Add what is done with docstrings."""
    app.connect("autodoc-process-docstring", _together, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", _docstring)
