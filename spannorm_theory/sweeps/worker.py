"""A worker's round: claim cells, measure them, write them into the store, and say how it went.

Everything that crosses a process boundary is plain text, so that any executor can carry it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from .._version import __version__
from ..base.errors import StoreError, UnknownNameError
from ..base.interrupts import whole_results
from ..montecarlo.statistics import Array, Statistics, summarise
from .cells import Cell
from .store.files import unwritable
from .store.store import Store

Samples = Mapping[tuple[str, str], Array]
#: from cells that are neighbours in one ensemble to their samples, and what was used
Measure = Callable[[Sequence[Cell]], tuple[Samples, dict[str, Any]]]

#: the environment variable that gives a worker a device of its own
DEVICE = "SPANNORM_SWEEP_DEVICE"


class Outcome(NamedTuple):
    """The fate of a cell: "done", "found" (it was there already), "failed", "busy" (another process has it),
    or "unwritable"."""

    key: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class Task:
    """Cells for one submission.

    Attributes:
        fuse: measure cells that are neighbours in one ensemble at once, to fill a device.
        measure: what measures cells; a function of a module.
        limit: seconds that a cell may take, after which its process ends; None for no limit.
        owner: host and process of the sweep, which must not end.
        run: name of the run, which it leaves in the files of its cells.
    """

    store: str
    cells: tuple[Cell, ...]
    imports: tuple[str, ...]
    fuse: bool
    measure: Measure
    limit: float | None = None
    owner: tuple[str, int] | None = None
    run: str = ""


def simulate_cells(cells: Sequence[Cell]) -> tuple[Samples, dict[str, Any]]:
    """Monte Carlo of cells that are neighbours in one ensemble, on one thread."""
    from ..montecarlo.ensemble import simulate
    from ..montecarlo.global_state import one_thread
    from ..spec.architecture import Architecture

    cell = cells[0]
    device = os.environ.get(DEVICE, cell.device) if cell.device == "cuda" else cell.device
    networks = sum(c.count for c in cells)
    with one_thread(), whole_results():
        ensemble = simulate(
            Architecture.parse(cell.arch),
            networks=networks,
            seed=cell.seed,
            device=device,
            engine=cell.engine,
            dtype=cell.dtype,
            progress=False,
            first=cell.first,
        )
    return ensemble.samples, {"device": ensemble.device, "engine": ensemble.engine}


def run_task(task: Task) -> list[Outcome]:
    """Work through a task's cells; never raises an error of a cell."""
    try:
        _import(task.imports)
        store = Store(task.store)
        if task.limit is not None and task.owner == this_process():
            raise StoreError(
                "cell_timeout ends the process of a cell that takes too long, and this executor runs cells "
                "in the process of the sweep; take one that starts processes, or leave out cell_timeout"
            )
        outcomes: list[Outcome] = []
        for group in neighbours(task.cells) if task.fuse else [(cell,) for cell in task.cells]:
            outcomes += _run_group(store, group, task)
        return outcomes
    except StoreError as error:
        message = str(error)
    except OSError as error:
        message = unwritable(task.store, error)
    except ImportError as error:
        message = f"a worker cannot import what imports names: {error}"
    return [Outcome(cell.key, "unwritable", message) for cell in task.cells]


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        try:
            import_module(module)
        except (Exception, SystemExit) as error:
            raise ImportError(f"{type(error).__name__}: {error}") from None


def neighbours(cells: Sequence[Cell]) -> list[tuple[Cell, ...]]:
    """Cells in runs of consecutive networks of one ensemble."""
    runs: list[list[Cell]] = []
    for cell in cells:
        last = runs[-1][-1] if runs else None
        if last is not None and cell == Cell(**{**vars(last), "first": last.first + last.count}):
            runs[-1].append(cell)
        else:
            runs.append([cell])
    return [tuple(run) for run in runs]


def this_process() -> tuple[str, int]:
    """Host and number of the calling process."""
    return socket.gethostname(), os.getpid()


def finished_by(store: Store, key: str, run: str) -> str:
    """State of a finished cell: "done" where the run made it, in an answer that was lost, else "found"."""
    try:
        return "done" if store.read(key).info.get("run") == run else "found"
    except StoreError:  # damaged meanwhile, which is found when it is read
        return "found"


def _run_group(store: Store, cells: Sequence[Cell], task: Task) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with ExitStack() as claims:
        free: list[Cell] = []
        for cell in cells:
            if not claims.enter_context(store.claim(cell.key)):
                outcomes.append(Outcome(cell.key, "busy"))
            elif store.has(cell.key):
                outcomes.append(Outcome(cell.key, finished_by(store, cell.key, task.run)))
            elif failure := store.failure(cell.key):
                outcomes.append(Outcome(cell.key, "failed", failure.error))
            else:
                free.append(cell)
        for run in neighbours(free):
            outcomes += _measure_run(store, run, task)
    return outcomes


@contextmanager
def _within(limit: float | None, store: Store, run: Sequence[Cell]) -> Iterator[None]:
    """End this process when the block takes longer than the run's cells may: nothing less stops code that
    hangs. One cell's failure is recorded; several are left to be run alone."""

    def end() -> None:
        try:
            if len(run) == 1:
                store.record_failure(run[0], f"took longer than the {limit:g} s of cell_timeout")
        finally:
            os._exit(1)

    if limit is None:
        yield
        return
    timer = threading.Timer(min(limit * len(run), threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _measure_run(store: Store, run: Sequence[Cell], task: Task) -> list[Outcome]:
    start = time.perf_counter()
    try:
        with _within(task.limit, store, run):
            samples, used = task.measure(run)
        statistics = list(_chunks(run, samples))
    except Exception as error:
        if len(run) > 1:  # find out which of them it is
            return [outcome for cell in run for outcome in _measure_run(store, (cell,), task)]
        message = f"{type(error).__name__}: {error}"
        if isinstance(error, UnknownNameError):
            message += " (a worker knows what it imports: name the module that registers it in imports)"
        store.record_failure(run[0], message, traceback.format_exc())
        return [Outcome(run[0].key, "failed", message)]
    seconds = (time.perf_counter() - start) / len(run)
    info = {"version": __version__, "host": socket.gethostname(), "seconds": seconds, "run": task.run, **used}
    for cell, one in zip(run, statistics, strict=True):
        store.write(cell, one, info)
    return [Outcome(cell.key, "done") for cell in run]


def _chunks(run: Sequence[Cell], samples: Samples) -> Iterator[Statistics]:
    """The statistics of each cell of a run."""
    first = 0
    for cell in run:
        yield summarise({key: sample[first : first + cell.count] for key, sample in samples.items()})
        first += cell.count
