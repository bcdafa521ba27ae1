"""Examples in docstrings: figures without a screen, and registries left as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _examples_register_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    from spannorm_theory.gaussian.activations import ACTIVATIONS
    from spannorm_theory.spec.placements import PLACEMENTS
    from spannorm_theory.spec.scalings import SCALINGS

    with PLACEMENTS.temporarily(), SCALINGS.temporarily(), ACTIVATIONS.temporarily():
        yield
