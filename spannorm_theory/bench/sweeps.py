"""The cost of a sweep beside its networks: cells, the store, the pool, and a simulated scheduler."""

from __future__ import annotations

import heapq
import resource
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pandas as pd

from ..spec.architecture import Architecture
from ..sweeps.cells import Cell, Specification, grid, specify
from ..sweeps.run import missing_cells, run
from ..sweeps.store.export import export
from ..sweeps.store.store import Store
from ..sweeps.worker import Samples, Task, run_task, simulate_cells
from .work import Work, work

#: a small and a large cell, and the values that each size of the small one takes
BASE: dict[str, Any] = {"depth": 24, "width": 256, "heads": 8, "tokens": 32}
LARGE: dict[str, Any] = {"depth": 48, "width": 1024, "heads": 16, "tokens": 64}
GROWTH: dict[str, tuple[int, ...]] = {
    "depth": (12, 24, 48),
    "width": (128, 256, 512),
    "tokens": (16, 32, 64),
    "networks": (4, 16, 64),
}
NETWORKS = 16


def empty_cell(cells: Sequence[Cell]) -> tuple[Samples, dict[str, Any]]:
    """Numbers of the size that a stack of 48 blocks gives, in no time."""
    networks = sum(cell.count for cell in cells)
    rng = np.random.default_rng(cells[0].first)
    names = ["variance", "token_cosine", "rank_residual", "stable_rank", "effective_rank", "grad_variance"]
    keys = [("0", name) for name in [*names, "participation_ratio", "grad_token_cosine", "branch_share"]]
    keys += [(f"w{i}", "weight_grad_norm") for i in range(7)]
    return {key: rng.normal(size=(networks, 49)) for key in keys}, {"device": "cpu"}


def specification(cells: int) -> Specification:
    """A sweep of one network a cell, ten cells an architecture."""
    archs = grid({"placement": "pre-norm", "depth": list(range(1, -(-cells // 10) + 1))})
    return specify(archs, networks=min(10, cells), chunk=1, device="cpu")


def cell_cost(sizes: dict[str, tuple[int, ...]], repeats: int = 2) -> pd.DataFrame:
    """Processor seconds of one cell while one size changes, and its exponent between neighbours. A cell
    runs on one core, and other work on the machine disturbs these least."""
    rows = []
    warm_up = specify([Architecture("span-norm", depth=1)], networks=1, device="cpu").cells()
    simulate_cells(warm_up)
    for name, values in sizes.items():
        times: list[float] = []
        for value in values:
            changed = {**BASE, **({} if name == "networks" else {name: value})}
            networks = value if name == "networks" else NETWORKS
            arch = Architecture("span-norm", "depth-scaled-init", **changed)
            times.append(min(_of_a_cell(arch, networks) for _ in range(repeats)))
            growth = (
                np.log(times[-1] / times[-2]) / np.log(value / values[len(times) - 2])
                if len(times) > 1
                else np.nan
            )
            rows.append((name, value, times[-1], growth))
    return pd.DataFrame(rows, columns=["size", "value", "seconds", "exponent"])


def _of_a_cell(arch: Architecture, networks: int) -> float:
    """Processor seconds of one cell."""
    (cell,) = specify([arch], networks=networks, chunk=networks, device="cpu").cells()
    return _seconds(simulate_cells, [cell], clock=process_time)


def _seconds(
    function: Callable[..., object], *arguments: Any, clock: Callable[[], float] = perf_counter
) -> float:
    start = clock()
    function(*arguments)
    return clock() - start


def pool_cost(cells: int) -> pd.DataFrame:
    """Empty cells through the default pool and the store, with the start and end of its processes: wall time,
    and processor time of all of them."""
    before = _processor()
    with tempfile.TemporaryDirectory() as folder:
        result = run(specification(cells), Path(folder) / "s", measure=empty_cell, progress=False)
    spent = _processor() - before
    return pd.DataFrame({"cells": [cells], "seconds": [result.seconds], "processor": [spent]})


def _processor() -> float:
    """Processor seconds of this process and of those that it has started and that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def store_cost(sizes: Sequence[int]) -> pd.DataFrame:
    """Processor seconds for one cell: written by a worker (claim, summary, file, flush to disk), checked on
    resuming, counted by status, exported; median wall time of a write; bytes of one file."""
    rows = []
    for size in sizes:
        spec = specification(size)
        cells = tuple(spec.cells())
        with tempfile.TemporaryDirectory() as folder:
            store = Store.create(Path(folder) / "s", spec)
            tasks = [Task(str(store.path), (cell,), (), False, empty_cell) for cell in cells]
            measuring, measuring_wall = _mean(empty_cell, cells[:10])
            walls = []
            before = process_time()
            for task in tasks:
                walls.append(_seconds(run_task, task))
            written = (process_time() - before) / size - measuring
            checked = _seconds(missing_cells, store, cells, False, clock=process_time) / size
            status = _seconds(store.status, clock=process_time) / size
            exported = _seconds(export, store, Path(folder) / "out.parquet", clock=process_time) / size
            size_of_one = store.cell_path(cells[0].key).stat().st_size
        wall = float(np.median(walls)) - measuring_wall
        rows.append((size, written, wall, checked, status, exported, size_of_one))
    return pd.DataFrame(rows, columns=["cells", "write", "write wall", "check", "status", "export", "bytes"])


def _mean(function: Callable[[Sequence[Cell]], object], cells: Sequence[Cell]) -> tuple[float, float]:
    """Processor and wall seconds of a call for each cell, after one to warm up."""
    function(cells[:1])
    start, before = perf_counter(), process_time()
    for cell in cells:
        function((cell,))
    return (process_time() - before) / len(cells), (perf_counter() - start) / len(cells)


def simulate_schedule(
    cells: int, workers: int, seconds: float, dispatch: float, write: float, spread: float = 0.5
) -> float:
    """Seconds until the last of ``cells`` ends.

    Args:
        seconds: mean time of a cell, lognormal with log-standard deviation ``spread``.
        dispatch: what the one scheduler spends on a cell before it may start.
        write: what the one store spends on a cell; workers queue for both.
    """
    rng = np.random.default_rng(0)
    times = seconds * np.exp(spread * rng.normal(size=cells) - spread**2 / 2)
    free = [0.0] * min(workers, cells)
    scheduler = 0.0
    computed = []
    for time in times:
        worker = heapq.heappop(free)
        scheduler = max(scheduler, worker) + dispatch
        computed.append(scheduler + time)
        heapq.heappush(free, scheduler + time)
    store = 0.0
    for end in sorted(computed):
        store = max(store, end) + write
    return store


@dataclass(frozen=True)
class Machine:
    """Assumptions about where a sweep runs.

    Attributes:
        gpu: whether a worker is an H200, as :mod:`.work` models it, or a core like the one here.
        dispatch: seconds that the scheduler takes for a submission.
        bundle: cells of a submission; up to ``FUSED`` of them are measured at once on a GPU.
        write: seconds that the file system takes for a file, all workers together.
        start: seconds that a submission takes to start Python, torch and the device.
    """

    workers: int
    gpu: bool
    dispatch: float
    bundle: int
    write: float
    start: float = 0.0


FUSED = 4
MACHINES: dict[str, Machine] = {
    "laptop, 8 cores": Machine(8, False, 2e-3, 1, 2e-4),
    "one H200": Machine(1, True, 2e-3, 4, 2e-4),
    "64 H200, Dask": Machine(64, True, 1e-3, 4, 1e-3),
    "64 H200, Slurm, 1 a job": Machine(64, True, 1e-1, 1, 1e-3, 10.0),
    "64 H200, Slurm, 100 a job": Machine(64, True, 1e-1, 100, 1e-3, 10.0),
    "1024 H200, Dask": Machine(1024, True, 1e-3, 4, 1e-3),
}


def scale(cell: str, seconds: float, asked: Work, overhead: float, cells: int = 100_000) -> pd.DataFrame:
    """A sweep of ``cells`` cells of ``NETWORKS`` networks, simulated on each machine.

    Args:
        cell: what the table calls it.
        seconds: of a cell on a core here.
        asked: what one of its networks asks of a GPU.
        overhead: seconds that a worker spends on the store for each cell.
    """
    rows = []
    for name, machine in MACHINES.items():
        bundle, fused = machine.bundle, min(FUSED, machine.bundle)
        batches = bundle // fused
        measuring = batches * asked.seconds(fused * NETWORKS) if machine.gpu else bundle * seconds
        submissions = cells // bundle
        limits = {
            "networks": submissions * measuring / machine.workers,
            "worker's files": cells * overhead / machine.workers,
            "starts": submissions * machine.start / machine.workers,
            "scheduler": submissions * machine.dispatch,
            "store": cells * machine.write,
        }
        busy = machine.start + measuring + bundle * overhead
        total = simulate_schedule(
            submissions, machine.workers, busy, machine.dispatch, machine.write * bundle
        )
        largest = max(limits, key=lambda limit: limits[limit])
        rows.append((cell, name, limits["networks"] / 3600, total / 3600, largest, limits[largest] / 3600))
    return pd.DataFrame(rows, columns=["cell", "machine", "networks h", "simulated h", "limit", "limit h"])


def tables(quick: bool, progress: Callable[[str], object]) -> dict[str, pd.DataFrame]:
    """All tables by name, as ``spannorm bench --sweep`` prints them."""
    progress("cells")
    sizes = {name: values[:2] for name, values in GROWTH.items()} if quick else GROWTH
    cost = cell_cost(sizes, repeats=1 if quick else 2)
    progress("store")
    store = store_cost((20, 40) if quick else (100, 1_000, 10_000))
    progress("pool")
    pool = pool_cost(20 if quick else 1_000)
    progress("scheduler")
    asked, found = [], []
    for name, fields in {"small": BASE, "large": BASE if quick else LARGE}.items():
        arch = Architecture("span-norm", "depth-scaled-init", **fields)
        seconds = min(_of_a_cell(arch, NETWORKS) for _ in range(1 if quick else 2))
        one = work(arch)
        asked.append(
            (name, seconds, one.operations, one.bytes, one.flops, one.seconds(FUSED * NETWORKS) / FUSED)
        )
        found.append(scale(name, seconds, one, float(store["write"].iloc[-1]), 1_000 if quick else 100_000))
    columns = ["cell", "core seconds", "operations", "bytes", "flops", "seconds on an H200 (model)"]
    return {
        "sweep cost": cost,
        "sweep store": store,
        "sweep pool": pool,
        "sweep work": pd.DataFrame(asked, columns=columns),
        "sweep scale": pd.concat(found, ignore_index=True),
    }
