"""Attention by tiles of rows: equal to attention in one piece, in less memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spannorm_theory.layers import attention_tiles
from spannorm_theory.layers.attention_tiles import tile_weights, tiles
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.spec.architecture import Architecture

pytestmark = pytest.mark.exact

FIELDS: list[dict[str, Any]] = [
    {},
    {"mask": "causal"},
    {"mask": "causal", "window": 2},
    {"window": 3},
    {"mask": "causal", "sinks": True},
    {"mask": "causal", "window": 4, "attention_pattern": "window,full"},
    {"mask": "causal", "window": 4, "positions": "rope", "kv_heads": 2},
    {"positions": "rope", "qk_norm": True},
    {"mask": "causal", "qkv_norm": True, "positions": "rope", "kv_heads": 1, "logit_variance": 4.0},
    {"mask": "causal", "qk_norm": True, "qk_norm_over": "width", "dropout": 0.2},
    {"mask": "causal", "loss": "last", "inputs": "zipf", "vocabulary": 50},
]


def stack(**fields: Any) -> Architecture:
    return Architecture("post-norm", depth=2, width=32, heads=4, tokens=13, **fields)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("fields", FIELDS, ids=[str(fields) for fields in FIELDS])
def test_tiles_and_one_piece_agree(fields, rows, monkeypatch):
    arch = stack(**fields)
    options = {"networks": 2, "device": "cpu", "progress": False, "dtype": "float64"}
    whole = simulate(arch, **options).samples
    monkeypatch.setattr(attention_tiles, "TILE", rows * arch.heads * arch.tokens)
    assert len(tiles(arch, arch.window)) == -(-13 // rows)
    for key, sample in simulate(arch, **options).samples.items():
        np.testing.assert_allclose(sample, whole[key], rtol=1e-9, atol=1e-9, err_msg=str(key))


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("ahead", [0, 1])
def test_tiles_have_every_row_once_and_the_keys_that_it_sees(window, ahead, monkeypatch):
    arch = stack(mask=["causal", "none"][ahead], window=window)
    monkeypatch.setattr(attention_tiles, "TILE", 5 * arch.heads * arch.tokens)
    cut = tiles(arch, arch.window)
    assert [row for tile in cut for row in tile.rows] == list(range(13))
    for tile in cut:
        near = (window or 13) - 1
        seen = {key for row in tile.rows for key in range(row - near, row + 1 + ahead * near)}
        assert set(tile.keys) == seen & set(range(13))
    assert tile_weights(arch) >= arch.heads * max(len(tile.rows) * len(tile.keys) for tile in cut)


def test_short_sequences_and_dropout_of_weights_are_not_cut(monkeypatch):
    assert len(tiles(stack(), None)) == 1
    monkeypatch.setattr(attention_tiles, "TILE", 1)
    assert len(tiles(stack(attention_dropout=0.1), None)) == 1


def test_tiles_of_long_sequences_are_small():
    def weights(tokens: int, **fields: Any) -> int:
        return tile_weights(Architecture("pre-norm", width=1024, heads=16, tokens=tokens, depth=1, **fields))

    assert weights(8192) <= attention_tiles.TILE
    assert weights(256) == 16 * 256**2
    assert weights(8192, attention_dropout=0.1) == 16 * 8192**2
