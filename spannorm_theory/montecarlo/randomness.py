"""Gaussian numbers that are a pure function of (seed, network, layer, purpose).

A network's numbers never depend on which other networks it is computed with, nor on the order in which
layers are visited, so a batch can be cut anywhere and a layer can be drawn again in the backward pass
instead of being kept. They are drawn in float32 whatever the precision of the run, so that runs in
different precisions see the same numbers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from enum import IntEnum

import numpy as np
import torch
from scipy.special import ndtri

#: numbers drawn from one CPU generator, and of those at a time, few enough to stay in cache; both are part
#: of what fixes the values
SPAN, CHUNK = 1 << 18, 1 << 16


class Purpose(IntEnum):
    """The purpose of a layer's numbers; distinct purposes are independent."""

    INPUT = 0
    LOSS = 1
    FORWARD = 2
    BACKWARD = 3
    IDS = 4
    LABELS = 5
    ATTENTION_DROPOUT = 6
    FFN_DROPOUT = 7
    WEIGHT_DROPOUT = 8
    EMBEDDING = 9


class Randomness:
    """The random numbers of a batch of networks.

    Args:
        seed: the seed of the whole ensemble.
        networks: indices of this batch's networks within the ensemble.
        dtype, device: of the tensors that come out.
        executor: draws chunks in parallel; None draws in the calling thread.
        check: is called before every chunk; may raise to stop.
        cycle: the numbers of weights repeat after so many layers; None where they do not.
    """

    def __init__(
        self,
        seed: int,
        networks: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        executor: Executor | None = None,
        check: Callable[[], None] = lambda: None,
        cycle: int | None = None,
    ) -> None:
        self.seed = seed
        self.networks = networks
        self.dtype = dtype
        self.device = device
        self._executor = executor
        self._check = check
        self._cycle = cycle

    def normal(self, layer: int, purpose: Purpose, size: int) -> torch.Tensor:
        """Independent N(0, 1) numbers of shape (networks, size)."""
        return self._drawn(layer, purpose, size).to(self.dtype)

    def kept(self, layer: int, purpose: Purpose, size: int, rate: float) -> torch.Tensor:
        """Independent booleans of shape (networks, size), true with probability 1 - rate: the same in every
        precision."""
        return self._drawn(layer, purpose, size) > float(ndtri(rate))

    def zeros(self) -> torch.Tensor:
        """A float64 zero for each network."""
        return torch.zeros(len(self.networks), dtype=torch.float64, device=self.device)

    def _drawn(self, layer: int, purpose: Purpose, size: int) -> torch.Tensor:
        even = size + size % 2
        out = torch.empty(len(self.networks), even, dtype=torch.float32, device=self.device)
        if self.device.type == "cpu":
            self._fill_on_cpu(out, layer, purpose)
        else:
            for row, network in zip(out, self.networks, strict=True):
                self._check()
                state = self._sequence(network, layer, purpose).generate_state(1, np.uint64)
                generator = torch.Generator(self.device).manual_seed(int(state[0] >> np.uint64(1)))
                row.normal_(generator=generator)
        return out[:, :size]

    def only(self, network: int) -> Randomness:
        """The random numbers of one of the networks."""
        return Randomness(
            self.seed,
            [network],
            dtype=self.dtype,
            device=self.device,
            executor=self._executor,
            check=self._check,
            cycle=self._cycle,
        )

    def _sequence(self, network: int, layer: int, purpose: Purpose, span: int = 0) -> np.random.SeedSequence:
        if self._cycle is not None and purpose is Purpose.FORWARD:
            layer %= self._cycle
        return np.random.SeedSequence(self.seed, spawn_key=(network, layer, purpose, span))

    def _fill_on_cpu(self, out: torch.Tensor, layer: int, purpose: Purpose) -> None:
        def fill(task: tuple[torch.Tensor, int, int]) -> None:
            self._check()
            slab, first, span = task
            networks = self.networks[first : first + len(slab)]
            generators = [
                np.random.SFC64(self._sequence(network, layer, purpose, span)) for network in networks
            ]
            for numbers in torch.split(slab, CHUNK, 1):
                _box_muller(numbers, generators)

        tasks = []
        for span, columns in enumerate(torch.split(out, SPAN, 1)):
            rows = max(1, CHUNK // columns.shape[1])
            tasks += [(slab, i * rows, span) for i, slab in enumerate(torch.split(columns, rows))]
        for _ in map(fill, tasks) if self._executor is None else self._executor.map(fill, tasks):
            pass


class _Scratch(threading.local):
    """Buffers of one thread: allocating them anew for every chunk costs as much as filling them."""

    def __init__(self) -> None:
        self.words = np.empty(CHUNK // 2, dtype=np.uint64)
        self.bits = torch.from_numpy(self.words.view(np.int32))
        self.values = torch.empty(CHUNK, dtype=torch.float32, device="cpu")


_scratch = _Scratch()
#: 2^-32: half of what separates two values of u
_HALF_STEP = torch.tensor(2.0**-32, dtype=torch.float32, device="cpu")


def _box_muller(out: torch.Tensor, generators: Sequence[np.random.SFC64]) -> None:
    """Fill each float32 row with N(0, 1) numbers of its own generator: torch's CPU generator keeps 32
    bits of its seed, too few for one seed per layer, and numpy's normals take four times as long.

    Args:
        out: of shape (rows, columns), at most CHUNK numbers and an even number of columns.
    """
    rows, columns = out.shape
    half = columns // 2
    for i, generator in enumerate(generators):
        _scratch.words[i * half : (i + 1) * half] = generator.random_raw(half)
    values = _scratch.values[: rows * columns].copy_(_scratch.bits[: rows * columns])
    # u in (0, 1] from |k| <= 2^31, finest near zero, where the tail comes from; the largest radius is 6.7
    radius, angle = values.view(rows, 2, half).unbind(1)
    torch.add(_HALF_STEP, radius.abs_(), alpha=2.0**-31, out=radius).log_().mul_(-2).sqrt_()
    angle.mul_(math.pi * 2.0**-31)
    torch.cos(angle, out=out[:, :half]).mul_(radius)
    torch.sin(angle, out=out[:, half:]).mul_(radius)
