"""Placements whose skip path carries no norm: PreNorm and its kin."""

from __future__ import annotations

from sympy import log, sqrt

from ..graph import Value
from ..net import Net
from ..placement import final_norm, placement
from .post import post_norm


@placement("no-norm", title="No norm", source="arXiv:1901.09321", year=2019, scaling="fixup")
def no_norm(x: Value, net: Net) -> Value:
    """x + F(x) twice."""
    x = net.add(x, net.attention(x))
    return net.add(x, net.ffn(x))


@placement("pre-norm", title="PreNorm", source="arXiv:2002.04745", year=2020, readout=final_norm)
def pre_norm(x: Value, net: Net, *, branch: float = 1.0) -> Value:
    """x + F(N(x)) twice; a final norm reads out. Granite and MiniCPM multiply F by a number, ``branch``."""
    if branch == 1:
        x = net.add(x, net.attention(net.norm(x)))
        return net.add(x, net.ffn(net.norm(x)))
    x = net.add(x, net.attention(net.norm(x)) * branch)
    return net.add(x, net.ffn(net.norm(x)) * branch)


@placement("ln-scaling", title="LayerNorm Scaling", source="arXiv:2502.05795", year=2025, readout=final_norm)
def ln_scaling(x: Value, net: Net) -> Value:
    """x + F(N(x) / sqrt(l+1)) twice, l the zero-based block index: PreNorm whose norms shrink with depth."""
    c = 1 / sqrt(net.layer + 1)
    x = net.add(x, net.attention(net.norm(x) * c))
    return net.add(x, net.ffn(net.norm(x) * c))


@placement("gpas", title="GPAS", source="arXiv:2506.22049", year=2025, readout=final_norm)
def gpas(x: Value, net: Net) -> Value:
    """PreNorm. After each sum GPAS subtracts silu(a) x with the gradient stopped, and a = 0 at
    initialisation: there it is its host, PreNorm here, in both directions."""
    return pre_norm(x, net)


@placement("mix-ln", title="Mix-LN", source="arXiv:2412.13795", year=2024, readout=final_norm)
def mix_ln(x: Value, net: Net, *, fraction: float = 0.25) -> Value:
    """PostNorm in the first floor(fraction L) blocks, PreNorm in the others."""
    return post_norm(x, net) if net.early(fraction) else pre_norm(x, net)


@placement(
    "sub-ln", title="Sub-LN", source="arXiv:2210.06423", year=2022, readout=final_norm, scaling="sub-ln"
)
def sub_ln(x: Value, net: Net) -> Value:
    """PreNorm with another norm in front of the last matrix of each branch (Magneto, BitNet)."""
    x = net.add(x, net.attention(net.norm(x), inner_norm=True))
    return net.add(x, net.ffn(net.norm(x), inner_norm=True))


@placement("normformer", title="NormFormer", source="arXiv:2110.09456", year=2021, readout=final_norm)
def normformer(x: Value, net: Net) -> Value:
    """x + N(attention(N(x))), then x + ffn with a norm in front of its last matrix. Head scales and the
    scale of the residual are 1 at initialisation."""
    x = net.add(x, net.norm(net.attention(net.norm(x))))
    return net.add(x, net.ffn(net.norm(x), inner_norm=True))


@placement(
    "norm-preserving",
    title="Norm-preserving mixing",
    source="https://github.com/marin-community/marin/issues/8860",
    year=2026,
    readout=final_norm,
)
def norm_preserving(x: Value, net: Net) -> Value:
    """sqrt(1 - b/L) x + sqrt(b/L) F(N(x)) twice, b = ln 2, the softplus of a number that starts at zero: the
    squares of the two factors add up to 1."""
    share = log(2) / net.depth
    keep, write = sqrt(1 - share), sqrt(share)
    x = net.add(x, net.attention(net.norm(x)) * write, skip=keep)
    return net.add(x, net.ffn(net.norm(x)) * write, skip=keep)
