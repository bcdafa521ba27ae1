"""Blocks that differ by their place: which fields of an architecture a block has otherwise than it says."""

from __future__ import annotations

from typing import Any

from .fields import Fields

#: fields that say something of experts, or of blocks without
OF_EXPERTS = (
    "experts",
    "top_k",
    "shared_experts",
    "gates",
    "router_gain",
    "routed_scale",
    "shared_gate",
    "expert_groups",
    "top_groups",
    "dense_layers",
    "dense_ffn_width",
)

#: names and values of fields
Changes = tuple[tuple[str, Any], ...]


def changes_at(arch: Fields, layer: int) -> Changes:
    """The fields that block ``layer`` has otherwise, as if it stood in a stack of its own kind."""
    if layer >= arch.dense_layers:
        return ()
    plain = [(name, getattr(type(arch), name)) for name in OF_EXPERTS]
    if arch.dense_ffn_width is not None:
        plain.append(("ffn_width", arch.dense_ffn_width))
    return tuple(plain)
