"""Attention cut into tiles of rows, so that memory grows with the tokens and not with their square.

A tile's weights are made, used and forgotten, and made again for the backward pass. Under a mask a tile has the
keys that its rows see, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..spec.architecture import Architecture

#: weights of all heads that a tile has at most, and a sequence that is not cut
TILE = 1 << 22


@dataclass(frozen=True)
class Tile:
    """Rows of attention weights, and the keys that they see."""

    rows: range
    keys: range


def tiles(arch: Architecture) -> list[Tile]:
    """The tiles of a sequence; one of everything where its weights are few. Dropout of weights is drawn for
    all of them at once, and leaves one, too."""
    n = arch.tokens
    size = n if arch.attention_dropout else max(1, TILE // (arch.heads * n))
    if arch.mask != "causal":
        return [Tile(range(i, min(i + size, n)), range(n)) for i in range(0, n, size)]
    seen = arch.window or n
    rows = [range(i, min(i + size, n)) for i in range(0, n, size)]
    return [Tile(r, range(max(0, r.start + 1 - seen), r.stop)) for r in rows]


def tile_weights(arch: Architecture) -> int:
    """Weights of all heads in the largest tile."""
    return arch.heads * max(len(tile.rows) * len(tile.keys) for tile in tiles(arch))
