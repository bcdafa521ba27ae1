"""A configuration: the mapping that a user has, read by the toolkit's own words."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from ..base import arguments
from ..base.errors import InputError, shown
from .keys import ALIASES, LAYERED, MOST

WANTED = "a transformers configuration, a mapping, or the path of a JSON file or of a folder with config.json"


def mapping_of(config: Any) -> tuple[dict[str, Any], str]:
    """The keys and values of a configuration, and what it was read from.

    Args:
        config: an object with ``to_dict``, a mapping, or the path of a JSON file or of the folder that holds
            one called config.json. Of a model with several towers it is the text's.

    Raises:
        InputError: something else, or a file that is not there or holds no object of JSON.
    """
    if isinstance(config, (str, os.PathLike)):
        values, where = _from_file(config)
    elif isinstance(config, Mapping):
        values, where = config, "a mapping"
    elif callable(getattr(config, "to_dict", None)) and not isinstance(config, type):
        values, where = config.to_dict(), type(config).__name__
    else:
        raise InputError(f"expected {WANTED}; got {arguments.described(config)}")
    if not isinstance(values, Mapping):
        raise InputError(f"expected {WANTED}; {where} holds {shown(values)}")
    text = values.get("text_config")
    if isinstance(text, Mapping):
        values = {"model_type": values.get("model_type"), **text}
    return {key: value for key, value in values.items() if isinstance(key, str)}, where


def _from_file(config: Any) -> tuple[Any, str]:
    path = arguments.path("config", config)
    path = path / "config.json" if path.is_dir() else path
    try:
        return json.loads(path.read_text(encoding="utf-8")), str(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"expected {WANTED}; {path} cannot be read: {reason}") from None
    except ValueError:
        raise InputError(f"expected {WANTED}; {path} is no JSON") from None


class Config:
    """The values of a configuration, by the toolkit's words (``keys.ALIASES``) or by its own.

    Args:
        model_type: whose it is, for messages.
        values: by the configuration's own keys; None is as good as nothing.

    Attributes:
        read: the keys that were asked for.
    """

    def __init__(self, model_type: str, values: Mapping[str, Any]) -> None:
        self.model_type = model_type
        self._values = {key: value for key, value in values.items() if value is not None}
        self.read: set[str] = {"model_type"}

    @property
    def unread(self) -> list[str]:
        """The keys that nobody asked for."""
        return sorted(set(self._values) - self.read)

    def value(self, word: str, default: Any = None) -> Any:
        """The value of the first key that goes by ``word``; a list that says it for every layer alike stands
        for its entry.

        Raises:
            InputError: a list with different entries, of a word that is one number for all layers.
        """
        keys = ALIASES.get(word, (word,))
        self.read.update(keys)
        for key in keys:
            if key in self._values:
                value = self._values[key]
                if isinstance(value, list) and word not in LAYERED and value:
                    if any(entry != value[0] for entry in value):
                        raise InputError(f"{key} differs from layer to layer, which is not modelled for it")
                    return value[0]
                return value
        return default

    def whole(self, word: str, default: int | None = None, least: int = 1) -> int:
        """An integer.

        Raises:
            InputError: something else, or nothing where there is no ``default``.
        """
        value = self.value(word, default)
        if value is None:
            names = " or ".join(ALIASES.get(word, (word,)))
            raise InputError(f"a {self.model_type} configuration needs {names}; this one has none")
        return arguments.whole(self._key(word), value, least, MOST.get(word))

    def size(self, word: str, default: float) -> float:
        """A positive number.

        Raises:
            InputError: something else, or one that is no size of anything in a model.
        """
        wanted, value = "a number from 1e-30 to 1e30", self.value(word, default)
        return arguments.real(self._key(word), value, wanted, lambda x: 1e-30 <= x <= 1e30)

    def listed(self, word: str, entries: int | None = None) -> list[Any] | None:
        """A list, or None where there is none.

        Raises:
            InputError: something else, or a list of another length than ``entries``.
        """
        value = self.value(word)
        if value is None or (isinstance(value, (list, tuple)) and entries in (None, len(value))):
            return None if value is None else list(value)
        many = f" of {entries} entries, one for each layer" if entries else ""
        raise InputError(f"{self._key(word)} must be a list{many}, got {shown(value)}")

    def within(self, word: str) -> Config:
        """A nested table, empty where there is none."""
        value = self.value(word)
        return Config(self.model_type, value if isinstance(value, Mapping) else {})

    def ignore(self, *words: str) -> None:
        """Take keys as read that follow from others."""
        for word in words:
            self.value(word)

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._values)

    def _key(self, word: str) -> str:
        """The key of this configuration that goes by ``word``, for messages."""
        keys = ALIASES.get(word, (word,))
        return next((key for key in keys if key in self._values), keys[0])
