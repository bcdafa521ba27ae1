"""Attention cut into tiles of rows, so that memory grows with the tokens and not with their square.

The weights of a tile are made, used and forgotten, and made again for the backward pass. Under a mask it has
the keys that its rows see, and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .rotary import beside

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
    """Weights of all heads in the largest tile of any block."""
    rows = tile_rows(arch)
    seen = [
        rows + sum(beside(arch.tokens, arch.mask == "causal", attends.window)) for attends in arch.attentions
    ]
    return arch.heads * rows * min(arch.tokens, max(seen, default=0))


def tiles(arch: Architecture, window: int | None) -> list[Tile]:
    """The tiles of a sequence, whose tokens see ``window`` of them, or all for None."""
    n, size = arch.tokens, tile_rows(arch)
    rows = [range(i, min(i + size, n)) for i in range(0, n, size)]
    behind, ahead = beside(n, arch.mask == "causal", window)
    return [Tile(r, range(max(0, r.start - behind), min(n, r.stop + ahead))) for r in rows]
