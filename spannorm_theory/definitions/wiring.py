"""Where in the stack a block stands, as far as a placement may care about it."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from sympy import Rational


@dataclass(frozen=True)
class Position:
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
        early = 0 if self.fraction is None else floor(self.fraction * depth)
        return Position(layer == 0, layer < early, layer % (self.period or 1))

    def positions(self, depth: int) -> list[Position]:
        """The answers of every block of a stack; equal ones are one object."""
        early = 0 if self.fraction is None else floor(self.fraction * depth)
        answers = [(l == 0, l < early, l % (self.period or 1)) for l in range(depth)]
        made = {answer: Position(*answer) for answer in set(answers)}
        return [made[answer] for answer in answers]
