"""JSON as every command and file writes it: strict, and with every digit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd


def to_json(value: object, **layout: Any) -> str:
    """A value as JSON that every reader takes; floats are read back as the same bits.

    Tables become a list of one object for each row; numbers that are not finite, and missing ones, become
    null.

    Args:
        layout: ``indent``, ``sort_keys`` and ``separators``, as of ``json.dumps``.

    Raises:
        TypeError: something that is neither a table, a mapping, a sequence nor a plain value.
    """
    return json.dumps(_plain(value), allow_nan=False, **layout)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)) or value is pd.NA:
        return None if value is pd.NA else value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, pd.DataFrame):
        names = [str(name) for name in value.columns]
        columns = [[_plain(entry) for entry in value[name].tolist()] for name in value.columns]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, Set):
        return [_plain(entry) for entry in sorted(value)]
    raise TypeError(f"JSON has no form for {type(value).__name__}")
