"""A single thing that is not as expected, and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: relative difference that counts, and standard errors that it must be beyond
COUNTS, BEYOND = 0.03, 4.5


@dataclass(frozen=True)
class Deviation:
    """One thing that is not as expected.

    Attributes:
        what: a role of matrices, as "ffn.down", a field of the architecture, "input", "norm", or what is said
            of matrices that are not independent draws.
        layers: the blocks that have it; empty for the whole stack.
        sentence: in words, with the numbers.
    """

    what: str
    layers: tuple[int, ...]
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def differs(one: float, other: float) -> bool:
    """Whether two numbers are more than ``COUNTS`` apart."""
    return abs(one - other) > COUNTS * max(abs(one), abs(other))


def number(value: float) -> str:
    """A number in words, of four digits."""
    return f"{value:.4g}"


def blocks_in_words(layers: Sequence[int], count: int) -> str:
    """Blocks in words: all, one, a run, or a list."""
    if len(layers) == count:
        return "all blocks"
    if len(layers) == 1:
        return f"block {layers[0]}"
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"blocks {layers[0]} to {layers[-1]}"
    return f"blocks {', '.join(map(str, layers))}"
