"""Which placement a module has: told by its profile, with the gains of its own tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from modules import Model

import spannorm_theory as st
from spannorm_theory.base.errors import SpannormError

pytestmark = pytest.mark.usefixtures("registries", "own_generator")


def identified(networks: int = 24, **options: Any) -> st.Identification:
    return st.identify(
        lambda seed: Model(depth=6, **options),
        networks=networks,
        tokens=12,
        activation="gelu",
        progress=False,
    )


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("options", "placement", "ties"),
    [
        ({}, "pre-norm", ("denseformer", "gpas")),
        ({"post": True, "head": "none", "std": 0.3}, "post-norm", ()),
    ],
)
def test_the_placement_is_the_nearest_and_fits(
    options: dict[str, Any], placement: str, ties: tuple[str, ...]
) -> None:
    found = identified(**options)
    assert found.best is not None
    assert (found.best.placement, found.best.ties) == (placement, ties)
    assert found.best.distance < 1.5
    assert found.arch == found.reading.architecture(placement)
    by_name = found.table.set_index("placement")
    assert not by_name.loc[["no-norm", "sandwich", "deepnorm"], "fits"].any()
    assert by_name["distance"].is_monotonic_increasing or not by_name["fits"].all()
    assert {name for name, _ in found.left_out} >= {"residual", "siamese-norm", "hyper-connections"}
    assert placement in found.words()
    assert "told apart by" in found.words()


@pytest.mark.statistical
def test_none_fits_a_module_with_a_fault() -> None:
    class Faulty(Model):
        """A model that writes the branch of one block three times."""

        def __init__(self) -> None:
            super().__init__(depth=6)
            self.blocks[3].norm1.weight.data.fill_(3.0)
            self.blocks[3].norm2.weight.data.fill_(3.0)

    found = st.identify(lambda seed: Faulty(), networks=24, tokens=12, activation="gelu", progress=False)
    assert found.best is None
    assert found.arch is None
    assert found.words().startswith("none of these: the nearest, ")
    assert " at layer " in found.words()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.identify(Model()), "pass a function of the seed that makes fresh networks"),
        (lambda: st.identify(3), "expected a torch.nn.Module, or a function of a seed"),
        (lambda: st.identify(lambda seed: Model(), networks=2, tokens=4), "at least 3 for a standard error"),
        (lambda: st.identify(lambda seed: Model(), networks=3, tokens=4, wdth=3), "did you mean width"),
    ],
)
def test_what_cannot_be_identified_is_refused(call: Callable[[], object], message: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(SpannormError, match=message):
        call()
