"""Seconds and memory of one network, five ways, on the same job and machine.

plain      a stack of modules for every seed, and autograd (:mod:`spannorm_theory.bench.plain`)
tuned      one stack of modules, drawn anew for every seed without the initialisation that is overwritten
explicit   the engine that draws every matrix
implicit   the engine that draws none
floor      the implicit engine's random numbers and products alone (:mod:`spannorm_theory.bench.floor`)

Each runs in a fresh process of its own; the repeats are interleaved, so that a machine that slows down
slows all of them. Where matrices are large, those that make them run fewer blocks and their time (and the
modules' memory above that of the libraries) is scaled to the depth; ``blocks`` says how many they ran.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from types import TracebackType
from typing import Any

import pandas as pd

from ..base.errors import InputError
from ..spec.architecture import Architecture

MODULES = ("plain", "tuned")
CONTESTANTS = (*MODULES, "explicit", "implicit", "floor")

#: interleaved repeats, blocks, and coordinates of a head
REPEATS = 3
DEPTH = 48
HEAD_WIDTH = 64

#: widths at one number of tokens, and numbers of tokens at one width
SIZES = ((256, 64), (512, 64), (1024, 16), (1024, 32), (1024, 64), (1024, 128), (2048, 64), (4096, 64))
QUICK = ((256, 32),)
QUICK_DEPTH = 4

#: blocks x width^2 that are run with matrices at most, and their least number of blocks
LARGEST_STACK, FEWEST_BLOCKS = 4 << 20, 2
#: networks of an ensemble: at least, at most, and up to which entries of all their streams
FEWEST, MOST, ENTRIES = 2, 16, 1 << 19


@dataclass(frozen=True)
class Plan:
    """The run of one contestant for one line of the table."""

    contestant: str
    arch: Architecture
    networks: int

    @classmethod
    def of(cls, contestant: str, arch: Architecture) -> Plan:
        """The plan of a contestant: with matrices, so many blocks of ``arch`` as take seconds."""
        networks = max(FEWEST, min(MOST, ENTRIES // (arch.width * arch.tokens)))
        if contestant in (*MODULES, "explicit"):
            blocks = max(FEWEST_BLOCKS, LARGEST_STACK // arch.width**2)
            arch = arch.with_(depth=min(arch.depth, blocks))
        return cls(contestant, arch, 1 if contestant in MODULES else networks)

    @property
    def job(self) -> dict[str, Any]:
        """The plan as plain values, for the worker."""
        return {"contestant": self.contestant, "arch": self.arch.to_dict(), "networks": self.networks}


class Contestant:
    """A worker process, warmed up."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        command = [sys.executable, "-m", "spannorm_theory.bench.worker", json.dumps(plan.job)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.peak = self.base = 0.0

    def __enter__(self) -> Contestant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()

    def wait_until_ready(self) -> None:
        """Wait until libraries are loaded and one block has run."""
        self.base = self._answer()["base"]

    def run(self) -> None:
        """Measure once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.seconds.append(answer["seconds"])
        self.cpu.append(answer["cpu"])
        self.peak = answer["peak"]

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            lines = self._process.communicate()[1].strip().splitlines()
            reason = lines[-1] if lines else f"it ended with status {self._process.returncode}"
            raise InputError(f"{self.plan.contestant} could not run {self.plan.arch}: {reason}")
        answer = json.loads(line)
        if "error" in answer:
            raise InputError(answer["error"])
        return dict(answer)


def grid(
    archs: Iterable[Architecture], sizes: Sequence[tuple[int, int]], depth: int = DEPTH
) -> list[Architecture]:
    """Every architecture at every (width, tokens), with heads of ``HEAD_WIDTH``."""
    return [
        arch.with_(width=width, tokens=tokens, heads=max(1, width // HEAD_WIDTH), depth=depth)
        for arch in archs
        for width, tokens in sizes
    ]


def speed(
    archs: Iterable[Architecture],
    repeats: int = REPEATS,
    progress: Callable[[str], object] = lambda line: None,
) -> pd.DataFrame:
    """One row for each architecture.

    Returns:
        columns placement, scaling, width, tokens, depth, repeats, blocks; for each contestant its median
        seconds for one network, with least and most ("plain", "plain_min", "plain_max"), processor seconds
        of all cores ("plain_cpu"), and peak memory in MiB ("plain_mib"); plain_over_implicit,
        tuned_over_implicit, explicit_over_implicit, implicit_over_floor, and memory_ratio, plain over
        implicit.
    """
    if repeats < 1:
        raise InputError(f"a benchmark needs at least 1 repeat, got {repeats!r}")
    rows = []
    for arch in archs:
        progress(f"speed: {arch}")
        rows.append(_row(arch, repeats))
    return pd.DataFrame(rows)


def _row(arch: Architecture, repeats: int) -> dict[str, Any]:
    contestants = [Contestant(Plan.of(name, arch)) for name in CONTESTANTS]
    with ExitStack() as stack:
        for contestant in contestants:
            stack.enter_context(contestant)
        for contestant in contestants:
            contestant.wait_until_ready()
        for _ in range(repeats):
            for contestant in contestants:
                contestant.run()
    row: dict[str, Any] = {
        "placement": arch.placement,
        "scaling": arch.scaling,
        "width": arch.width,
        "tokens": arch.tokens,
        "depth": arch.depth,
        "repeats": repeats,
        "blocks": contestants[0].plan.arch.depth,
    }
    for contestant in contestants:
        name, scale = contestant.plan.contestant, arch.depth / contestant.plan.arch.depth
        row[name] = median(contestant.seconds) * scale
        row[f"{name}_min"] = min(contestant.seconds) * scale
        row[f"{name}_max"] = max(contestant.seconds) * scale
        row[f"{name}_cpu"] = median(contestant.cpu) * scale
        above = contestant.peak - contestant.base
        row[f"{name}_mib"] = contestant.base + above * (scale if name in MODULES else 1)
    for name in MODULES:
        row[f"{name}_over_implicit"] = row[name] / row["implicit"]
    row["explicit_over_implicit"] = row["explicit"] / row["implicit"]
    row["implicit_over_floor"] = row["implicit"] / row["floor"]
    row["memory_ratio"] = row["plain_mib"] / row["implicit_mib"]
    return row
