"""The position of a block in the stack, as far as a placement may care about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
    """The questions of a definition beside whether a block is the first.

    Attributes:
        fraction: of the blocks that are early, or None if it never asks.
        period: of the turns, or None.
    """

    fraction: Rational | None = None
    period: int | None = None

    def position(self, layer: int, depth: int) -> Position:
        """The answers of block ``layer`` of ``depth``."""
        # sympy's integers compare slowly
        early = 0 if self.fraction is None else int(self.fraction.p) * depth // int(self.fraction.q)
        return Position(layer == 0, layer < early, layer % (self.period or 1))

    def different(self, depth: int) -> tuple[Position, ...]:
        """The different answers in a stack of any depth, in the order in which they first come."""
        period = self.period or 1
        later = 0 if self.fraction is None else int(self.fraction.p) * depth // int(self.fraction.q)
        layers = [*range(min(depth, 1 + period)), *range(max(0, later), min(depth, later + period))]
        return tuple(dict.fromkeys(self.position(layer, depth) for layer in sorted(layers)))

    def positions(self, depth: int) -> tuple[tuple[Position, ...], tuple[int, ...]]:
        """The different answers in a stack, and for each block which they are."""
        return _positions(self, depth)


@lru_cache(maxsize=256)
def _positions(questions: Questions, depth: int) -> tuple[tuple[Position, ...], tuple[int, ...]]:
    answers = [questions.position(layer, depth) for layer in range(depth)]
    places = {position: i for i, position in enumerate(dict.fromkeys(answers))}
    return tuple(places), tuple(places[position] for position in answers)
