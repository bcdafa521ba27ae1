"""Carry every cell of a sweep through an executor, whatever dies on the way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import uuid4

from ..base.errors import StoreError
from .cells import Cell
from .pools import LocalPool, Promise, batch, room, wait_for_some
from .store.store import Store
from .worker import Measure, Outcome, Task, finished_by, run_task, this_process

#: times that a cell may take its worker down before it counts as failed
ATTEMPTS = 3
#: seconds after which cells that another process has are looked at again
PATIENCE = 0.5


@dataclass
class Driver:
    """One run over the cells that are not finished.

    Attributes:
        bundle: cells of one submission.
        report: called with the outcome of every cell, once.
        limit: seconds that a cell may take; None for no limit.
        here, name: the process that must not end, and what files of this run's cells say of who made them.
    """

    store: Store
    executor: Any
    imports: tuple[str, ...]
    measure: Measure
    bundle: int
    fuse: bool
    report: Callable[[Outcome], object]
    limit: float | None = None
    queue: deque[Cell] = field(default_factory=deque)
    suspects: deque[Cell] = field(default_factory=deque)
    busy: list[Cell] = field(default_factory=list)
    pending: dict[int, tuple[Promise, Task]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    stillborn: int = 0
    here: tuple[str, int] = field(default_factory=this_process)
    name: str = field(default_factory=lambda: uuid4().hex)

    def run(self, cells: Sequence[Cell]) -> None:
        """Return when every cell has an outcome.

        Raises:
            StoreError: the store cannot be written, or the executor ended.
        """
        self.queue.extend(cells)
        try:
            while self.queue or self.suspects or self.busy or self.pending:
                self._submit()
                if self.pending:
                    for promise in wait_for_some([promise for promise, _ in self.pending.values()]):
                        if id(promise) in self.pending:  # a pool that broke took all of its promises along
                            self._receive(promise)
                else:
                    self._look_after_busy()
        finally:
            for promise, _ in self.pending.values():
                promise.cancel()

    def _submit(self) -> None:
        if self.suspects:
            # a cell that was in flight when a worker died runs alone, so that the next death tells
            if not self.pending:
                self._send((self.suspects.popleft(),))
            return
        window = room(self.executor)
        if not self.queue or 2 * len(self.pending) > window:
            return
        with batch(self.executor):
            while self.queue and len(self.pending) < window:
                cells = tuple(islice(self._unfinished(), self.bundle))
                if cells:
                    self._send(cells)

    def _unfinished(self) -> Any:
        """Take cells from the queue, leaving out what another process has finished meanwhile."""
        while self.queue:
            cell = self.queue.popleft()
            if self.store.has(cell.key):
                self._found(cell.key)
            else:
                yield cell

    def _found(self, key: str) -> None:
        self.report(Outcome(key, finished_by(self.store, key, self.name)))

    def _send(self, cells: tuple[Cell, ...]) -> None:
        where, run = str(self.store.path), (self.here, self.name)
        task = Task(where, cells, self.imports, self.fuse, self.measure, self.limit, *run)
        try:
            promise = self.executor.submit(run_task, task)
        except Exception as error:  # each executor has its own for having ended
            if isinstance(self.executor, LocalPool) and not isinstance(error, BrokenExecutor):
                raise
            self.queue.extendleft(reversed(cells))
            if self.pending and isinstance(error, BrokenExecutor):
                return  # what is in flight will say so too
            self._rebuild(error)
        else:
            self.pending[id(promise)] = promise, task

    def _receive(self, promise: Promise) -> None:
        _, task = self.pending.pop(id(promise))
        try:
            outcomes: list[Outcome] = promise.result()
        except BrokenExecutor as error:
            self._recover(task, error)
            return
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            self._retry(task.cells, f"{type(error).__name__}: {lines[0][:200]}")
            return
        self.stillborn = 0
        cells = {cell.key: cell for cell in task.cells}
        for outcome in outcomes:
            if outcome.state == "unwritable":
                raise StoreError(outcome.error)
            if outcome.state == "busy":
                self.busy.append(cells[outcome.key])
            else:
                self.report(outcome)

    def _recover(self, task: Task, error: BrokenExecutor) -> None:
        """A worker died and took the pool with it: start anew, and find out whose fault it was."""
        alone = not self.pending and len(task.cells) == 1
        lost = [cell for one in (task, *(t for _, t in self.pending.values())) for cell in one.cells]
        self.pending.clear()
        self._rebuild(error)
        suspected = [c for c in lost if not self.store.has(c.key) and self.store.abandoned(c.key)]
        self.store.tidy_up()
        rest = [cell for cell in lost if cell not in suspected]
        self.queue.extendleft(reversed(rest))
        if alone:
            self._retry(suspected, "its worker died (killed, or out of memory)")
        else:
            self.suspects.extend(suspected)
        self.stillborn = 0 if suspected else self.stillborn + 1
        if self.stillborn == ATTEMPTS:
            raise StoreError(
                "the worker processes end before they begin a cell; a script that calls sweep must do so "
                "under if __name__ == '__main__':, because every worker imports it"
            )

    def _rebuild(self, error: Exception) -> None:
        if not isinstance(self.executor, LocalPool):
            why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise StoreError(
                f"the executor ended ({why}); finished cells are safe: "
                "run the same sweep again with a new one"
            ) from None
        self.executor.rebuild()

    def _retry(self, cells: Sequence[Cell], why: str) -> None:
        """Try again, up to a number of times, cells whose worker gave no answer."""
        for cell in cells:
            tried = self.attempts[cell.key] = self.attempts.get(cell.key, 0) + 1
            if self.store.has(cell.key):
                self._found(cell.key)
            elif tried < ATTEMPTS:
                (self.suspects if isinstance(self.executor, LocalPool) else self.queue).append(cell)
            else:
                message = f"{why}, {tried} times"
                self.store.record_failure(cell, message)
                self.report(Outcome(cell.key, "failed", message))

    def _look_after_busy(self) -> None:
        """Cells that another process had: take its result, or the cell if it gave up."""
        if not self.busy:
            return
        waiting, self.busy = self.busy, []
        for cell in waiting:
            failure = self.store.failure(cell.key)
            if self.store.has(cell.key):
                self._found(cell.key)
            elif failure is not None:
                self.report(Outcome(cell.key, "failed", failure.error))
            elif self.store.owner(cell.key) is None:
                self.queue.append(cell)
            else:
                self.busy.append(cell)
        if self.busy and not self.queue:
            time.sleep(PATIENCE)
