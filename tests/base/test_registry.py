"""A registry forgets what was registered or replaced for a while."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import pytest

from spannorm_theory.base.registry import Registry


@dataclass(frozen=True)
class Entry:
    name: str
    number: int = 0


@pytest.mark.exact
def test_what_was_registered_for_a_while_is_forgotten_also_after_an_error() -> None:
    registry: Registry[Entry] = Registry("entry")
    registry.add(Entry("kept"))
    with suppress(ZeroDivisionError), registry.temporarily():
        registry.add(Entry("new"))
        registry.add(Entry("kept", 1), replace=True)
        assert dict(registry) == {"kept": Entry("kept", 1), "new": Entry("new")}
        raise ZeroDivisionError
    assert dict(registry) == {"kept": Entry("kept")}
