"""Where in the stack a block stands, as far as a placement may care about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sympy import Rational


class Position(NamedTuple):
    """A block's answers to what its definition may ask.

    Attributes:
        first: it is block 0.
        early: it is among the first floor(fraction x L) blocks.
        turn: its index modulo a period.
    """

    first: bool = False
    early: bool = False
    turn: int = 0


#: a block that is neither first nor early
MIDDLE = Position()


@dataclass(frozen=True)
class Questions:
    """What a definition asks beside whether a block is the first.

    Attributes:
        fraction: of the blocks that are early, or None if it never asks.
        period: of the turns, or None.
    """

    fraction: Rational | None = None
    period: int | None = None

    def position(self, layer: int, depth: int) -> Position:
        """The answers of block ``layer`` of ``depth``."""
        return self._answers(layer, self._early(depth))

    def runs(self, depth: int) -> list[tuple[Position, range]]:
        """The answers of every block of a stack: consecutive blocks, of which all have the same."""
        early = self._early(depth)
        starts = range(depth) if self.period else [l for l in sorted({0, 1, early}) if l < depth]
        stops = [*starts[1:], depth]
        return [(self._answers(l, early), range(l, stop)) for l, stop in zip(starts, stops, strict=True)]

    def _answers(self, layer: int, early: int) -> Position:
        return Position(layer == 0, layer < early, layer % (self.period or 1))

    def _early(self, depth: int) -> int:
        if self.fraction is None:
            return 0
        early: int = self.fraction.p * depth // self.fraction.q  # sympy's integers compare slowly
        return early
