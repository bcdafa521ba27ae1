"""The recipe of a figure: its kind, style, architectures, seeds and versions, as JSON and back."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...base.errors import InputError, SpannormError
from ...base.jsontext import to_json
from ...spec.architecture import Architecture

#: what the drawn numbers, and the drawing, depend on, beside this one
LIBRARIES = ("numpy", "scipy", "torch", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a figure depends on."""
    own = {"python": platform.python_version(), "spannorm_theory": __version__}
    return {**own, **{name: version(name) for name in LIBRARIES}}


@dataclass(frozen=True)
class Recipe:
    """Everything that fixes a figure on a machine with these versions.

    Attributes:
        name: of its files, without suffix.
        kind: how it is drawn, a name in :data:`spannorm_theory.report.figure_set.kinds.KINDS`.
        style: as in :class:`spannorm_theory.plot.style`.
        networks, seed: of every simulation behind it.
        options: of the kind.
        files: of placements that files define, ``FILE.py:NAME`` by name of the placement.
    """

    name: str
    kind: str
    style: str
    architectures: tuple[Architecture, ...]
    networks: int
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions)
    files: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; :meth:`from_dict` is the inverse."""
        return {
            "name": self.name,
            "kind": self.kind,
            "style": self.style,
            "networks": self.networks,
            "seed": self.seed,
            "options": dict(self.options),
            "versions": dict(self.versions),
            **({"files": dict(self.files)} if self.files else {}),
            "architectures": [arch.to_dict() for arch in self.architectures],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of plain values.

        Raises:
            InputError: something is missing.
        """
        try:
            archs = tuple(Architecture.from_dict(one) for one in values["architectures"])
            named = {"files": {}, **values}
            known = {key: named[key] for key in cls.__dataclass_fields__ if key != "architectures"}
        except SpannormError:
            raise
        except (KeyError, TypeError) as error:
            raise InputError(f"this is not the recipe of a figure: it lacks {error}") from None
        return cls(**known, architectures=archs)

    @classmethod
    def read(cls, path: str | Path) -> Recipe:
        """The recipe in a JSON file.

        Raises:
            InputError: no such file, or it holds something else.
        """
        return cls.from_dict(_values(path))

    @property
    def line(self) -> str:
        """The recipe on one line, for a file's metadata."""
        return to_json(self.to_dict(), separators=(",", ":"))

    def changes(self) -> list[str]:
        """Versions that differ here, which may move a figure by a pixel or a number by a digit."""
        here = versions()
        found = {name: (was, here.get(name)) for name, was in self.versions.items()}
        return [f"{name} {was}, here {now}" for name, (was, now) in found.items() if now != was]


def files_of(path: str | Path) -> dict[str, str]:
    """The files that define placements of the recipe in a JSON file, by placement.

    Raises:
        InputError: no such file, or it holds something else.
    """
    found = _values(path).get("files", {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise InputError(f"the files of the recipe {path} are no FILE.py:NAME by placement")
    return found


def _values(path: str | Path) -> dict[str, Any]:
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read the recipe {path}: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is not the recipe of a figure")
    return values
