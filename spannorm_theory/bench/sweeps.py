"""What a sweep costs beside its networks: cells, the store, the pool, and a simulated scheduler."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pandas as pd

from ..architecture import Architecture
from ..sweeps.cells import Cell, Specification, grid, specify
from ..sweeps.export import export
from ..sweeps.run import missing_cells, run
from ..sweeps.store import Store
from ..sweeps.worker import Samples, Task, run_task, simulate_cells

#: one cell of the standard sweep, and the values that each of its sizes takes
BASE: dict[str, Any] = {"depth": 24, "width": 256, "heads": 8, "tokens": 32}
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
            (cell,) = specify([arch], networks=networks, chunk=networks, device="cpu").cells()
            times.append(min(_seconds(simulate_cells, [cell], clock=process_time) for _ in range(repeats)))
            growth = (
                np.log(times[-1] / times[-2]) / np.log(value / values[len(times) - 2])
                if len(times) > 1
                else np.nan
            )
            rows.append((name, value, times[-1], growth))
    return pd.DataFrame(rows, columns=["size", "value", "seconds", "exponent"])


def _seconds(
    function: Callable[..., object], *arguments: Any, clock: Callable[[], float] = perf_counter
) -> float:
    start = clock()
    function(*arguments)
    return clock() - start


def pool_cost(cells: int) -> pd.DataFrame:
    """Empty cells through the default pool and the store."""
    with tempfile.TemporaryDirectory() as folder:
        result = run(specification(cells), Path(folder) / "s", measure=empty_cell, progress=False)
    seconds = result.seconds
    return pd.DataFrame({"cells": [cells], "seconds": [seconds], "for one": [seconds / cells]})


def store_cost(sizes: Sequence[int]) -> pd.DataFrame:
    """Seconds for one cell: written by a worker (claim, summary, file, flush to disk) and checked on
    resuming; seconds of status and export of the whole; bytes of one file."""
    rows = []
    for size in sizes:
        spec = specification(size)
        cells = tuple(spec.cells())
        with tempfile.TemporaryDirectory() as folder:
            store = Store.create(Path(folder) / "s", spec)
            measuring = size * _seconds(empty_cell, cells[:1])
            written = _seconds(run_task, Task(str(store.path), cells, (), False, empty_cell)) - measuring
            checked = _seconds(missing_cells, store, cells, False)
            status = _seconds(store.status)
            exported = _seconds(export, store, Path(folder) / "out.parquet")
            size_of_one = store.cell_path(cells[0].key).stat().st_size
        rows.append((size, written / size, checked / size, status, exported, size_of_one))
    return pd.DataFrame(rows, columns=["cells", "write", "check", "status", "export", "bytes"])


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


#: assumptions about machines: workers, a cell's time over that on a core here, seconds that the scheduler
#: takes for a submission, cells of a submission, and seconds that the store takes for a cell
MACHINES: dict[str, tuple[int, float, float, int, float]] = {
    "laptop, 8 cores": (8, 1.0, 2e-3, 1, 2e-4),
    "one GPU (100 cores, assumed)": (1, 0.01, 2e-3, 4, 1e-3),
    "64 GPUs, Dask": (64, 0.01, 1e-3, 4, 1e-3),
    "64 GPUs, Slurm, 1 a job": (64, 0.01, 1e-1, 1, 1e-3),
    "64 GPUs, Slurm, 100 a job": (64, 0.01, 1e-1, 100, 1e-3),
    "1024 GPUs, Dask": (1024, 0.01, 1e-3, 4, 1e-3),
}


def scale(seconds: float, cells: int = 100_000) -> pd.DataFrame:
    """A sweep of ``cells`` cells of ``seconds`` on a core here, simulated on each machine."""
    rows = []
    for name, (workers, factor, dispatch, bundle, write) in MACHINES.items():
        submissions, mean = cells // bundle, seconds * factor * bundle
        total = simulate_schedule(submissions, workers, mean, dispatch, write * bundle)
        ideal = cells * seconds * factor / workers
        rows.append((name, ideal / 3600, total / 3600, ideal / total, cells * write / 3600))
    return pd.DataFrame(rows, columns=["machine", "ideal h", "simulated h", "efficiency", "store alone h"])


def tables(quick: bool, progress: Callable[[str], object]) -> dict[str, pd.DataFrame]:
    """Everything, as ``spannorm bench --sweep`` prints it."""
    progress("cells")
    sizes = {name: values[:2] for name, values in GROWTH.items()} if quick else GROWTH
    cost = cell_cost(sizes, repeats=1 if quick else 2)
    progress("store")
    store = store_cost((20, 40) if quick else (100, 1_000, 10_000))
    progress("pool")
    pool = pool_cost(20 if quick else 1_000)
    base = float(cost[(cost["size"] == "width") & (cost["value"] == BASE["width"])]["seconds"].iloc[0])
    progress("scheduler")
    found = scale(base, 1_000 if quick else 100_000)
    return {"sweep cost": cost, "sweep store": store, "sweep pool": pool, "sweep scale": found}
