"""Bars of what takes longer than two seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

#: seconds after which a bar is shown
DELAY = 2.0


class NoBar(AbstractContextManager["NoBar"]):
    """What stands in a bar's place where none is wanted, and needs no library."""

    def __exit__(self, *_: object) -> None:
        """Nothing is left to do."""

    def update(self, n: int = 1) -> None:
        """Count, for nobody."""


def blocks_bar(blocks: int, progress: bool, what: str = "predict") -> tqdm[Any] | NoBar:
    """A bar of the blocks that are predicted, which may be there and back; to be used as a context."""
    if not progress:
        return NoBar()
    from tqdm.auto import tqdm

    return tqdm(total=blocks, desc=what, unit="block", delay=DELAY, leave=False)


@contextmanager
def clock(what: str, progress: bool = True) -> Iterator[None]:
    """The time that has passed, beside ``what``, while a block of unknown length runs; on a terminal only."""
    import sys

    from tqdm.auto import tqdm

    if not progress or not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def tick() -> None:
        if done.wait(DELAY):
            return
        with tqdm(desc=what, bar_format="{desc}: {elapsed}", leave=False) as bar:
            while not done.wait(1):
                bar.refresh()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
