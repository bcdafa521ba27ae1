"""Shared fixtures: matplotlib without a screen, and torch's global state left as it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(autouse=True)
def _global_torch_state_is_left_alone() -> Iterator[None]:
    torch = sys.modules.get("torch")
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed()) if torch else None
    yield
    if torch:
        after = (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed())
        assert after == before
