"""The curves that the page holds: all of them, and those of the theory."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

import spannorm_theory as st
from spannorm_theory.base.jsontext import to_json
from spannorm_theory.explorer.designs import CHOICES, SIZES, designs, key, rules, shown_layers
from spannorm_theory.explorer.formulas import formulas
from spannorm_theory.explorer.grid import of_design
from spannorm_theory.explorer.write import grid, page
from spannorm_theory.plot import placement_style

#: half of the last digit that is kept, and rounding
HALF = 0.5001e-4

STALE = "curves are not those of the theory any more: make explorer"


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return dict(json.loads(grid()))


@pytest.mark.exact
def test_every_placement_has_its_designs_rules_and_look(kept: dict[str, Any]) -> None:
    assert kept["sizes"] == SIZES
    assert kept["choices"] == {name: list(values) for name, values in CHOICES.items()}
    assert list(kept["placements"]) == list(st.placements()), STALE
    for name, one in kept["placements"].items():
        assert one["rules"] == rules(name), STALE
        assert one["rules"][0] == st.placements()[name].scaling
        assert list(one["formulas"]) == one["rules"]
        assert list(one["curves"]) == [key(arch) for arch in designs(name)], STALE
        assert one["colour"] == placement_style(name).colour
        assert "<svg" in one["diagram"]


@pytest.mark.exact
@pytest.mark.parametrize(
    "text",
    [
        "span-norm unit depth=48",
        "span-norm depth-scaled-init depth=96 activation=swiglu",
        "sub-ln sub-ln depth=12",
        "siamese-norm unit depth=12 mask=causal",
        "pre-norm unit depth=12 activation=swiglu mask=causal",
        "mix-ln unit depth=48",
    ],
)
def test_a_design_has_the_values_of_predict(text: str, kept: dict[str, Any]) -> None:
    arch = st.Architecture.parse(text).with_(**SIZES)
    found = kept["placements"][arch.placement]["curves"][key(arch)]
    table = st.predict(arch)
    for name, quantity in (
        ("variance", "variance"),
        ("grad_variance", "grad_variance"),
        ("weight_grad_norm", "weight_grad_norm"),
        ("rank_collapse", "token_cosine"),
    ):
        rows = table[table["quantity"] == quantity]
        for stream, group in rows[rows["stream"] != "input"].groupby("stream"):
            layers = found["layers"][: len(found[name][stream])]
            shown = group.set_index("layer").loc[layers]
            if name == "rank_collapse":
                logs = np.log(np.maximum(1 - shown["value"].to_numpy(), 1e-14))
            else:
                logs = shown["log_value"].to_numpy()
            assert np.array(found[name][stream], dtype=float) == pytest.approx(logs, abs=HALF), STALE
    gradients = table[table["quantity"] == "grad_variance"].set_index(["stream", "layer"])["log_value"]
    first = gradients.get(("input", 0), gradients["0", 0])
    assert found["embedding"] == pytest.approx(first, abs=HALF)


@pytest.mark.exact
@pytest.mark.parametrize("placement", ["span-norm", "pre-norm"])
def test_formulas_are_those_of_derive(placement: str, kept: dict[str, Any]) -> None:
    assert kept["placements"][placement]["formulas"]["unit"] == formulas(placement, "unit"), STALE


@pytest.mark.exact
@pytest.mark.long  # 400 predictions
def test_every_design_without_a_mask_is_that_of_the_theory(kept: dict[str, Any]) -> None:
    for placement, one in kept["placements"].items():
        for arch in designs(placement):
            if arch.mask == "none":
                assert one["curves"][key(arch)] == json.loads(to_json(of_design(arch))), STALE


@pytest.mark.exact
@pytest.mark.parametrize("depth", [1, 12, 48, 49, 96, 1000])
def test_the_layers_that_are_kept_have_both_ends(depth: int) -> None:
    layers = shown_layers(depth)
    assert layers == sorted(set(layers))
    assert layers[:2] == [0, 1]
    assert layers[-2:] == [depth - 1, depth]
    assert max(np.diff(layers)) <= 5


def test_the_page_is_small_and_needs_nothing_else() -> None:
    text = page()
    assert len(text.encode()) < 5e6
    assert "{{" not in text.partition('id="grid"')[0]
    assert re.search(r"<script src|<link rel=.stylesheet|@import|url\((?!#|\"data:)", text) is None
