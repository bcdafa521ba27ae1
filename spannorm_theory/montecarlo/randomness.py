"""Gaussian numbers that are a pure function of (seed, network, layer, purpose).

A network's numbers never depend on which other networks it is computed with, nor on the order in which
layers are visited, so a batch can be cut anywhere and a layer can be drawn again in the backward pass
instead of being kept. They are drawn in float32 whatever the precision of the run, so that runs in
different precisions see the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from enum import IntEnum

import numpy as np
import torch

#: numbers drawn from one CPU generator; part of what fixes the values, and small enough to stay in cache
CHUNK = 1 << 17


class Purpose(IntEnum):
    """What a layer's numbers are for; distinct purposes are independent."""

    INPUT = 0
    LOSS = 1
    FORWARD = 2
    BACKWARD = 3


class Randomness:
    """The random numbers of a batch of networks.

    Args:
        seed: the seed of the whole ensemble.
        networks: indices of this batch's networks within the ensemble.
        dtype, device: of the tensors that come out.
        executor: draws chunks in parallel; None draws in the calling thread.
    """

    def __init__(
        self,
        seed: int,
        networks: Sequence[int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        executor: Executor | None = None,
    ) -> None:
        self.seed = seed
        self.networks = networks
        self.dtype = dtype
        self.device = device
        self._executor = executor

    def normal(self, layer: int, purpose: Purpose, size: int) -> torch.Tensor:
        """Independent N(0, 1) numbers of shape (networks, size)."""
        out = torch.empty(len(self.networks), size, device=self.device)
        if self.device.type == "cpu":
            self._fill_on_cpu(out, layer, purpose)
        else:
            for row, network in zip(out, self.networks, strict=True):
                state = self._sequence(network, layer, purpose).generate_state(1, np.uint64)
                generator = torch.Generator(self.device).manual_seed(int(state[0] >> np.uint64(1)))
                row.normal_(generator=generator)
        return out.to(self.dtype)

    def _sequence(self, network: int, layer: int, purpose: Purpose, chunk: int = 0) -> np.random.SeedSequence:
        return np.random.SeedSequence(self.seed, spawn_key=(network, layer, purpose, chunk))

    def _fill_on_cpu(self, out: torch.Tensor, layer: int, purpose: Purpose) -> None:
        def fill(task: tuple[torch.Tensor, int, int]) -> None:
            slab, first, chunk = task
            networks = self.networks[first : first + len(slab)]
            _box_muller(slab, [self._sequence(network, layer, purpose, chunk) for network in networks])

        tasks = []
        for chunk, columns in enumerate(out.split(CHUNK, dim=1)):
            rows = max(1, CHUNK // columns.shape[1])
            tasks += [(slab, i * rows, chunk) for i, slab in enumerate(columns.split(rows))]
        for _ in map(fill, tasks) if self._executor is None else self._executor.map(fill, tasks):
            pass


def _box_muller(out: torch.Tensor, sequences: Sequence[np.random.SeedSequence]) -> None:
    """Fill each float32 row with N(0, 1) numbers of its own sequence: torch's CPU generator keeps 32
    bits of its seed, too few for one seed per layer, and numpy's normals take four times as long."""
    size = out.shape[1]
    pairs = (size + 1) // 2
    words = np.empty((len(out), pairs), dtype=np.uint64)
    for row, sequence in zip(words, sequences, strict=True):
        row[:] = np.random.SFC64(sequence).random_raw(pairs)
    bits = torch.from_numpy(words.view(np.int32)).to(torch.float32)
    radius, angle = bits[:, :pairs], bits[:, pairs:]
    # |k| is finest near zero, where the tail comes from; (|k| + 1/2) 2^-31 <= 1, the largest radius is 6.7
    radius = radius.abs().add_(0.5).mul_(2.0**-31).clamp_(max=1.0).log_().mul_(-2).sqrt_()
    angle = angle.mul(math.pi * 2.0**-31)
    torch.mul(angle.cos(), radius, out=out[:, :pairs])
    out[:, pairs:] = angle.sin_().mul_(radius)[:, : size - pairs]
