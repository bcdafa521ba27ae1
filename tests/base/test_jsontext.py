"""JSON of tables and values: strict, and every digit kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spannorm_theory.base.jsontext import to_json


def strict(text: str) -> object:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.exact
def test_every_float_is_read_back_as_the_same_bits() -> None:
    values = [1e-300, -2.5e-17, 0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3]
    table = pd.DataFrame({"value": values, "name": [str(v) for v in values]})
    rows = strict(to_json(table))
    assert [math.copysign(1, row["value"]) for row in rows] == [math.copysign(1, v) for v in values]  # type: ignore[attr-defined]
    assert [row["value"] for row in rows] == values  # type: ignore[attr-defined]


@pytest.mark.exact
def test_what_is_no_number_is_null() -> None:
    table = pd.DataFrame({"a": [np.nan, np.inf, 1.0], "b": [1, 2, 3], "c": ["x", None, "y"]})
    assert strict(to_json(table)) == [
        {"a": None, "b": 1, "c": "x"},
        {"a": None, "b": 2, "c": None},
        {"a": 1.0, "b": 3, "c": "y"},
    ]
    value = {
        "n": np.int64(3),
        "x": np.float32(0.5),
        "t": (1, -math.inf),
        "p": Path("a/b"),
        "a": np.eye(2),
    }
    expected = {"n": 3, "x": 0.5, "t": [1, None], "p": "a/b", "a": [[1, 0], [0, 1]]}
    assert strict(to_json(value)) == expected
    assert strict(to_json(pd.DataFrame())) == []
    with pytest.raises(TypeError, match="no form for object"):
        to_json({"x": object()})
