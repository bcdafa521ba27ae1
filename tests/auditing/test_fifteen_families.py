"""Fifteen families of transformers, drawn as the library does and with fan-in, small: the theory of what is
read of them against the probe of their modules. ``families.py`` does the same at 12 blocks."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")
from families import FAMILIES, WAYS, rows

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("registries", "own_generator")]


@pytest.mark.statistical
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_theory_agrees_with_the_probe_both_ways(family: str, way: str) -> None:
    found = rows(family, way, networks=16, depth=4)
    assert not [row for row in found if not row.agrees]
