"""The papers/ files that travel with the package, and the entries of references.bib."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ..base.errors import InputError

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s*(\w+)\s*=\s*\{+(.*?)\}+,?\s*$", re.MULTILINE)


def papers(name: str) -> Path:
    """A file of papers/: the copy that an installed package carries, or that of the source tree."""
    here = Path(__file__).parent
    for folder in (here / "papers", here.parents[1] / "papers"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"papers/{name} is neither beside the package nor in it; reinstall spannorm_theory")


@lru_cache(maxsize=1)
def bibliography() -> Mapping[str, Mapping[str, str]]:
    """The fields of each entry of references.bib by key."""
    text = papers("references.bib").read_text(encoding="utf-8")
    return {key: dict(_FIELD.findall(body)) for key, body in _ENTRY.findall(text)}


def address(key: str) -> str:
    """The address at which a source can be read."""
    entry = bibliography()[key]
    return f"https://arxiv.org/abs/{entry['eprint']}" if "eprint" in entry else entry["url"]
