"""Placements with several residual streams."""

from __future__ import annotations

from sympy import Rational, sqrt

from ..graph import Value
from ..net import Net
from ..placement import placement

Pair = tuple[Value, Value]
Four = tuple[Value, Value, Value, Value]


def _bounded_plus_normed(streams: Pair, net: Net) -> Value:
    x, y = streams
    return x + net.norm(y)


@placement(
    "residual",
    title="ResiDual",
    source="arXiv:2304.14802",
    year=2023,
    streams=2,
    readout=_bounded_plus_normed,
)
def residual(streams: Pair, net: Net) -> Pair:
    """o = F(x), then x <- N(x + o), y <- y + o, twice: a PostNorm stream, and the sum of its branches."""
    x, y = streams
    o = net.attention(x)
    x, y = net.norm(net.add(x, o)), net.add(y, o)
    o = net.ffn(x)
    return net.norm(net.add(x, o)), net.add(y, o)


@placement(
    "siamese-norm",
    title="SiameseNorm",
    source="arXiv:2602.08064",
    year=2026,
    streams=2,
    readout=_bounded_plus_normed,
)
def siamese_norm(
    streams: Pair, net: Net, *, normalised_input: bool = True, depth_scaling: bool = True
) -> Pair:
    """Algorithm 1, for F = attention, then ffn: o = F(N(x + N(y))); x <- N(x + o/c); y <- y + o.
    c = sqrt(l'+1) with l' the index of the sublayer (2l for attention, 2l+1 for the ffn); whether
    the paper counts sublayers or blocks there could not be established."""
    x, y = streams
    for position, branch in enumerate((net.attention, net.ffn)):
        h = x + net.norm(y)
        o = branch(net.norm(h) if normalised_input else h)
        write = o * (1 / sqrt(2 * net.layer + position + 1)) if depth_scaling else o
        x, y = net.norm(net.add(x, write)), net.add(y, o)
    return x, y


def _norm_of_both_normed(streams: Pair, net: Net) -> Value:
    x, y = streams
    return net.norm(net.norm(x) + net.norm(y))


@placement(
    "siamese-norm-hybrid-pre",
    title="SiameseNorm (code)",
    source="https://github.com/Qwen-Applications/SiameseNorm",
    year=2026,
    streams=2,
    readout=_norm_of_both_normed,
)
def siamese_norm_hybrid_pre(streams: Pair, net: Net) -> Pair:
    """The published code: a HybridNorm stream x and a PreNorm stream y that share their branches;
    what is written to x is divided by c = sqrt(2(l+1)) in both sublayers of a block."""
    x, y = streams
    c = sqrt(2 * (net.layer + 1))
    o = net.attention(x + net.norm(y), qkv_norm=True)
    x, y = net.norm(net.add(x, o * (1 / c))), net.add(y, o)
    o = net.ffn(net.norm(x + net.norm(y)))
    return net.add(x, o * (1 / c)), net.add(y, o)


@placement(
    "siamese-norm-post-pre",
    title="SiameseNorm (vision)",
    source="https://github.com/Qwen-Applications/SiameseNorm",
    year=2026,
    streams=2,
    readout=_norm_of_both_normed,
)
def siamese_norm_post_pre(streams: Pair, net: Net) -> Pair:
    """The published code for vision models, for F = attention, then ffn: x <- N(x); o = F(N(x + N(y)));
    x <- x + o/c, y <- y + o, c = sqrt(2(l+1)). The norm of a sum acts where the next sublayer begins."""
    x, y = streams
    for branch in (net.attention, net.ffn):
        x = net.norm(x)
        o = branch(net.norm(x + net.norm(y)))
        x, y = net.add(x, o * (1 / sqrt(2 * (net.layer + 1)))), net.add(y, o)
    return x, y


def _sum(streams: Four, net: Net) -> Value:
    return net.norm(net.sum([(1, x) for x in streams]))


def _gated_sum(streams: Four, net: Net) -> Value:
    return net.norm(net.sum([(Rational(1, 2), x) for x in streams]))


def _mean(streams: Four, net: Net) -> Value:
    return net.norm(net.sum([(Rational(1, 4), x) for x in streams]))


@placement(
    "hyper-connections",
    title="Hyper-Connections",
    source="arXiv:2409.19606",
    year=2024,
    streams=4,
    readout=_sum,
)
def hyper_connections(streams: Four, net: Net) -> Four:
    """Four copies of the stream. Each branch reads the norm of one, in turns from sublayer to sublayer, and
    is added to all: the static part as initialised, where all streams stay equal to PreNorm's."""
    turn = net.turn(2)
    for position, branch in enumerate((net.attention, net.ffn)):
        o = branch(net.norm(streams[(2 * turn + position) % 4]))
        streams = tuple(net.add(x, o) for x in streams)  # type: ignore[assignment]
    return streams


@placement(
    "mhc",
    title="mHC",
    source="arXiv:2512.24880",
    year=2025,
    streams=4,
    readout=_gated_sum,
)
def mhc(streams: Four, net: Net) -> Four:
    """Four copies of the stream, mixed by a doubly stochastic matrix in every sublayer, which reads a gated
    sum of them: without the random part of its gates, which the paper's factor makes small, each copy becomes
    the mean m of all plus F(N(2 m))."""
    for branch in (net.attention, net.ffn):
        mean = net.sum([(Rational(1, 4), x) for x in streams])
        o = branch(net.norm(mean * 2))
        streams = tuple(net.add(mean, o) for _ in streams)  # type: ignore[assignment]
    return streams


@placement(
    "identity-hyper-connections",
    title="Identity hyper-connections",
    source="https://github.com/huggingface/transformers",
    year=2026,
    streams=4,
    readout=_mean,
)
def identity_hyper_connections(streams: Four, net: Net) -> Four:
    """Four copies of the stream that are never mixed (Hunyuan V4): each branch reads the norm of their mean
    and is added to all. Its gates start within 1 % of that."""
    for branch in (net.attention, net.ffn):
        o = branch(net.norm(net.sum([(Rational(1, 4), x) for x in streams])))
        streams = tuple(net.add(x, o) for x in streams)  # type: ignore[assignment]
    return streams
