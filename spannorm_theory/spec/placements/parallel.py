"""Placements whose two branches read the same stream."""

from __future__ import annotations

from ..graph import Value
from ..net import Net
from ..placement import final_norm, placement


@placement("parallel-pre", title="Parallel PreNorm", source="arXiv:2204.02311", year=2022, readout=final_norm)
def parallel_pre(x: Value, net: Net) -> Value:
    """z = N(x), then x + attention(z) + ffn(z) (GPT-J, PaLM)."""
    z = net.norm(x)
    return net.add(x, net.attention(z), net.ffn(z))


@placement("parallel-post", title="Parallel PostNorm", source="arXiv:1706.03762 (variant)")
def parallel_post(x: Value, net: Net) -> Value:
    """N(x + attention(x) + ffn(x))."""
    return net.norm(net.add(x, net.attention(x), net.ffn(x)))


@placement("parallel-peri", title="Parallel Peri-LN", source="arXiv:2502.02732 (variant)", readout=final_norm)
def parallel_peri(x: Value, net: Net) -> Value:
    """z = N(x), then x + N(attention(z) + ffn(z))."""
    z = net.norm(x)
    return net.add(x, net.norm(net.attention(z) + net.ffn(z)))
