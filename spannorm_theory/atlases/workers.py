"""Cells of the atlas computed in processes, those of a placement in one: they share what is compiled."""

from __future__ import annotations

import gc
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import Connection

from ..base.processes import follow
from ..spec.architecture import Architecture
from .cell import compute
from .records import Cell

#: fewer cells than this are not worth a pool of processes
FEWEST = 6


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def computed(
    archs: Sequence[Architecture], depths: tuple[int, ...], seconds: float, workers: int | None
) -> Iterator[tuple[int, Cell]]:
    """Cells with their places in ``archs``, in the order in which they are done.

    Args:
        workers: processes; None takes one for each core.
    """
    workers = _cores() if workers is None else workers
    # forked workers know the placements and rules that a user has registered
    forks = "fork" in multiprocessing.get_all_start_methods()
    if workers <= 1 or len(archs) < FEWEST or not forks:
        yield from ((i, compute(arch, depths, seconds)) for i, arch in enumerate(archs))
        return
    # a worker takes all rules of a placement: they share what is compiled, and many their laws
    groups: dict[str, list[int]] = {}
    for i, arch in enumerate(archs):
        groups.setdefault(arch.placement, []).append(i)
    slowest = sorted(
        groups.values(), key=lambda group: (archs[group[0]].definition.streams, len(group)), reverse=True
    )
    context = multiprocessing.get_context("fork")
    reader, lifeline = context.Pipe(duplex=False)
    with (
        reader,
        lifeline,
        warnings.catch_warnings(),
        ProcessPoolExecutor(min(workers, len(slowest)), context, _prepare, (reader, lifeline)) as pool,
    ):
        # newer Pythons warn of threads (BLAS); the workers start none and share no locks with them
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        futures = {pool.submit(_group, [archs[i] for i in g], depths, seconds): g for g in slowest}
        try:
            for future in as_completed(futures):
                yield from zip(futures[future], future.result(), strict=True)
        except BaseException:
            lifeline.close()  # an interrupt waits for no worker
            raise


def _prepare(parent: Connection, lifeline: Connection) -> None:
    """An end with the parent; one thread; and fewer collections of garbage, which visit the many small
    objects that formulas are and would be a tenth of the work."""
    from threadpoolctl import threadpool_limits

    lifeline.close()  # a forked process has inherited the parent's end
    follow(parent)
    threadpool_limits(1)
    gc.freeze()
    gc.set_threshold(50_000, 20)


def _group(archs: Sequence[Architecture], depths: tuple[int, ...], seconds: float) -> list[Cell]:
    return [compute(arch, depths, seconds) for arch in archs]
