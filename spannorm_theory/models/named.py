"""A model by what a command line can say of it: a name of the registry, or the file of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..base.errors import InputError, shown
from .model import Model
from .reader import from_config
from .registry import model, published


def named(text: str, tokens: int | None = None, **fields: Any) -> Model:
    """The published model of that name, or the model of the configuration at that path.

    Raises:
        InputError: neither; the message has the nearest name, or says what is wrong with the file.
    """
    if not isinstance(text, str):
        raise InputError(f"expected the name of a model, or the path of a configuration, got {shown(text)}")
    path = text not in published() and (text.endswith(".json") or Path(text).is_dir())
    return from_config(text, tokens, **fields) if path else model(text, tokens, **fields)
