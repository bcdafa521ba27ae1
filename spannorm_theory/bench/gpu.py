"""``make gpu``: the checks that need a CUDA device, and what they measured, as one page.

``python -m spannorm_theory.bench.gpu docs/gpu.md`` runs from the source tree. Without a device it says so and
ends well, before torch is loaded. It needs the packages of ``NEEDED`` and nothing else.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..base.files import write_file

if TYPE_CHECKING:
    from ..spec.architecture import Architecture

#: packages that are imported; all but torch and pytest are small
NEEDED = ("numpy", "scipy", "sympy", "pandas", "tqdm", "threadpoolctl", "torch", "pytest")
ROOT = Path(__file__).resolve().parents[2]

#: seconds that the tests, an ensemble and its floor may take; an ensemble that would take longer runs fewer
#: blocks. All of it together stays below eight minutes.
TESTS, ENSEMBLE = 100, 60
#: blocks that say how long an ensemble will take
PROBE = 10


@dataclass(frozen=True)
class Case:
    """An ensemble that is timed against the floor."""

    name: str
    fields: dict[str, Any]
    networks: int
    options: dict[str, Any]


CASES = (
    Case("deep", {"depth": 1000, "width": 8192, "heads": 128, "tokens": 64}, 32, {}),
    Case(
        "causal",
        {"depth": 48, "width": 4096, "heads": 64, "tokens": 1024, "mask": "causal", "positions": "rope"},
        8,
        {"by": "position"},
    ),
)


def devices() -> int:
    """CUDA devices, asked of the driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value


def synchronisations(arch: Architecture, engine: str) -> list[str]:
    """Places at which a pass of two networks over all layers makes the host wait for the device, after a
    first pass. The spectra of Grams, which are taken once for many layers, are not."""
    import torch

    from ..montecarlo.ensemble import ENGINES
    from ..montecarlo.network import Stack
    from ..montecarlo.program import Program
    from ..montecarlo.randomness import Randomness
    from ..montecarlo.record import Record

    class Waiting(Record):
        def finish(self) -> None:
            """Leave what waits."""

    device, program = torch.device("cuda"), Program(arch)

    def once() -> None:
        random = Randomness(0, range(2), dtype=torch.float32, device=device)
        Stack(program, ENGINES[engine], random, 1, record=Waiting()).run()

    once()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            once()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [f"{w.filename}:{w.lineno}" for w in found if "called a synchronizing" in str(w.message)]


def timed(case: Case) -> dict[str, Any]:
    """A row: seconds of an ensemble and of its floor."""
    import torch

    from ..montecarlo.ensemble import simulate
    from ..spec.architecture import Architecture
    from .floor import Floor

    arch = Architecture("pre-norm", **case.fields)

    def seconds(blocks: int) -> float:
        torch.cuda.synchronize()
        start = perf_counter()
        options = {"device": "cuda", "engine": "implicit", "progress": False, **case.options}
        simulate(arch.with_(depth=blocks), case.networks, **options)
        torch.cuda.synchronize()
        return perf_counter() - start

    seconds(1)  # libraries are loaded
    blocks = min(arch.depth, max(PROBE, int(ENSEMBLE * PROBE / seconds(PROBE))))
    torch.cuda.reset_peak_memory_stats()
    took = seconds(blocks)
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.empty_cache()
    Floor(arch.with_(depth=1), case.networks, "cuda").run()
    floor = Floor(arch.with_(depth=blocks), case.networks, "cuda")
    torch.cuda.synchronize()
    start = perf_counter()
    floor.run()
    torch.cuda.synchronize()
    least = perf_counter() - start
    return {
        "ensemble": f"{case.name}: {arch}",
        "networks": case.networks,
        "blocks": blocks,
        "seconds": f"{took:.2f}",
        "floor, s": f"{least:.2f}",
        "times the floor": f"{took / least:.2f}",
        "GiB": f"{peak:.1f}",
    }


def tests() -> tuple[bool, str]:
    """Whether the tests marked gpu pass, and pytest's last line."""
    options = ["-m", "gpu", "-W", "default", "-p", "no:cacheprovider", "tests/montecarlo/test_cuda.py"]
    command = [sys.executable, "-m", "pytest", *options]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TESTS, check=False)
    except subprocess.TimeoutExpired:
        return False, f"not finished after {TESTS} s"
    if run.returncode:
        print(run.stdout, run.stderr, sep="\n", file=sys.stderr)
    return run.returncode == 0, (run.stdout.strip().splitlines() or ["no output"])[-1]


def page(device: str, software: str, checks: list[str], rows: list[dict[str, Any]]) -> str:
    """The page, in Markdown."""
    lines = ["# On a GPU", "", f"Measured by `make gpu` on {device}, {software}.", ""]
    lines += [f"* {check}" for check in checks]
    if rows:
        cells = [list(rows[0]), ["---"] * len(rows[0]), *([str(v) for v in row.values()] for row in rows)]
        lines += ["", *(f"| {' | '.join(line)} |" for line in cells), "", FLOOR]
    return "\n".join(lines) + "\n"


FLOOR = """The floor is the random numbers and products of the ensemble and nothing else (`bench/floor.py`),
on the same device. Ensembles that would take too long run fewer blocks, as stated."""


def main(path: str) -> int:
    """Run everything and write the page; the exit status is 1 if a check failed."""
    if not devices():
        print("make gpu: no CUDA device here; nothing was run")
        return 0
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"make gpu: install {', '.join(missing)}, or bring wheels of them", file=sys.stderr)
        return 2
    import torch

    from ..spec.architecture import Architecture

    if not torch.cuda.is_available():
        print(
            f"make gpu: torch {torch.__version__} is no CUDA build, or not for this driver", file=sys.stderr
        )
        return 2
    passed, line = tests()
    checks, rows = [f"Tests marked gpu, equality in law with the CPU among them: {line}."], []
    small = Architecture("pre-norm", depth=6, width=256, heads=4, tokens=64)
    for fields in ({}, {"mask": "causal", "positions": "rope", "activation": "swiglu", "kv_heads": 2}):
        for engine in ("explicit", "implicit"):
            arch = small.with_(**fields)
            places = synchronisations(arch, engine)
            passed = passed and not places
            where = f", at {', '.join(sorted(set(places)))}" if places else ""
            checks.append(f"{len(places)} host synchronisations in the layer loop{where}: {arch}, {engine}.")
    for case in CASES:
        try:
            rows.append(timed(case))
        except (RuntimeError, ValueError) as error:  # memory ran out, or a size was refused
            passed = False
            checks.append(f"{case.name} did not run: {' '.join(str(error).split())[:300]}")
        torch.cuda.empty_cache()
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    text = page(torch.cuda.get_device_name(0), versions, checks, rows)
    write_file(path, text)
    print(text)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
