"""SiameseNorm (arXiv:2602.08064) and the two-stream design before it, ResiDual (arXiv:2304.14802)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sympy import Expr, Integer, simplify

from ...base import symbols
from ...base.formulas import IDENTITY, of_stream
from ...moments.one_token import Step, constant_gains
from ...spec.graph import Value
from ...spec.net import Net
from ...spec.placement import Placement, raw
from ..fact import Fact, growth_of, recursion

PAIRS = ((0, 0), (0, 1), (1, 1))


def two_streams() -> Fact:
    """q_00 = 1, q_11 grows linearly."""
    closed = recursion("siamese-norm").closed_form()
    grows = growth_of("siamese-norm", "unit", "q_11")
    return Fact(
        closed["q_00"] == 1 and grows.power == 1 and grows.rate == 0,
        f"q_00 = {closed['q_00']}, q_11 = {closed['q_11']}",
    )


def both_blocks() -> Fact:
    """Each stream's gradient feeds the other's; in ResiDual the unnormed stream's gradient never changes."""
    siamese = recursion("siamese-norm").block.backward_matrix
    residual = recursion("residual").block.backward_matrix
    return Fact(
        siamese[0, 2] != 0 and siamese[2, 0] != 0 and residual[2, 0] == 0 and residual[2, 2] == 1,
        f"gamma_11 takes {'something' if siamese[2, 0] != 0 else 'nothing'} from gamma'_00; in ResiDual "
        f"gamma_11 = {residual[2, 2]} gamma'_11 exactly",
    )


def residual_floor() -> Fact:
    """ResiDual's second stream hands its gradient down unchanged."""
    row = recursion("residual").block.backward_matrix.row(2)
    return Fact(list(row) == [0, 0, 1], f"gamma_11 = {row[2]} gamma'_11 in every block")


def depth_scaling() -> Fact:
    """Skip gain of the bounded stream: geometric without depth scaling, a power of depth with it."""
    plain = growth_of("siamese-norm(depth_scaling=False)", "unit", of_stream(IDENTITY, 0, 2))
    scaled = growth_of("siamese-norm", "unit", of_stream(IDENTITY, 0, 2))
    return Fact(
        plain.rate.subs({symbols.sigma_a2: 1, symbols.sigma_f2: 1}).is_negative and scaled.rate == 0,
        f"skip gain of the bounded stream: {plain} without depth scaling, {scaled} with it",
    )


def _step(function: Callable[..., Any], known: dict[tuple[int, int], Expr], first: bool = False) -> Step:
    """A definition that no registry holds, as a step."""
    entry = Placement("reduction", "", "", function, raw, streams=2)
    return Step(entry.trace("unit", first=first), constant_gains, tuple(known.items()))


def _without_bounded(normed: bool) -> Callable[[tuple[Value, Value], Net], tuple[Value, Value]]:
    """SiameseNorm whose norm of the bounded stream has gain 0."""

    def block(streams: tuple[Value, Value], net: Net) -> tuple[Value, Value]:
        x, y = streams
        for branch in (net.attention, net.ffn):
            h = x + net.norm(y)
            o = branch(net.norm(h) if normed else h)
            x, y = net.norm(net.add(x, o)) * 0, net.add(y, o)
        return x, y

    return block


def _without_growing(streams: tuple[Value, Value], net: Net) -> tuple[Value, Value]:
    """SiameseNorm whose norms of the growing stream have gain 0, without depth scaling."""
    x, y = streams
    for branch in (net.attention, net.ffn):
        o = branch(net.norm(x))
        x, y = net.norm(net.add(x, o)), net.add(y, o)
    return x, y


def _same(left: Expr, right: Expr) -> bool:
    return bool(simplify(left - right) == 0)


def reduces_to_pre() -> Fact:
    """With a dead bounded stream: the same moments as PreNorm; the first block, which still reads X_0 = Y_0,
    included if the branch's input is normed."""
    q0, pre = symbols.initial_variance, recursion("pre-norm").block
    q = symbols.stream_moment(symbols.variance, 1, 1, 2)
    rename = {symbols.variance: q}
    later = _step(_without_bounded(True), {(0, 0): Integer(0), (0, 1): Integer(0)})
    same = _same(later.forward[1, 1], pre.forward[0, 0].subs(rename)) and _same(
        later.backward_matrix[2, 2], pre.backward_matrix[0, 0].subs(rename)
    )
    start = dict.fromkeys(PAIRS, q0)
    firsts = []
    for normed in (True, False):
        step = _step(_without_bounded(normed), start, first=True)
        column = step.backward_matrix.col(2)
        total = column[0] + 2 * column[1] + column[2]  # both streams start as the embedding
        firsts.append(
            _same(step.forward[1, 1], pre.forward[0, 0].subs(symbols.variance, q0))
            and _same(total, pre.backward_matrix[0, 0].subs(symbols.variance, q0))
        )
    return Fact(
        same and firsts[0],
        "moments of a block and of its gradient are PreNorm's; in block 0, which reads X_0 + N(Y_0) with "
        "X_0 = Y_0, they are so because the sum is parallel to X_0 and normed",
        outside=firsts[1],
    )


def reduces_to_post() -> Fact:
    """With a dead growing stream: PostNorm's block on a normed stream, in block 0 only for q_0 = 1."""
    post = recursion("post-norm").block
    later = _step(_without_growing, {(0, 0): Integer(1)})
    same = all(
        _same(ours, theirs.subs(symbols.variance, 1))
        for ours, theirs in (
            (later.forward[0, 0], post.forward[0, 0]),
            (later.backward_matrix[0, 0], post.backward_matrix[0, 0]),
        )
    )
    q0 = symbols.initial_variance
    first = _step(_without_growing, dict.fromkeys(PAIRS, q0), first=True)
    at_start = _same(first.backward_matrix[0, 0], post.backward_matrix[0, 0].subs(symbols.variance, q0))
    blocks = [recursion(f"siamese-norm{option}").block for option in ("", "(depth_scaling=False)")]
    unscaled = blocks[0].forward == blocks[1].forward
    return Fact(
        same,
        "a block's moments are PostNorm's at q = 1; block 0 norms what PostNorm's branch reads raw, which "
        f"{'changes nothing' if at_start else 'differs unless q_0 = 1'}; depth scaling divides its branches",
        outside=at_start and unscaled,
    )
