"""Placements that norm what a branch puts out."""

from __future__ import annotations

from ..graph import Value
from ..net import Net
from ..placement import final_norm, placement


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
