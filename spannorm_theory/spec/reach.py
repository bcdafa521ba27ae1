"""Which keys a token sees, and by which positions: for each attention branch of a stack.

An architecture says it for all blocks, its ``attention_pattern`` block by block, and a placement's
``net.attention(x, window=8, positions="none")`` for its branch, which comes first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..base.arguments import choice, whole
from ..base.errors import InputError, shown

#: the window of a branch without any
FULL = "full"

#: the kinds of positions
POSITIONS = ("none", "rope")


class Reach(NamedTuple):
    """An attention branch's own reach, where it says one.

    Attributes:
        window: tokens that a token sees, itself included, "full" for all, or None for the architecture's.
        positions: "none", "rope", or None for the architecture's.
    """

    window: int | str | None = None
    positions: str | None = None

    def over(self, other: Reach) -> Reach:
        """This reach, and ``other`` where it says nothing."""
        return Reach(
            other.window if self.window is None else self.window,
            other.positions if self.positions is None else self.positions,
        )

    def __str__(self) -> str:
        window = "no window" if self.window == FULL else f"window {self.window}"
        positions = "no positions" if self.positions == "none" else self.positions
        said = [None if self.window is None else window, positions]
        return ", ".join(filter(None, said))


#: the reach that says nothing
OPEN = Reach()


class Attends(NamedTuple):
    """An attention branch's reach in an architecture.

    Attributes:
        window: tokens that a token sees, itself included: behind it under a causal mask, and on both sides
            without one; None for all.
        positions: "none" or "rope".
    """

    window: int | None = None
    positions: str = "none"


#: the words of a pattern, each with the reach of its blocks
WORDS = {
    "full": Reach(FULL),
    "window": OPEN,
    "full-nope": Reach(FULL, "none"),
    "window-nope": Reach(None, "none"),
}


def plain_reach(window: Any, positions: Any) -> Reach:
    """The reach that a placement's attention is given.

    Raises:
        InputError: a window or positions that no attention has.
    """
    if isinstance(window, str) and window != FULL:
        raise InputError(f"window must be a number of tokens or 'full', got {shown(window)}")
    if window is not None and not isinstance(window, str):
        window = whole("window", window, 2)
    return Reach(window, None if positions is None else choice("positions", positions, POSITIONS))


def plain_pattern(value: Any) -> str | None:
    """A pattern without blanks and repetitions; None stands for itself.

    Raises:
        InputError: no text, or a word that no pattern has.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise InputError(f"attention_pattern must be words such as 'window,full', got {shown(value)}")
    words = [choice("word of attention_pattern", word.strip(), WORDS) for word in value.split(",")]
    size = len(words)
    period = next(p for p in range(1, size + 1) if size % p == 0 and words[:p] * (size // p) == words)
    return ",".join(words[:period])


def reach_of(pattern: str | None, layer: int) -> Reach:
    """The reach that a pattern gives block ``layer``."""
    if pattern is None:
        return OPEN
    words = pattern.split(",")
    return WORDS[words[layer % len(words)]]


def cycle(pattern: str | None) -> int:
    """Blocks after which a pattern begins anew."""
    return 1 if pattern is None else pattern.count(",") + 1
