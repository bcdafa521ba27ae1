"""Heads of a user's attention, as its modules or its configuration call them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "nhead", "heads", "encoder_attention_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_kv_head", "n_head_kv", "kv_heads")
HEAD_WIDTH = ("head_dim", "head_size", "d_kv", "head_width", "attention_head_size", "dim_head")


@dataclass(frozen=True)
class AttentionSizes:
    """Numbers of heads, and the width of one; None where the module does not say."""

    heads: int | None
    kv_heads: int | None
    head_width: int | None


def attention_sizes(model: nn.Module, block: nn.Module, width: int) -> AttentionSizes:
    """Heads of a block: what its own modules say, else the configuration of the model."""
    heads = _first(model, block, HEADS)
    head_width = _first(model, block, HEAD_WIDTH)
    if heads is not None and head_width is None and width % heads == 0:
        head_width = width // heads
    if heads is None and head_width is not None and width % head_width == 0:
        heads = width // head_width
    return AttentionSizes(heads, _first(model, block, KV_HEADS), head_width)


def _first(model: nn.Module, block: nn.Module, words: tuple[str, ...]) -> int | None:
    for owner in _owners(model, block):
        for word in words:
            value = getattr(owner, word, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None


def _owners(model: nn.Module, block: nn.Module) -> Iterator[Any]:
    modules = list(block.modules())
    yield from modules
    yield from (getattr(module, "config", None) for module in (*modules, model))
