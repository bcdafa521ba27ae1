r"""Small stacks trained at a ladder of rates, beside what initialisation and the first step say of them.

    python -m spannorm_theory.bench.learning

A design at one depth is trained from the same seed at every rate. The loss of a run is its mean over the last
steps. A rate is *stable* where that is below the loss at the start, and *learns* where it is below that of
the frequencies of characters, which a stack whose tokens have become alike does not beat.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from os import cpu_count

import numpy as np
import pandas as pd

PLACEMENTS = ("pre-norm", "post-norm", "span-norm", "hybrid-norm", "siamese-norm", "peri-ln")
SCALINGS = ("unit", "depth-scaled-init")
DEPTHS = (2, 8, 24)
#: half a decade between two of them
RATES = {
    "adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "sign": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
}
STEPS, SEQUENCES, SIZES = 100, 8, "width=128 tokens=32"
#: steps at the end whose mean loss is that of a run, and what it must gain on the frequencies of characters
LAST, GAIN = 20, 0.1


@dataclass(frozen=True)
class Job:
    """One run."""

    placement: str
    scaling: str
    depth: int
    optimiser: str
    rate: float
    steps: int = STEPS
    sizes: str = SIZES
    seed: int = 0

    @property
    def words(self) -> str:
        """The architecture, as :func:`.training.reader` takes it."""
        return f"{self.placement} {self.scaling} depth={self.depth} {self.sizes}"


def run(job: Job) -> tuple[float, float]:
    """Loss at the start and over the last steps of one run; infinite where it left the numbers."""
    import torch

    from .training import reader, train

    torch.set_num_threads(1)
    losses = np.array(
        list(train(reader(job.words), job.rate, job.steps, SEQUENCES, job.seed, job.optimiser))
    )
    end = float(losses[-LAST:].mean()) if np.isfinite(losses[-1]) else np.inf
    return float(losses[0]), end
