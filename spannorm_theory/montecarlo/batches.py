"""Cut an ensemble into batches that fit the machine, run them on its cores, and survive what goes wrong."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from ..base.errors import InputError, NonFiniteError
from ..base.interrupts import Halt, keeps_finished
from ..base.memory import gib
from ..base.quantities import OUTPUT, QUANTITIES, Key
from ..spec.architecture import Architecture
from ..spec.room import fitting, require_room
from .footprint import Footprint
from .global_state import arithmetic
from .network import MakeWeights, Stack
from .program import Program
from .randomness import Randomness
from .record import PositionRecord, Record
from .resources import available_memory, cores, is_out_of_memory, prepare_worker
from .weights import ExplicitWeights

Samples = dict[Key, NDArray[np.float64]]

#: bytes that kept intermediate tensors may take on the host, all workers together: if nothing then has to be
#: computed twice, and else
KEEP_ALL, KEEP = 2 << 30, 640 << 20
#: tensor entries of one kind and batch beyond which more networks per operation no longer pay; on a GPU,
#: where starting an operation costs 10 microseconds, a guess
FULL, FULL_GPU = 1 << 19, 1 << 26
HOST = torch.device("cpu")


@dataclass(frozen=True)
class Job:
    """The needs of a batch beside its networks.

    Attributes:
        positions: measured one by one, from 1; None measures averages over tokens.
    """

    program: Program
    make_weights: MakeWeights
    seed: int
    device: torch.device
    dtype: torch.dtype
    positions: tuple[int, ...] | None = None

    @property
    def record(self) -> Record:
        """An empty record of a batch."""
        if self.positions is None:
            return Record()
        return PositionRecord(torch.tensor(self.positions, device=self.device) - 1)

    @property
    def footprint(self) -> Footprint:
        """Memory of one network."""
        return self._footprint(self.program.arch)

    def least(self, arch: Architecture) -> int:
        """Bytes of one network of another architecture."""
        return self._footprint(arch).least(arch.depth)

    def _footprint(self, arch: Architecture) -> Footprint:
        explicit = self.make_weights is ExplicitWeights
        return Footprint.of(arch, self.dtype.itemsize, explicit, len(self.positions or ()))


def run(job: Job, networks: int, progress: bool, first: int = 0) -> tuple[Samples, int]:
    """Measure ``networks`` networks from the index ``first`` on; returns the samples and how many were
    finished.

    Raises:
        NonFiniteError: a measurement is infinite or undefined.
        InputError: memory ran out for a single network.
    """
    footprint, depth = job.footprint, job.program.arch.depth
    free = available_memory(job.device)
    workers = min(1 if job.device.type == "cuda" else cores(), networks)
    workers = max(1, min(workers, free // footprint.least(depth)))
    budget = free // 2 if job.device.type == "cuda" else min(KEEP, free // 2)
    size = _batch_size(job, networks, workers, budget // workers)
    if workers * footprint.needed(size, depth, depth) <= min(KEEP_ALL, free // 2):
        budget = max(budget, KEEP_ALL)
    segment = footprint.segment(size, depth, budget // workers)
    last = first + networks
    parts: dict[int, Samples] = {}
    running: dict[Future[Samples], int] = {}
    bar = tqdm(
        total=2 * depth * networks, unit="block", delay=2, disable=not progress, desc=job.program.arch.name
    )
    with (
        arithmetic(),
        bar,
        ThreadPoolExecutor(cores(), initializer=prepare_worker) as drawing,
        ThreadPoolExecutor(workers, initializer=prepare_worker) as pool,
        Halt() as halt,
    ):
        batch = _Batch(job, segment, drawing if workers < cores() else None, halt, bar.update)
        try:
            for start in range(first, last, size):
                running[pool.submit(batch, range(start, min(start + size, last)))] = start
                if len(running) > workers:  # one waits for a worker; more would only have to be taken back
                    _collect(running, parts)
            while running:
                _collect(running, parts)
        except KeyboardInterrupt:
            halt.set()
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
    full = FULL_GPU if job.device.type == "cuda" else FULL
    size = min(share, max(1, full // (arch.step_tokens * arch.hidden)))
    while size > 1 and job.footprint.needed(size, 1, arch.depth) > budget:
        size //= 2
    return math.ceil(share / math.ceil(share / size))


def require_memory(
    arch: Architecture,
    networks: int,
    device: torch.device,
    dtype: torch.dtype,
    explicit: bool,
    positions: int = 0,
) -> None:
    """Refuse networks that do not fit, one by one or the results of all; ``positions`` are as many as are
    measured one by one.

    Raises:
        InputError: naming the size, or the number of networks, that would fit.
    """
    free, where = available_memory(device), f" on {device}"
    what = f"one network of width {arch.width}, {arch.depth} blocks and {arch.step_tokens} tokens"

    def needed(one: Architecture) -> int:
        return Footprint.of(one, dtype.itemsize, explicit, positions).least(one.depth)

    require_room(arch, needed, free, what, where)
    footprint = Footprint.of(arch, dtype.itemsize, explicit, positions)
    free, each = available_memory(HOST), footprint.results(1, arch.depth)
    if networks * each > free:
        raise InputError(
            f"the measurements of {networks} networks need about {gib(networks * each)} and {gib(free)} are "
            f"free; {free // each} networks would fit, and more in a sweep"
        )


@dataclass(frozen=True)
class _Batch:
    """Runs networks in the calling thread, in halves if memory runs out."""

    job: Job
    segment: int
    drawing: ThreadPoolExecutor | None
    halt: Halt
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
            arch, job = self.job.program.arch, self.job
            least = job.footprint.least(arch.depth)
            free = min(available_memory(job.device), least - 1)  # the estimate was too low
            raise InputError(
                f"one network of width {arch.width} and {arch.step_tokens} tokens does not fit into the "
                f"{gib(free)} that are free on {job.device}; {fitting(arch, job.least, free)}"
            )
        half = len(networks) // 2
        parts = [frugal(networks[:half]), frugal(networks[half:])]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _measure(self, networks: range) -> Samples:
        def tick() -> None:
            self.halt.check()
            self.advance(len(networks))

        job, drawing = self.job, self.drawing
        random = Randomness(
            job.seed,
            networks,
            dtype=job.dtype,
            device=job.device,
            executor=drawing,
            check=self.halt.check,
            cycle=job.program.arch.unique_blocks,
        )
        record = Stack(job.program, job.make_weights, random, self.segment, tick, job.record).run()
        samples = {
            key: torch.stack([layers[l] for l in sorted(layers)], dim=1).cpu().numpy()
            for key, layers in record.values.items()
        }
        require_finite(samples, networks, job.program.arch)
        return samples


def _of_nothing(samples: Samples, key: Key) -> NDArray[np.bool_]:
    """Mask of undefined values, of a stream or gradient that is zero; of the shape of the samples."""
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
        if key[0] == OUTPUT:
            return backward, arch.depth + 1, per_block
        # a block is measured together with the boundary behind it, in the direction of the pass
        return backward, arch.depth - layer if backward else layer + per_block, per_block

    bad = []
    for key, sample in samples.items():
        nothing = _of_nothing(samples, key)
        positions = np.isposinf(sample) | (np.isnan(sample) & ~nothing)
        wrong = np.asarray(positions.reshape(*positions.shape[:2], -1).any(axis=-1))
        bad += [(place(key, int(l)), int(l), key, wrong[:, l]) for l in np.flatnonzero(wrong.any(axis=0))]
    if bad:
        _, layer, (stream, quantity), wrong = min(bad, key=lambda item: item[0])
        raise NonFiniteError(
            f"{quantity} of {stream} is not finite at layer {layer} in {int(wrong.sum())} of {len(networks)} "
            f"networks of {arch} (the first is network {networks[int(wrong.argmax())]}): the stack leaves "
            "the range of the numbers; try fewer layers, another scaling or dtype='float64'"
        )
