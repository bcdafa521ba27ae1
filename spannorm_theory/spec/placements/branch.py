"""Placements that norm what a branch puts out."""

from __future__ import annotations

from sympy import sqrt

from ..expressions import exact
from ..graph import Value
from ..net import Net
from ..placement import final_norm, placement
from .pre import pre_norm


@placement("sandwich", title="Sandwich-LN", source="arXiv:2105.13290", year=2021, readout=final_norm)
def sandwich(x: Value, net: Net) -> Value:
    """x + N(F(N(x))) twice."""
    x = net.add(x, net.norm(net.attention(net.norm(x))))
    return net.add(x, net.norm(net.ffn(net.norm(x))))


@placement("peri-ln", title="Peri-LN", source="arXiv:2502.02732", year=2025, readout=final_norm)
def peri_ln(x: Value, net: Net, *, embedding_norm: bool = True) -> Value:
    """x + N(F(N(x))) twice, on a normed embedding; without it this is Sandwich-LN (and Gemma's block)."""
    return sandwich(net.norm(x) if net.first and embedding_norm else x, net)


@placement(
    "output-norm",
    title="Output norm",
    source="https://github.com/facebookresearch/chameleon",
    year=2024,
    readout=final_norm,
)
def output_norm(x: Value, net: Net) -> Value:
    """x + N(F(x)) twice: no norm on what a branch reads."""
    x = net.add(x, net.norm(net.attention(x)))
    return net.add(x, net.norm(net.ffn(x)))


@placement("olmo2", title="OLMo 2", source="arXiv:2501.00656", year=2025, readout=final_norm)
def olmo2(x: Value, net: Net) -> Value:
    """x + N(F(x)) twice, with norms on queries and keys. The paper norms the whole projection, this norms
    each head: the same in the wide limit."""
    x = net.add(x, net.norm(net.attention(x, qk_norm=True)))
    return net.add(x, net.norm(net.ffn(x)))


@placement("swin-v2", title="Swin v2", source="arXiv:2111.09883", year=2022, readout=final_norm)
def swin_v2(x: Value, net: Net, *, gain: float = 0.0) -> Value:
    """x + g N(F(x)) twice, with norms on queries and keys (cosine attention, at the temperature of other
    attention: the published one is learned and starts at logits of 10 times the cosine). The published code
    initialises g = 0: every block is the identity, and only these gains learn at the first step."""
    x = net.add(x, net.gain(net.norm(net.attention(x, qk_norm=True)), gain))
    return net.add(x, net.gain(net.norm(net.ffn(x)), gain))


@placement(
    "gemma-4",
    title="Gemma 4",
    source="https://github.com/huggingface/transformers",
    year=2026,
    readout=final_norm,
)
def gemma_4(x: Value, net: Net, *, scalar: float = 1.0) -> Value:
    """c (x + N(F(N(x)))), c behind both sublayers: Sandwich-LN with norms on queries, keys and values, and a
    number for each block, ``scalar``, that is 1 until a checkpoint says another."""
    x = net.add(x, net.norm(net.attention(net.norm(x), qkv_norm=True)))
    x = net.add(x, net.norm(net.ffn(net.norm(x))))
    return x if scalar == 1 else x * scalar


@placement(
    "depth-scaled-sandwich",
    title="Depth-scaled sandwich",
    source="arXiv:2602.17004",
    year=2026,
    readout=final_norm,
)
def depth_scaled_sandwich(x: Value, net: Net, *, start: float = 1.0) -> Value:
    """x + g N(F(N(x))) twice, g a learnt gain that starts at start/sqrt(L): Sandwich-LN whose branches add a
    second moment of 2 start^2 over the whole stack (Trinity, Pangu Ultra)."""
    g = exact(start) / sqrt(net.depth)
    x = net.add(x, net.gain(net.norm(net.attention(net.norm(x))), g))
    return net.add(x, net.gain(net.norm(net.ffn(net.norm(x))), g))


@placement(
    "olmo-hybrid",
    title="OLMo Hybrid",
    source="https://github.com/huggingface/transformers",
    year=2026,
    readout=final_norm,
)
def olmo_hybrid(x: Value, net: Net, *, period: int = 4) -> Value:
    """OLMo 2's block in the last of each ``period`` blocks, PreNorm in the others. The published others have
    mixers that are linear in their values; here all have attention, and only the wiring is theirs."""
    return olmo2(x, net) if net.turn(period) == period - 1 else pre_norm(x, net)
