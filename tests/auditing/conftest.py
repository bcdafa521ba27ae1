"""Tests of a user's module draw from torch's generator and register rules; both are left as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _own_state(registries: None) -> Iterator[None]:
    with torch.random.fork_rng():
        yield
