"""A model by what a command line can say of it: a name of the registry, or the file of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .model import Model
from .reader import from_config
from .registry import model, published


def named(text: str, tokens: int | None = None, **fields: Any) -> Model:
    """The published model of that name, or the model of the configuration at that path.

    Raises:
        InputError: neither; the message has the nearest name, or says what is wrong with the file.
    """
    path = text not in published() and (text.endswith(".json") or Path(text).is_dir())
    return from_config(text, tokens, **fields) if path else model(text, tokens, **fields)
