"""The memory that a prediction needs, from sizes alone, and the time of one with sampled heads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..base.memory import available_memory
from ..spec.architecture import Architecture
from ..spec.room import require_room

#: bytes of one block's moments, and of its rows in a table, for each stream; and of a table of one expert
BLOCK, EXPERT = 6000, 400_000
#: Grams that a block of the theory with sampled heads keeps for each pair of streams, in each of its runs
GRAMS, RUNS = 16, 8
#: floats for each token that a grid of positions takes where it is built
POSITIONS = 1000


def needed(arch: Architecture, theory: str) -> int:
    """Bytes that a theory of an architecture takes."""
    streams = arch.definition.streams
    total = arch.depth * streams * BLOCK + (EXPERT * arch.experts if arch.experts > 1 else 0)
    if theory == "positions":  # the interpolation to all tokens
        total += 8 * arch.tokens * POSITIONS
    elif theory == "sampled":
        total += (
            8 * (2 * arch.tokens if arch.crossed else arch.tokens) ** 2 * GRAMS * RUNS * arch.depth * streams
        )
        if arch.reads_ids:
            total += 3 * 8 * arch.vocabulary
    return total


def fits(arch: Architecture, theory: str) -> bool:
    """Whether a theory of an architecture, by name, has the memory that it needs."""
    return needed(arch, theory) <= available_memory()


def require_predictable(arch: Architecture, theory: str, instead: str = "") -> None:
    """Refuse an architecture whose theory, by name, does not fit into memory; ``instead`` says what would.

    Raises:
        InputError: naming the size that would fit.
    """
    what = f"the theory of {arch.depth} blocks" + ("" if theory == "pair" else f" and {arch.tokens} tokens")
    require_room(arch, lambda one: needed(one, theory), available_memory(), what, instead=instead)


def rotated(arch: Architecture) -> NDArray[np.bool_]:
    """Blocks whose attention has rotary positions, (depth,)."""
    wirings, order = arch.wirings
    found = [
        any(b.kind == "attention" and arch.attends(b).positions == "rope" for b in trace.branches)
        for trace, _ in wirings
    ]
    return np.array(found)[list(order)]


def sampled_seconds(arch: Architecture) -> float:
    """Processor seconds that the theory with sampled heads takes, roughly: 0.02 a block, and 0.2 at 128
    tokens as the power 2.5 of these; three times as many with rotary positions."""
    blocks = arch.depth + 2 * int(rotated(arch).sum())
    return float(blocks * (0.02 + 0.2 * (arch.tokens / 128) ** 2.5))
