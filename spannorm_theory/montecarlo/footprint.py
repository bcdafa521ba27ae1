"""The memory that random networks need, from the sizes of their architecture alone."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from ..base.quantities import LOGGED
from ..layers.attention_tiles import tile_rows, tile_weights
from ..spec.architecture import Architecture

#: measurements of a stream at each layer
MEASURES = 10
#: bytes of one measurement of a batch, a small tensor, beside its numbers
TENSOR = 1000
#: copies that are alive at once of a tile's attention weights, there or back, and of a Gram in float64 whose
#: eigenvalues are taken
COPIES = 5


@dataclass(frozen=True)
class Footprint:
    """Estimated bytes that networks need.

    Attributes:
        block: of a network, to keep the intermediate tensors of a block.
        streams: of a network, to keep its streams.
        rows: measurements of a network at each layer, numbers of eight bytes.
        once: of a network, for what is made and forgotten again: tiles of attention weights, token Grams.
        vocabulary: of a batch, for the token ids and the unembedding of one network at a time.
    """

    block: int
    streams: int
    rows: int
    once: int
    vocabulary: int

    @classmethod
    def of(cls, arch: Architecture, itemsize: int, explicit: bool, positions: int = 0) -> Footprint:
        """The footprint of an architecture's networks, measured by averages over tokens or at so many
        positions."""
        names, entries = _matrices(arch, explicit)
        if arch.dense_layers:
            entries = max(entries, _matrices(arch.at(0), explicit)[1])
        count = arch.definition.streams
        step = arch.step_tokens
        streams = step * arch.width * count
        if arch.dropout:
            entries += 4 * step * arch.width
        once, weights = 0, arch.batch * tile_weights(arch)
        if tile_rows(arch) < arch.tokens:
            once = COPIES * weights * itemsize
        else:
            entries += (3 if arch.attention_dropout else 1) * weights
        if arch.shares_matrices:  # their gradients
            numbers = sum(arch.copies(name) * math.prod(arch.weights[name]) for name in names)
            once += ((arch.unique_blocks or 0) + 1) * numbers * itemsize
        if not positions:
            once += COPIES * 8 * count * arch.tokens**2
        vocabulary = 0
        if arch.reads_ids or arch.loss == "cross-entropy":
            vocabulary += 4 * 8 * arch.vocabulary  # the law of ids, and its sums
        if arch.loss == "cross-entropy":  # drawn in float32
            vocabulary += arch.vocabulary * (arch.width * (4 + itemsize) + step * (3 * itemsize + 24))
            once += COPIES * 8 * step**2  # Grams of what receives gradients of labels and ids
        averages = MEASURES * count + len(names) + len(arch.learnt) + len(LOGGED)
        rows = 2 * count * positions or averages
        return cls((entries + 4 * streams) * itemsize, streams * itemsize, rows, once, vocabulary)

    def needed(self, networks: int, segment: int, depth: int) -> int:
        """Bytes of the tensors of a batch that keeps ``segment`` blocks at a time."""
        starts = -(-depth // segment)
        return networks * ((segment + 2) * self.block + starts * self.streams + self.once)

    def least(self, depth: int) -> int:
        """Bytes of one network that keeps as few tensors as it can, with its vocabulary and measurements."""
        measured = depth * self.rows * (TENSOR + 8)
        return self.needed(1, self._frugal(depth), depth) + self.vocabulary + measured

    def segment(self, networks: int, depth: int, budget: int) -> int:
        """The largest number of blocks to keep within ``budget``, or what needs the least memory."""
        frugal = self._frugal(depth)
        larger = range(frugal, depth + 1)  # beyond it more blocks need more memory
        fitting = bisect_right(larger, budget, key=lambda s: self.needed(networks, s, depth))
        return larger[fitting - 1] if fitting else frugal

    def results(self, networks: int, depth: int) -> int:
        """Bytes of all measurements, as they are joined."""
        return 2 * 8 * networks * depth * self.rows

    def _frugal(self, depth: int) -> int:
        """About the number of blocks whose tensors and starts need the least."""
        return min(depth, max(1, math.isqrt(depth * self.streams // max(1, self.block))))


def _matrices(arch: Architecture, explicit: bool) -> tuple[list[str], int]:
    """Names of the matrices of a block with the fields of ``arch``, and the numbers that these need."""
    branches = [branch for trace in arch.traces for branch in trace.branches]
    shapes = {name: shape for name, shape in arch.weights.items() if any(b.owns(name) for b in branches)}
    copies = {name: arch.copies(name) for name in shapes}
    inputs = sum(copies[name] * shape[0] for name, shape in shapes.items())
    outputs = sum(copies[name] * shape[1] for name, shape in shapes.items())
    if explicit:
        entries = sum(copies[name] * math.prod(shape) for name, shape in shapes.items())
        return list(shapes), entries + arch.step_tokens * (inputs + outputs)
    grams = 12 * copies.get("ffn.down", 0)  # every expert has its own
    return list(shapes), arch.step_tokens * (inputs + 2 * outputs + grams * arch.step_tokens)
