"""``st.sweep``: what a user calls, and what comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from ..base import arguments
from ..base.errors import InputError, StoreError, shown
from ..spec.architecture import Architecture
from .cells import Cell, Specification, specify
from .drive import Driver
from .pools import LocalPool, cuda_devices, room
from .store.export import sweep_table
from .store.store import DamagedCellError, Failure, Store
from .worker import Measure, Outcome, simulate_cells

#: numbers in one operation that fill a large GPU: a guess from its cores, not measured
FULL_GPU = 1 << 24


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        store: where the cells are (:class:`~spannorm_theory.Store`).
        specification: what was asked for.
        cells: all that were asked for.
        skipped: how many were there already, or had failed before.
        computed: how many this run added.
        failures: cells without a result, with their errors.
        damaged: files that were not what was written; they were moved here and their cells computed anew.
        seconds: how long this run took.
        shared: how many other processes finished meanwhile.
    """

    store: Store
    specification: Specification
    cells: Sequence[Cell]
    skipped: int
    computed: int
    failures: Sequence[Failure]
    damaged: Sequence[Path]
    seconds: float
    shared: int = 0

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each (architecture, layer, stream, quantity): see :func:`export.sweep_table`."""
        return sweep_table(self.store, self.cells)

    @property
    def passed(self) -> bool:
        """Whether every cell has a result."""
        return not self.failures

    def summary(self) -> str:
        """The counts of cells, and the failures with their reasons.

        Returns:
            text; a line for each failure.
        """
        lines = [
            f"{len(self.cells)} cells of {len(self.specification.archs)} architectures in {self.store.path}: "
            f"{self.skipped} there before, {self.computed} computed in {self.seconds:.1f} s, "
            + (f"{self.shared} by other processes meanwhile, " if self.shared else "")
            + f"{len(self.failures)} failed"
        ]
        lines += [f"damaged, computed anew: {path}" for path in self.damaged]
        shown = self.failures[:10]
        lines += [f"FAIL {f.cell.arch} (networks from {f.cell.first}): {f.error}" for f in shown]
        if len(self.failures) > len(shown):
            lines.append(f"and {len(self.failures) - len(shown)} more")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """The summary, in place of all cells."""
        return f"Sweep: {self.summary()}"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.summary())}</pre>"


def sweep(
    archs: Iterable[Architecture | str] | Architecture | str | Mapping[str, Any],
    networks: int = 64,
    executor: Any = None,
    store: str | Path = "results",
    seed: int | Iterable[int] = 0,
    *,
    chunk: int | None = None,
    engine: str = "auto",
    dtype: str = "float32",
    device: str = "auto",
    imports: Sequence[str] = (),
    workers: int | None = None,
    bundle: int | None = None,
    retry_failed: bool = False,
    progress: bool | None = None,
    cell_timeout: float | None = None,
) -> Sweep:
    """Measure many architectures, and keep every finished piece.

    Each architecture's networks are cut into cells of ``chunk``; a cell is a pure function of its
    text form, and the cells of one seed are parts of what ``simulate`` measures with that seed. The
    same call again computes what is missing. Several sweeps may share a store at the same time.

    Source: docs/sweeps.md.

    Args:
        archs: architectures or their text forms, or a grid: fields of ``Architecture``, each with a value or
            a list of values.
        networks: independent networks of each architecture and seed; a multiple of ``chunk``.
        executor: anything with the interface of ``concurrent.futures.Executor``, or submitit's
            executor; its workers must see the folder ``store``. None starts processes on this machine, one
            thread each: one for each core, or one for each CUDA device.
        store: folder of the results.
        seed: one, or several, each of which adds ``networks`` networks to every architecture.
        chunk: networks of one cell; None takes 16, or all where there are fewer.
        engine, dtype: as of ``simulate``.
        device: "auto", "cpu" or "cuda". The same seed gives other networks on the other kind.
        imports: modules that workers import first, to register what the architectures name.
        workers: processes of the default pool.
        bundle: cells of one submission; None takes as many as fill a GPU, or 1 on the CPU; for submitit
            at least as many as leave no job waiting for another.
        retry_failed: try failed cells again, which are left out otherwise.
        progress: False shows no progress bar.
        cell_timeout: seconds that a cell may take, or a worker's first cell together with the start of its
            libraries. A cell that takes longer counts as failed, and its process ends; the executor must
            start processes.

    Returns:
        a :class:`Sweep`; its ``table`` has the rows of ``simulate`` for every architecture.

    Raises:
        InputError: a value that cannot be used, or a cell that comes twice.
        StoreError: the store cannot be used.

    Example:
        >>> import tempfile
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> import spannorm_theory as st
        >>> grid = {"placement": ["pre-norm", "post-norm"], "depth": 2, "width": 32, "heads": 2, "tokens": 4}
        >>> with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        ...     found = st.sweep(grid, networks=2, executor=pool, store=folder, device="cpu", progress=False)
        ...     found.computed, found.passed, found.store.status().done
        ...
        (2, True, 2)
    """
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise InputError(
            f"executor is an object with a method submit, such as ThreadPoolExecutor(), or None; got "
            f"{shown(executor)} (names of executors are for spannorm sweep --executor)"
        )
    specification = specify(
        archs,
        networks=networks,
        chunk=chunk,
        seed=seed,
        engine=engine,
        dtype=dtype,
        device=device,
        imports=imports,
    )
    return run(specification, store, executor, workers, bundle, retry_failed, progress, cell_timeout)


def run(
    specification: Specification,
    store: str | Path = "results",
    executor: Any = None,
    workers: int | None = None,
    bundle: int | None = None,
    retry_failed: bool = False,
    progress: bool | None = None,
    cell_timeout: float | None = None,
    measure: Measure = simulate_cells,
) -> Sweep:
    """A sweep from its specification; ``measure`` is what measures cells. Else as :func:`sweep`."""
    bundle = None if bundle is None else arguments.whole("bundle", bundle, 1)
    store = arguments.path("store", store)
    if executor is not None and workers is not None:
        raise InputError("workers belongs to the default pool; an executor has its own")
    _require_limit(cell_timeout, executor)
    start = time.perf_counter()
    cuda = specification.device == "cuda"
    pool = LocalPool(workers, cuda_devices() if cuda else ()) if executor is None else executor
    folder = Store.create(store, specification)
    cells = specification.cells()
    bar = tqdm(total=len(cells), unit="cell", desc="sweep", disable=progress is False, smoothing=0.1)
    counts = {"done": 0, "found": 0, "failed": 0}

    def report(outcome: Outcome) -> None:
        counts[outcome.state] += 1
        bar.set_postfix(failed=counts["failed"], refresh=False)
        bar.update()

    driver = Driver(
        folder,
        pool,
        specification.imports,
        measure,
        bundle or _bundle(specification, pool),
        cuda,
        report,
        cell_timeout,
    )
    whole = False
    try:
        missing, damaged = missing_cells(folder, cells, retry_failed)
        bar.initial = bar.n = len(cells) - len(missing)
        driver.run(missing)
        whole = True
    except KeyboardInterrupt as error:
        error.args = (f"{counts['done']} cells computed are kept; the same sweep goes on from them",)
        raise
    finally:
        bar.close()
        if isinstance(pool, LocalPool):
            pool.close() if whole else pool.abandon()
        if not whole:
            with suppress(OSError, StoreError):
                folder.tidy_up()
    mine = {cell.key for cell in cells}
    failures = [failure for failure in folder.failures() if failure.cell.key in mine]
    return Sweep(
        folder,
        specification,
        cells,
        skipped=len(cells) - len(missing),
        computed=counts["done"],
        failures=failures,
        damaged=damaged,
        seconds=time.perf_counter() - start,
        shared=counts["found"],
    )


def _require_limit(seconds: float | None, executor: Any) -> None:
    if seconds is None:
        return
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not number or not 0 < seconds <= threading.TIMEOUT_MAX:
        raise InputError(f"cell_timeout must be a positive number of seconds, or None, got {seconds!r}")
    if type(executor).__module__.startswith("mpi4py"):
        raise InputError(
            "cell_timeout ends the process of a cell that takes too long, and so an MPI job; leave it out"
        )


def missing_cells(store: Store, cells: Sequence[Cell], retry_failed: bool) -> tuple[list[Cell], list[Path]]:
    """The cells to compute; files that are not what was written are moved aside."""
    finished = store.finished()
    failed = {failure.cell.key for failure in store.failures()}
    missing, damaged = [], []
    for cell in cells:
        if cell.key in finished:
            try:
                store.read(cell.key)
            except DamagedCellError:
                damaged.append(store.set_aside(cell.key))
            else:
                continue
        if cell.key in failed:
            if not retry_failed:
                continue
            store.forget_failure(cell.key)
        missing.append(cell)
    return missing, damaged


def _bundle(specification: Specification, pool: Any) -> int:
    """Cells of one submission: on a GPU, chunks of one ensemble that fill it together; where a submission is
    a job (submitit), few jobs."""
    jobs = -(-len(specification.cells()) // room(pool)) if hasattr(pool, "batch") else 1
    if specification.device != "cuda":
        return jobs
    arch = Architecture.parse(specification.archs[0])
    one = specification.chunk * arch.tokens * arch.hidden
    return max(jobs, min(specification.networks // specification.chunk, -(-FULL_GPU // one)))
