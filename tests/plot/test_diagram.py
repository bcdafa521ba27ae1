"""Block diagrams hold exactly what the trace holds, with wires that touch no box they do not serve."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from matplotlib.axes import Axes
from sympy import Integer, sqrt

from spannorm_theory.base import symbols
from spannorm_theory.plot import block_diagram
from spannorm_theory.plot.diagram.diagram import inline, junctions
from spannorm_theory.plot.diagram.layout import Layout, arrange
from spannorm_theory.spec.graph import Branch, Norm, Sum, Trace
from spannorm_theory.spec.placements import PLACEMENTS, STANDARD

BLOCKS = [(name, first) for name in STANDARD for first in (False, True)]
ALL = [(name, first) for name in PLACEMENTS for first in (False, True)]


def trace_of(name: str, first: bool = False, scaling: str = "unit") -> Trace:
    return PLACEMENTS[name].trace(scaling, first=first)


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.exact
@pytest.mark.parametrize(("name", "first"), BLOCKS)
def test_the_diagram_has_the_traces_norms_branches_and_sums(name: str, first: bool) -> None:
    trace = trace_of(name, first)
    expected = Counter(
        "norm" if isinstance(node, Norm) else node.kind if isinstance(node, Branch) else "sum"
        for node in trace.nodes
        if isinstance(node, (Norm, Branch)) or (isinstance(node, Sum) and len(node.terms) > 1)
    )
    ax = block_diagram(name, first=first)
    assert Counter(p.get_gid() for p in ax.patches if p.get_gid()) == expected
    assert texts(ax).count("Norm") == expected["norm"]
    assert texts(ax).count("with QKV norm") == sum("value" in branch.normed for branch in trace.branches)


@pytest.mark.exact
@pytest.mark.parametrize(("name", "first"), ALL)
def test_wires_join_what_the_trace_joins_and_cross_no_box(name: str, first: bool) -> None:
    trace = trace_of(name, first)
    layout: Layout = arrange(trace, {})
    incoming = sum(
        len(node.terms) if isinstance(node, Sum) else len(node.sources)
        for node in trace.nodes
        if not (isinstance(node, Sum) and len(node.terms) == 1)
    )
    assert len(layout.wires) == incoming + len(trace.outputs)
    for wire in layout.wires:
        served = [box for box in layout.boxes.values() if box.node is wire.start]
        target = [box for box in layout.boxes.values() if box.hits(wire.points[-1], wire.points[-1])]
        for box in layout.boxes.values():
            if box not in served and box not in target:
                assert not any(box.hits(a, b) for a, b in wire.segments)
        assert all(a[0] == b[0] or a[1] == b[1] for a, b in wire.segments)
    for one, two in combinations(layout.boxes.values(), 2):
        apart_x = abs(one.x - two.x) >= (one.width + two.width) / 2
        apart_y = abs(one.y - two.y) >= (one.height + two.height) / 2
        assert apart_x or apart_y


@pytest.mark.exact
def test_the_second_skip_of_span_norm_starts_at_the_input() -> None:
    span, post = (arrange(trace_of(name), {}) for name in ("span-norm", "post-norm"))
    from_input = [sum(str(wire.start) == "x0" for wire in layout.wires) for layout in (span, post)]
    assert from_input == [3, 2]
    assert junctions(post)


def test_multipliers_are_written_at_wires_and_weights_in_boxes() -> None:
    assert r"$\times 1/\sqrt{2 l + 1}$" in texts(block_diagram("siamese-norm"))
    assert texts(block_diagram("pre-norm", scaling="branch-sqrt-depth")).count(r"$\times 1/\sqrt{2 L}$") == 2
    scaled = texts(block_diagram("pre-norm", scaling="depth-scaled-init"))
    assert r"$W_O \times 1/\sqrt{L}$" in scaled
    assert r"$W_{\mathrm{down}} \times 1/\sqrt{L}$" in scaled


@pytest.mark.exact
def test_multipliers_read_on_one_line() -> None:
    assert inline(1 / sqrt(2 * symbols.depth)) == r"1/\sqrt{2 L}"
    assert inline(sqrt(2 * symbols.depth)) == r"\sqrt{2 L}"
    assert inline(Integer(2)) == "2"


@pytest.mark.usefixtures("registries")
def test_a_users_placement_is_drawn_like_the_others() -> None:
    from spannorm_theory.spec.placements import Placement

    def parallel(x, net):
        n = net.norm(x)
        return x + net.attention(n, window=8, positions="none") + net.ffn(n) * 2

    PLACEMENTS.add(Placement("parallel-test", "Parallel", "", parallel, lambda x, net: x))
    ax = block_diagram("parallel-test")
    layout = arrange(trace_of("parallel-test"), {})
    assert {"Attention", "window 8, no positions", "FFN", r"$\times 2$"} <= set(texts(ax))
    assert len({box.x for box in layout.boxes.values()}) > 1


@pytest.mark.exact
@pytest.mark.parametrize("name", [*PLACEMENTS, "gated-post-norm(logits=1)", "attention-residuals(block=4)"])
def test_a_title_fits_its_figure(name: str) -> None:
    ax = block_diagram(name, first=True)
    title = ax.title.get_window_extent()
    assert title.x0 >= 0
    assert title.x1 <= ax.figure.bbox.x1


@pytest.mark.exact
def test_what_a_gate_multiplies_enters_the_product_at_its_side() -> None:
    trace = PLACEMENTS["gated-post-norm"].trace("unit", logits=1)
    layout = arrange(trace, {})
    for product in trace.products:
        box = layout.boxes[product.index]
        ends = {wire.points[-1] for wire in layout.wires if wire.points[-1] in (box.bottom, box.side(True))}
        assert ends == {box.bottom, box.side(True)}
