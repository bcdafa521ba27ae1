"""The position of a block in the stack, as far as a placement may care about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import lcm
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

    def different(self, depth: int, cycle: int = 1) -> tuple[int, ...]:
        """The first layer of each of the different answers in a stack of any depth, rising, together with l
        modulo ``cycle``."""
        period = lcm(self.period or 1, cycle)
        later = 0 if self.fraction is None else int(self.fraction.p) * depth // int(self.fraction.q)
        layers = [*range(min(depth, 1 + period)), *range(max(0, later), min(depth, later + period))]
        first: dict[tuple[Position, int], int] = {}
        for layer in sorted(layers):
            first.setdefault((self.position(layer, depth), layer % cycle), layer)
        return tuple(first.values())

    def blocks(self, depth: int, cycle: int = 1) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The layers of :meth:`different`, and for each block of the stack which of them is as it."""
        return _blocks(self, depth, cycle)


@lru_cache(maxsize=256)
def _blocks(questions: Questions, depth: int, cycle: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    answers = [(questions.position(layer, depth), layer % cycle) for layer in range(depth)]
    places = {answer: i for i, answer in enumerate(dict.fromkeys(answers))}
    return questions.different(depth, cycle), tuple(places[answer] for answer in answers)
