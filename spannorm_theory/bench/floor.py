"""The least that the implicit engine can take: its random numbers and its products, and nothing else.

For a batch of networks of width d, n tokens and H heads, each group of matrices that reads one input of
i coordinates and gives o_1, o_2, ... costs

    numbers    n sum(o) forward, n (i + n) backward
    products   X X^T, R Z; G G^T, G Z^T for each matrix; F E and two for the projection off X

and attention costs six products of n x d/H x n for each head. Norms, activations, softmax, factorisations
and statistics count for nothing, and every number is drawn once. Numbers come from the engine's own
generator, the fastest at hand; products write into memory that is there already.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil

import torch

from ..montecarlo.implicit import GROUPS
from ..montecarlo.randomness import Purpose, Randomness
from ..montecarlo.resources import cores, prepare_worker
from ..spec.architecture import Architecture


@dataclass(frozen=True)
class Product:
    """``count`` products of (rows x inner) with (inner x columns), for each network."""

    rows: int
    inner: int
    columns: int
    count: int = 1
    dtype: torch.dtype = torch.float32

    @property
    def multiplications(self) -> int:
        """Scalar multiplications for one network."""
        return self.count * self.rows * self.inner * self.columns


def groups(arch: Architecture) -> Iterator[tuple[int, list[int]]]:
    """Inputs and outputs of the matrices that are drawn together."""
    for group in GROUPS:
        shapes = [arch.weights[name] for name in group if name in arch.weights]
        if shapes:
            yield shapes[0][0], [outputs for _, outputs in shapes]


def block_numbers(arch: Architecture) -> dict[Purpose, int]:
    """Random numbers of one block of one network."""
    n = arch.tokens
    return {
        Purpose.FORWARD: sum(n * sum(outputs) for _, outputs in groups(arch)),
        Purpose.BACKWARD: sum(n * (inputs + n) for inputs, _ in groups(arch)),
    }


def end_numbers(arch: Architecture) -> dict[Purpose, int]:
    """Random numbers of the input and of the loss."""
    n, d = arch.tokens, arch.width
    return {Purpose.INPUT: n * d, Purpose.LOSS: n * d}


def total_numbers(arch: Architecture) -> int:
    """All random numbers of one network."""
    return arch.depth * sum(block_numbers(arch).values()) + sum(end_numbers(arch).values())


def products(arch: Architecture) -> list[Product]:
    """Products of one block, there and back."""
    n, double = arch.tokens, torch.float64
    found = []
    for inputs, outputs in groups(arch):
        found += [Product(n, inputs, n, dtype=double)]
        for o in outputs:
            found += [Product(n, n, o), Product(n, o, n, dtype=double), Product(n, o, n)]
        found += [Product(n, n, inputs, 2), Product(n, inputs + n, n), Product(n, n, n)]
    d = arch.head_size
    return [*found, Product(n, d, n, 2 * arch.heads), Product(n, n, d, 4 * arch.heads)]


class _Operands:
    """A product's factors and its result for a batch of networks."""

    def __init__(self, product: Product, networks: int, device: torch.device) -> None:
        batch, p = networks * product.count, product
        generator = torch.Generator(device).manual_seed(0)
        self.left, self.right = (
            torch.randn(batch, *shape, dtype=p.dtype, device=device, generator=generator)
            for shape in ((p.rows, p.inner), (p.inner, p.columns))
        )
        self.result = torch.empty(batch, p.rows, p.columns, dtype=p.dtype, device=device)

    def __call__(self) -> None:
        torch.bmm(self.left, self.right, out=self.result)


class Floor:
    """The floor of an ensemble, cut into one batch for each core, or one for a GPU; memory is taken here."""

    def __init__(self, arch: Architecture, networks: int, device: str = "cpu") -> None:
        self.arch, self._device = arch, torch.device(device)
        share = ceil(networks / min(cores() if device == "cpu" else 1, networks))
        self._batches = [range(i, min(i + share, networks)) for i in range(0, networks, share)]
        self._operands = [
            [_Operands(p, len(batch), self._device) for p in products(arch)] for batch in self._batches
        ]

    def run(self) -> None:
        """Draw and multiply."""
        with ThreadPoolExecutor(len(self._batches), initializer=prepare_worker) as pool:
            for _ in pool.map(self._batch, self._batches, self._operands):
                pass

    def _batch(self, networks: range, operands: list[_Operands]) -> None:
        random = Randomness(0, networks, dtype=torch.float32, device=self._device)
        for purpose, size in end_numbers(self.arch).items():
            random.normal(0, purpose, size)
        for layer in range(self.arch.depth):
            for purpose, size in block_numbers(self.arch).items():
                random.normal(layer, purpose, size)
            for product in operands:
                product()
