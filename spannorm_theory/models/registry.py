"""Published models, whose configurations ``models.toml`` restates with their sources."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..base.registry import Registry
from .model import Model
from .reader import read

FILE = Path(__file__).parent / "models.toml"

#: how an entry's numbers were come by
GRADES = {
    "config": "the published configuration was read",
    "restated": "a library restates the published configuration",
    "port": "defaults of transformers' configuration class, which names the checkpoint",
    "paper": "the paper states them",
}


@dataclass(frozen=True)
class Published:
    """An entry of the registry.

    Attributes:
        source: where the configuration is published.
        grade: one of :data:`GRADES`.
        config: keys and values of the configuration.
    """

    name: str
    year: int
    source: str
    grade: str
    config: Mapping[str, Any]

    def read(self, tokens: int | None = None, **fields: Any) -> Model:
        """The model, as :func:`model` returns it."""
        return read(self.config, f"{self.source} ({GRADES[self.grade]})", self.name, tokens, fields)


@lru_cache(maxsize=1)
def published() -> Mapping[str, Published]:
    """Every published model of the registry, by name, in the order of years.

    Source: each entry's own ``source``.

    Returns:
        a mapping from name to entry: ``year``, ``source``, ``grade`` (who published the configuration),
        ``config`` (its keys), and ``read()``, the :class:`Model`.

    Raises:
        UnknownNameError: no such name, when the mapping is asked for it.

    Example:
        >>> import spannorm_theory as st
        >>> st.published()["gpt2"].year
        2019
    """
    found: Registry[Published] = Registry("model")
    for name, entry in tomllib.loads(FILE.read_text(encoding="utf-8")).items():
        found.add(Published(name, **entry))
    return found


def model(name: str, tokens: int | None = None, **fields: Any) -> Model:
    """A published model, as the library that its configuration is written for initialises it.

    Source: docs/models.md.

    Args:
        name: of the registry, such as "llama-3-8b"; ``published()`` has them all.
        tokens: length of the sequence; None for an architecture's default.
        fields: fields of :class:`~spannorm_theory.Architecture` that go over those of the model.

    Returns:
        a :class:`Model`: the architecture, its source, and the gaps.

    Raises:
        UnknownNameError: no such model; the message has the nearest.
        InputError: fields that the model's architecture does not take.

    Example:
        >>> import spannorm_theory as st
        >>> found = st.model("bloom-176b", tokens=32)
        >>> found.arch.depth, found.gaps[-1].feature
        (70, 'ALiBi')
    """
    return published()[name].read(tokens, **fields)
