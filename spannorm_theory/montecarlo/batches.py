"""Cut an ensemble into batches that fit the machine, run them on its cores, and survive what goes wrong."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ..base.errors import InputError, NonFiniteError
from ..base.interrupts import keeps_finished
from ..base.quantities import QUANTITIES, Key
from ..spec.architecture import Architecture
from .network import MakeWeights, Stack
from .program import Program
from .randomness import Randomness
from .resources import arithmetic, available_memory, cores, is_out_of_memory, prepare_worker
from .weights import ExplicitWeights

Samples = dict[Key, NDArray[np.float64]]

#: bytes that kept intermediate tensors may take on the host, all workers together: if nothing then has to be
#: computed twice, and else
KEEP_ALL, KEEP = 2 << 30, 640 << 20
#: tensor entries of one kind and batch beyond which more networks per operation no longer pay
FULL = 1 << 19


class _Stopped(Exception):
    """Another batch failed or the user interrupted."""


@dataclass(frozen=True)
class Footprint:
    """Estimated bytes that one network needs: to keep a block's intermediate tensors, or its streams."""

    block: int
    streams: int

    @classmethod
    def of(cls, program: Program, itemsize: int, explicit: bool) -> Footprint:
        """The footprint of a program's networks."""
        arch = program.arch
        shapes = [arch.weights[name] for name in program.names for _ in program.copies(name)]
        inputs, outputs = (sum(sizes) for sizes in zip(*shapes, strict=True))
        streams = arch.tokens * arch.width * program.streams
        if explicit:
            entries = arch.tokens * (inputs + outputs) + sum(i * o for i, o in shapes)
        else:
            grams = 12 * len(program.copies("ffn.down"))  # every expert has its own
            entries = arch.tokens * (inputs + 2 * outputs + grams * arch.tokens)
        if arch.dropout:
            entries += 4 * arch.tokens * arch.width
        if arch.attention_dropout:
            entries += 2 * arch.heads * arch.tokens**2
        return cls((entries + 4 * streams) * itemsize, streams * itemsize)

    def needed(self, networks: int, segment: int, depth: int) -> int:
        """Bytes of a batch that keeps ``segment`` blocks at a time."""
        return networks * ((segment + 2) * self.block + math.ceil(depth / segment) * self.streams)

    def segment(self, networks: int, depth: int, budget: int) -> int:
        """The largest number of blocks to keep within ``budget``, or what needs the least memory."""
        fitting = [s for s in range(1, depth + 1) if self.needed(networks, s, depth) <= budget]
        least = min(range(1, depth + 1), key=lambda s: self.needed(networks, s, depth))
        return max(fitting, default=least)


@dataclass(frozen=True)
class Job:
    """The needs of a batch beside its networks."""

    program: Program
    make_weights: MakeWeights
    seed: int
    device: torch.device
    dtype: torch.dtype

    @property
    def footprint(self) -> Footprint:
        """Memory of one network."""
        return Footprint.of(self.program, self.dtype.itemsize, self.make_weights is ExplicitWeights)


def run(job: Job, networks: int, progress: bool, first: int = 0) -> tuple[Samples, int]:
    """Measure ``networks`` networks from the index ``first`` on; returns the samples and how many were
    finished.

    Raises:
        NonFiniteError: a measurement is infinite or undefined.
        InputError: not even one network fits into memory.
    """
    footprint, depth = job.footprint, job.program.arch.depth
    free = available_memory(job.device)
    _require_memory(job, free)
    workers = 1 if job.device.type == "cuda" else min(cores(), networks)
    budget = free // 2 if job.device.type == "cuda" else min(KEEP, free // 2)
    size = _batch_size(job, networks, workers, budget // workers)
    if workers * footprint.needed(size, depth, depth) <= min(KEEP_ALL, free // 2):
        budget = max(budget, KEEP_ALL)
    segment = footprint.segment(size, depth, budget // workers)
    last = first + networks
    parts: dict[int, Samples] = {}
    running: dict[Future[Samples], int] = {}
    stop = threading.Event()
    bar = tqdm(
        total=2 * depth * networks, unit="block", delay=2, disable=not progress, desc=job.program.arch.name
    )
    with (
        arithmetic(),
        bar,
        ThreadPoolExecutor(cores(), initializer=prepare_worker) as drawing,
        ThreadPoolExecutor(workers, initializer=prepare_worker) as pool,
    ):
        batch = _Batch(job, segment, drawing if workers < cores() else None, stop, bar.update)
        try:
            for start in range(first, last, size):
                running[pool.submit(batch, range(start, min(start + size, last)))] = start
                if len(running) > workers:  # one waits for a worker; more would only have to be taken back
                    _collect(running, parts)
            while running:
                _collect(running, parts)
        except KeyboardInterrupt:
            stop.set()
            ended = [future for future in running if not future.cancel()]
            wait(ended)
            parts |= {running[future]: future.result() for future in ended if future.exception() is None}
            finished = sum(len(next(iter(part.values()))) for part in parts.values())
            if finished < min(2, networks) or not keeps_finished():
                raise
            message = (
                f"interrupted: the result holds {finished} of {networks} networks, those that were finished"
            )
            warnings.warn(message, RuntimeWarning, stacklevel=3)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    found = [parts[start] for start in sorted(parts)]
    joined = {key: np.concatenate([part[key] for part in found]) for key in found[0]}
    return joined, len(next(iter(joined.values())))


def _collect(running: dict[Future[Samples], int], parts: dict[int, Samples]) -> None:
    """Wait for a batch, and move every finished one to ``parts``, under the index of its first network."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        parts[running[future]] = future.result()
        del running[future]


def _batch_size(job: Job, networks: int, workers: int, budget: int) -> int:
    """Networks per batch: enough to fill an operation, an equal share for every worker, within memory."""
    arch = job.program.arch
    share = math.ceil(networks / workers)
    size = min(share, max(1, FULL // (arch.tokens * arch.hidden)))
    while size > 1 and job.footprint.needed(size, 1, arch.depth) > budget:
        size //= 2
    return math.ceil(share / math.ceil(share / size))


def _require_memory(job: Job, free: int) -> None:
    arch, footprint = job.program.arch, job.footprint
    depth = arch.depth
    needed = footprint.needed(1, footprint.segment(1, depth, 0), depth)
    if needed <= free:
        return
    raise InputError(
        f"one network of width {arch.width} and {arch.tokens} tokens needs about {needed / 2**30:.1f} GiB "
        f"and {free / 2**30:.1f} GiB are free on {job.device}; {_fitting(job, free)}"
    )


def _fitting(job: Job, free: int) -> str:
    """Advice: the largest width that fits, by halving."""
    width, arch = job.program.arch.width, job.program.arch
    while width > arch.heads:
        width = max(arch.heads, width // 2 // arch.heads * arch.heads)
        smaller = replace(job, program=Program(arch.with_(width=width)))
        depth = arch.depth
        if smaller.footprint.needed(1, smaller.footprint.segment(1, depth, 0), depth) <= free:
            return f"width {width} would fit"
    return f"reduce the number of tokens ({arch.tokens})"


@dataclass(frozen=True)
class _Batch:
    """Runs networks in the calling thread, in halves if memory runs out."""

    job: Job
    segment: int
    drawing: ThreadPoolExecutor | None
    stop: threading.Event
    advance: Callable[[int], object]

    def __call__(self, networks: range) -> Samples:
        try:
            return self._measure(networks)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if self.job.device.type == "cuda":
            torch.cuda.empty_cache()
        frugal = replace(self, segment=self.job.footprint.segment(1, self.job.program.arch.depth, 0))
        if len(networks) == 1:
            if self.segment != frugal.segment:
                return frugal(networks)
            arch, free = self.job.program.arch, available_memory(self.job.device)
            raise InputError(
                f"one network of width {arch.width} and {arch.tokens} tokens does not fit into the "
                f"{free / 2**30:.1f} GiB that are free on {self.job.device}; {_fitting(self.job, free)}"
            )
        half = len(networks) // 2
        parts = [frugal(networks[:half]), frugal(networks[half:])]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _measure(self, networks: range) -> Samples:
        def check() -> None:
            if self.stop.is_set():
                raise _Stopped

        def tick() -> None:
            check()
            self.advance(len(networks))

        job, drawing = self.job, self.drawing
        random = Randomness(
            job.seed, networks, dtype=job.dtype, device=job.device, executor=drawing, check=check
        )
        record = Stack(job.program, job.make_weights, random, self.segment, tick).run()
        samples = {
            key: torch.stack([layers[l] for l in sorted(layers)], dim=1).cpu().numpy()
            for key, layers in record.values.items()
        }
        require_finite(samples, networks, job.program.arch)
        return samples


def _of_nothing(samples: Samples, key: Key) -> NDArray[np.bool_]:
    """Mask of undefined values, of a stream or gradient that is zero; (networks, layers)."""
    stream, quantity = key
    size = samples.get((stream, "grad_variance" if "grad" in quantity else "variance"))
    if size is None:
        return np.zeros(samples[key].shape, dtype=bool)
    nothing = np.isneginf(size)
    return nothing[:, :-1] | nothing[:, 1:] if QUANTITIES[quantity].per_block else nothing


def require_finite(samples: Samples, networks: range, arch: Architecture) -> None:
    """Refuse infinite or undefined measurements; a logarithm of minus infinity is a zero, and finite.

    Raises:
        NonFiniteError: naming the first in order of computation, forward and then backward.
    """

    def place(key: Key, layer: int) -> tuple[bool, int, bool]:
        per_block, backward = QUANTITIES[key[1]].per_block, "grad" in key[1]
        # a block is measured together with the boundary behind it, in the direction of the pass
        return backward, arch.depth - layer if backward else layer + per_block, per_block

    bad = []
    for key, sample in samples.items():
        wrong = np.isposinf(sample) | (np.isnan(sample) & ~_of_nothing(samples, key))
        bad += [(place(key, int(l)), int(l), key, wrong[:, l]) for l in np.flatnonzero(wrong.any(axis=0))]
    if bad:
        _, layer, (stream, quantity), wrong = min(bad, key=lambda item: item[0])
        raise NonFiniteError(
            f"{quantity} of {stream} is not finite at layer {layer} in {int(wrong.sum())} of {len(networks)} "
            f"networks of {arch} (the first is network {networks[int(wrong.argmax())]}): the stack leaves "
            "the range of the numbers; try fewer layers, another scaling or dtype='float64'"
        )
