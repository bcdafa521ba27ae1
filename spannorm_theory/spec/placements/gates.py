"""Placements with gates, at the values that their gates start at."""

from __future__ import annotations

from sympy import Rational, sqrt

from ..expressions import exact
from ..graph import Value
from ..net import Net
from ..placement import final_norm, placement
from .streams import Four


@placement(
    "residual-gate",
    title="Residual gate",
    source="https://github.com/huggingface/transformers",
    year=2026,
    readout=final_norm,
)
def residual_gate(x: Value, net: Net, *, gate: float = 0.5) -> Value:
    """a x + b N(F(N(x))) twice, a^2 + b^2 = 1 (Muse Spark): a stream of second moment 1 keeps it. Each
    coordinate's b is the sigmoid of a small random number, 0.50 +- 0.02; ``gate`` is another one for all."""
    b = exact(gate)
    a = sqrt(1 - b**2)
    x = net.add(x, net.norm(net.attention(net.norm(x))) * b, skip=a)
    return net.add(x, net.norm(net.ffn(net.norm(x))) * b, skip=a)


@placement(
    "gated-post-norm",
    title="Gated PostNorm",
    source="https://github.com/marin-community/marin/issues/5938",
    year=2026,
)
def gated_post_norm(x: Value, net: Net, *, logits: float = 0.0, scalar: bool = False) -> Value:
    """g N(x + F(g N(x))) twice: every norm is gated, by sigmoids of a random map of what it puts out.
    ``logits`` is the variance in front of the sigmoids, 0 for g = 1/2 as of a map of small weights;
    ``scalar`` makes the gate one number for each token, and not one for each coordinate."""

    def gated(y: Value) -> Value:
        y = net.norm(y)
        return net.gate(y, logits=logits, per="token" if scalar else "channel")

    x = gated(net.add(x, net.attention(gated(x))))
    return gated(net.add(x, net.ffn(gated(x))))


def _mean_of_gated(streams: Four, net: Net) -> Value:
    return net.sum([(Rational(1, 8), net.norm(x)) for x in streams])


@placement(
    "gated-streams",
    title="Gated residual streams",
    source="https://github.com/huggingface/transformers",
    year=2026,
    streams=4,
    readout=_mean_of_gated,
)
def gated_streams(streams: Four, net: Net, *, logits: float = 0.0) -> Four:
    """u = mean of g_j N(x_j) over four copies of the stream, then x_j <- x_j + h F(u), twice (Qwen4-exp): the
    only norm is in front of the gates. The sigmoids g_j of each coordinate read N(x_j) by random maps that
    make logits of variance ``logits``, 0 for 1/2; h/2, sigmoids of a token, are taken at 1/2, as of maps of
    small weights, and all gates behind the last block."""
    for branch in (net.attention, net.ffn):
        gated = [net.gate(net.norm(x), logits=logits) for x in streams]
        o = branch(net.sum([(Rational(1, 4), x) for x in gated]))
        streams = tuple(net.add(x, o) for x in streams)  # type: ignore[assignment]
    return streams
