"""Placements that norm the sum of skip and branch."""

from __future__ import annotations

from sympy import Expr, Rational, log, sqrt

from ..graph import Value
from ..net import Net
from ..placement import final_norm, placement


@placement("post-norm", title="PostNorm", source="arXiv:1706.03762", year=2017)
def post_norm(x: Value, net: Net, skip: Expr | None = None) -> Value:
    """N(x + F(x)) twice."""
    x = net.norm(net.add(x, net.attention(x), skip=skip))
    return net.norm(net.add(x, net.ffn(x), skip=skip))


@placement(
    "shifted-post-norm",
    title="Shifted PostNorm",
    source="https://github.com/huggingface/transformers",
    year=2025,
    readout=final_norm,
)
def shifted_post_norm(x: Value, net: Net, *, skip: float = 1.0, branch: float = 1.0) -> Value:
    """h = N(x), then skip h + branch F(h), twice: PostNorm whose norm of a sum acts where the next sublayer
    begins (MiniMax-01). A factor of 1 is left to the scaling rule."""
    kept = None if skip == 1 else skip
    for sublayer in (net.attention, net.ffn):
        h = net.norm(x)
        o = sublayer(h)
        x = net.add(h, o if branch == 1 else o * branch, skip=kept)
    return x


@placement("deepnorm", title="DeepNorm", source="arXiv:2203.00555", year=2022, scaling="deepnorm-init")
def deepnorm(x: Value, net: Net) -> Value:
    """N(alpha x + F(x)) twice, alpha = (2L)^(1/4)."""
    return post_norm(x, net, (2 * net.depth) ** Rational(1, 4))


@placement("admin", title="Admin", source="arXiv:2004.08249", year=2020)
def admin(x: Value, net: Net) -> Value:
    """N(omega x + F(x)) twice, omega^2 = (n+1)/ln(n+1) - 1 for n = 2L sublayers: the closed form for output
    changes of order log n of the authors' later library; the paper profiles omega."""
    n = 2 * net.depth
    return post_norm(x, net, sqrt((n + 1) / log(n + 1) - 1))


@placement("keel", title="Keel", source="arXiv:2601.19895", year=2026, scaling="keel")
def keel(x: Value, net: Net) -> Value:
    """N(alpha x + F(N(x))) twice, alpha from the scaling rule (2L in the paper). In the first block the
    attention's sum is not normed and neither skip has alpha."""
    if net.first:
        x = net.add(x, net.attention(net.norm(x)), skip=1)
        return net.norm(net.add(x, net.ffn(net.norm(x)), skip=1))
    x = net.norm(net.add(x, net.attention(net.norm(x))))
    return net.norm(net.add(x, net.ffn(net.norm(x))))


@placement("b2t", title="B2T", source="arXiv:2206.00330", year=2022, scaling="b2t-code")
def b2t(x: Value, net: Net) -> Value:
    """u = N(x + attention(x)), then N(u + ffn(u) + x): a bypass around all norms but the block's last."""
    u = net.norm(net.add(x, net.attention(x)))
    return net.norm(net.add(u, net.ffn(u)) + x)


@placement("span-norm", title="SpanNorm", source="arXiv:2601.22580", year=2026, scaling="depth-scaled-init")
def span_norm(x: Value, net: Net) -> Value:
    """y = N(x + attention(x)), then N(x + ffn(y)): the second skip spans the whole block. The first
    block norms what its attention reads; its skips are the raw embedding, as in the public port."""
    y = net.norm(net.add(x, net.attention(net.norm(x) if net.first else x)))
    return net.norm(net.add(x, net.ffn(y)))


@placement(
    "hybrid-norm",
    title="HybridNorm",
    source="arXiv:2503.04598",
    year=2025,
    readout=final_norm,
    scaling="gpt2",
)
def hybrid_norm(x: Value, net: Net, *, output_norm: bool = False) -> Value:
    """n = N(x + attention_qkv(x)), then n + ffn(n): one norm of the stream per block, and norms on
    queries, keys and values. ``output_norm``, of the paper's 7B run: N(attention) / sqrt(2L)."""
    o = net.attention(x, qkv_norm=True)
    n = net.norm(net.add(x, net.norm(o) * (1 / sqrt(2 * net.depth)) if output_norm else o))
    return net.add(n, net.ffn(n))


@placement(
    "hybrid-norm-star",
    title="HybridNorm*",
    source="arXiv:2503.04598",
    year=2025,
    readout=final_norm,
    scaling="gpt2",
)
def hybrid_norm_star(x: Value, net: Net) -> Value:
    """HybridNorm whose first block is a PreNorm block with QKV norm."""
    if not net.first:
        return hybrid_norm(x, net)
    x = net.add(x, net.attention(net.norm(x), qkv_norm=True))
    return net.add(x, net.ffn(net.norm(x)))


@placement("ngpt", title="nGPT", source="arXiv:2410.01131", year=2024)
def ngpt(x: Value, net: Net, *, rate: float = 0.05) -> Value:
    """x <- N(x + a (N(F(x)) - x)), a = 0.05, on a normed embedding, with norms on queries and keys. The
    paper's unit vectors are scaled to unit second moment; its unit-norm weights are Gaussian here."""
    x = net.norm(x) if net.first else x
    o = net.norm(net.attention(x, qk_norm=True))
    x = net.norm(net.add(x, o * rate, skip=1 - rate))
    return net.norm(net.add(x, net.norm(net.ffn(x)) * rate, skip=1 - rate))
