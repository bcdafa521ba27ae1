"""Attention cut into tiles of rows, so that memory grows with the tokens and not with their square.

The weights of a tile are made, used and forgotten, and made again for the backward pass. Under a mask it has
the keys that its rows see, and no others.
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


def tile_rows(arch: Architecture) -> int:
    """Rows of a tile: all where their weights are few, or are dropped, which is drawn for all at once."""
    n = arch.tokens
    return n if arch.attention_dropout else min(n, max(1, TILE // (arch.heads * n)))


def tile_weights(arch: Architecture) -> int:
    """Weights of all heads in the largest tile."""
    n, rows = arch.tokens, tile_rows(arch)
    return arch.heads * rows * min(n, (arch.window or n) + rows - 1)


def tiles(arch: Architecture) -> list[Tile]:
    """The tiles of a sequence."""
    n, size = arch.tokens, tile_rows(arch)
    rows = [range(i, min(i + size, n)) for i in range(0, n, size)]
    if arch.mask != "causal":
        return [Tile(r, range(n)) for r in rows]
    return [Tile(r, range(max(0, r.start + 1 - (arch.window or n)), r.stop)) for r in rows]
