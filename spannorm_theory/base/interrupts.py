"""Ctrl-C and SIGTERM: both are a ``KeyboardInterrupt``; whoever asked decides what half a result is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


_whole: ContextVar[bool] = ContextVar("whole", default=False)


@contextmanager
def whole_results() -> Iterator[None]:
    """Let an interrupt end the block, in place of leaving an ensemble inside it with the networks that were
    finished: a table of several ensembles has no place for half a one."""
    token = _whole.set(True)
    try:
        yield
    finally:
        _whole.reset(token)


def keeps_finished() -> bool:
    """Whether an interrupted ensemble is worth what was finished of it."""
    return not _whole.get()
