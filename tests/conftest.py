"""Shared fixtures: matplotlib without a screen; registries and torch's global state left as they were."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def registries() -> Iterator[None]:
    """Placements, scaling rules and activations that a test registers are forgotten after it."""
    from spannorm_theory.gaussian.activations import ACTIVATIONS
    from spannorm_theory.spec.placements import PLACEMENTS
    from spannorm_theory.spec.scalings import SCALINGS

    with PLACEMENTS.temporarily(), SCALINGS.temporarily(), ACTIVATIONS.temporarily():
        yield


@pytest.fixture
def own_generator() -> Iterator[None]:
    """A test draws from torch's global generator, and leaves it as it was."""
    import torch

    with torch.random.fork_rng():
        yield


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One small result of each kind that public functions return."""
    from public_calls import one_of_each

    return one_of_each(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(autouse=True)
def _global_torch_state_is_left_alone() -> Iterator[None]:
    torch = sys.modules.get("torch")
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed()) if torch else None
    yield
    if torch:
        after = (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed())
        assert after == before
