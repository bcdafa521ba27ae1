"""Ctrl-C and SIGTERM: both are a ``KeyboardInterrupt``; whoever asked decides what half a result is worth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


class Stopped(Exception):
    """The work of a thread is no longer wanted."""


class Halt:
    """A sign to threads that nobody wants their work: an error, or an interrupt, has left the block."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Give the sign."""
        self._event.set()

    def check(self) -> None:
        """End the calling thread's work if it is no longer wanted.

        Raises:
            Stopped: it is not.
        """
        if self._event.is_set():
            raise Stopped

    def __enter__(self) -> Halt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.set()


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
