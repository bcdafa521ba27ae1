"""One contestant of the speed benchmark, run as ``python -m spannorm_theory.bench.worker JOB``.

Writes one JSON line when it is ready and one for every line that it reads: seconds and processor
seconds for each network, and the process's peak memory so far.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from ..base.errors import SpannormError
from ..montecarlo.ensemble import simulate
from ..spec.architecture import Architecture
from .floor import Floor
from .plain import loop

Run = Callable[[], object]


def _engine(name: str) -> Callable[[Architecture, int], Run]:
    return lambda arch, networks: lambda: simulate(arch, networks, engine=name, device="cpu", progress=False)


CONTESTANTS: dict[str, Callable[[Architecture, int], Run]] = {
    "plain": lambda arch, networks: lambda: loop(arch, networks),
    "tuned": lambda arch, networks: lambda: loop(arch, networks, tuned=True),
    "explicit": _engine("explicit"),
    "implicit": _engine("implicit"),
    "floor": lambda arch, networks: Floor(arch, networks).run,
}


def memory(field: str) -> float:
    """VmRSS, the resident memory now, or VmHWM, its peak, in MiB.

    Read from the process itself where the system allows: a child's ``ru_maxrss`` starts at what its
    parent held when it was made.
    """
    status = Path("/proc/self/status")
    found = re.search(rf"{field}:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found.group(1)) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def prepare(job: dict[str, Any]) -> tuple[Run, float]:
    """A contestant that has run on one block, and the memory that it had before."""
    arch, make = Architecture.from_dict(job["arch"]), CONTESTANTS[job["contestant"]]
    base = memory("VmRSS")
    warm_up = make(arch.with_(depth=1), job["networks"])
    if job["contestant"] in ("plain", "tuned"):
        torch.set_num_threads(faster_threads(warm_up))
    else:
        warm_up()
    return make(arch, job["networks"]), base


def faster_threads(run: Run) -> int:
    """All threads or one, whichever runs faster here: where other processes use the cores, operations on
    several threads wait for each other, and a comparison with them would flatter the engines."""
    times = {}
    for threads in (torch.get_num_threads(), 1):
        torch.set_num_threads(threads)
        run()
        start = perf_counter()
        run()
        times[threads] = perf_counter() - start
    return min(times, key=times.__getitem__)


def main() -> None:
    """Measure once for each line of standard input."""
    job = json.loads(sys.argv[1])
    try:
        run, base = prepare(job)
    except SpannormError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print(json.dumps({"base": base}), flush=True)
    for _ in sys.stdin:
        start, start_cpu = perf_counter(), process_time()
        run()
        seconds, cpu = perf_counter() - start, process_time() - start_cpu
        answer = {"seconds": seconds / job["networks"], "cpu": cpu / job["networks"], "peak": memory("VmHWM")}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
