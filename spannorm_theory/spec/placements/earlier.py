"""Placements that read earlier values of the stream: its start, the middle of the stack, or all of them."""

from __future__ import annotations

from sympy import Integer, Max, Rational, ceiling

from ..graph import Value
from ..net import Net
from ..placement import final_norm, placement
from .pre import pre_norm

Two = tuple[Value, Value]
Three = tuple[Value, Value, Value]


def _without_the_middle(streams: Three, net: Net) -> Value:
    x, _, middle = streams
    return net.norm(x - middle * Rational(1, 5))


@placement(
    "embedding-mixing",
    title="Embedding mixing",
    source="https://github.com/karpathy/nanochat",
    year=2025,
    streams=3,
    readout=_without_the_middle,
)
def embedding_mixing(streams: Three, net: Net) -> Three:
    """r x + m x0, then PreNorm (nanochat): x0 is the normed embedding, and r and m fall along the stack, from
    1.15 to 1.05 and from 0.2 to 0.05. The last norm reads x less a fifth of the stream in the middle of the
    stack, which is carried as x0 is."""
    x, start, middle = map(net.norm, streams) if net.first else streams
    share = net.layer / Max(net.depth - 1, 1)
    r, m = Rational(115, 100) - share / 10, Rational(1, 5) - Rational(15, 100) * share
    x = pre_norm(net.sum([(r, x), (m, start)]), net)
    return x, start, x if net.early(0.5) else middle


@placement(
    "attention-residuals",
    title="Attention residuals",
    source="arXiv:2603.15031",
    year=2026,
    readout=final_norm,
)
def attention_residuals(x: Value, net: Net, *, block: int = 1) -> Value:
    """F(N(h)) twice, h a softmax over the embedding and the outputs of all sublayers so far, or over their
    sums in finished blocks of ``block`` sublayers and in the one that has begun. At the start its queries are
    zero and h is the mean of k values: h <- (k h + F(N(h)))/k', k' values for the next sublayer."""
    for number, branch in enumerate((net.attention, net.ffn)):
        place = 2 * net.layer + number
        k, after = (1 + ceiling(at / Integer(block)) for at in (place, place + 1))
        x = net.add(x, branch(net.norm(x)) / k, skip=1) * (k / after)
    return x


def _of_normed_sums(streams: Two, net: Net) -> Value:
    finished, begun = streams
    return net.norm(finished + net.norm(begun))


@placement(
    "inkling-2",
    title="Inkling-2",
    source="https://github.com/huggingface/transformers",
    year=2026,
    streams=2,
    readout=_of_normed_sums,
)
def inkling_2(streams: Two, net: Net, *, layers: int = 6) -> Two:
    """F(N(h)) twice, h the mean of the normed embedding, the normed sums of finished groups of ``layers``
    blocks, and that of the group that has begun: attention residuals whose values are normed, at the zero
    queries that they start with. The first stream sums what is finished, the second is what has begun."""
    finished, begun = streams
    if net.first:
        finished, begun = net.norm(begun), net.add(begun, net.attention(net.norm(begun)), skip=0)
    else:
        o = net.attention(_of_normed_sums(streams, net))
        if net.turn(layers) == 0:
            finished, begun = finished + net.norm(begun), net.add(begun, o, skip=0)
        else:
            begun = net.add(begun, o)
    return finished, net.add(begun, net.ffn(_of_normed_sums((finished, begun), net)))


@placement("denseformer", title="DenseFormer", source="arXiv:2402.02622", year=2024, readout=final_norm)
def denseformer(x: Value, net: Net) -> Value:
    """PreNorm. A weighted mean of all earlier outputs follows each block, whose weights start at 1 for the
    block's own and at 0 for the others: there it is PreNorm, in both directions."""
    return pre_norm(x, net)
