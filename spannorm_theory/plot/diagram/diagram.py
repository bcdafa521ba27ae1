"""Block diagrams drawn from a placement's traced definition, so that the picture is what was analysed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch
from sympy import Expr, Pow, Rational, fraction, latex, simplify

from ...spec.architecture import parse_placement
from ...spec.arguments import placement as named
from ...spec.graph import Branch, Norm, Product, Stream, Trace, Value
from ...spec.placements import PLACEMENTS
from ..canvas.marks import placement_label
from ..canvas.paper import PaperAxes, axes_or_none, new_figure, paper, venue
from .layout import RADIUS, Box, Layout, Point, Wire, arrange

#: inches that one unit of the layout takes on a figure of its own
SCALE = 0.42
#: units of the layout that a letter of a title takes
LETTER = 0.16
#: colours of boxes by kind
FILLS = {
    "norm": "#f6e9b6",
    "attention": "#f6d5c3",
    "ffn": "#cfe3f2",
    "gate": "#d9ecd5",
    "token-gate": "#d9ecd5",
}
INK = "0.15"
NAMES = {"attention": "Attention", "ffn": "FFN", "gate": "Gate", "token-gate": "Gate of a token"}
MATRICES = {
    "attn.query_down": r"W_{Q,\mathrm{down}}",
    "attn.key_down": r"W_{KV,\mathrm{down}}",
    "attn.query": "W_Q",
    "attn.key": "W_K",
    "attn.value": "W_V",
    "attn.output": "W_O",
    "attn.gate": r"W_{\mathrm{gate}}",
    "ffn.up": r"W_{\mathrm{up}}",
    "ffn.gate": r"W_{\mathrm{gate}}",
    "ffn.down": r"W_{\mathrm{down}}",
}


def block_diagram(
    placement: str, *, scaling: str = "unit", first: bool = False, title: bool = True, ax: Axes | None = None
) -> Axes:
    """Draw one block of a placement: norms and branches as boxes, sums as circles, skips beside them.

    Args:
        placement: a registered name, with options in brackets if it has any.
        scaling: the scaling rule whose multipliers are written at wires, and whose factors on weight
            matrices are written in boxes.
        first: the first block of the stack instead of one in the middle.
        title: write the placement's title above.
        ax: draw here; the diagram keeps its proportions and is fitted into the axes.

    Returns:
        the axes.

    Raises:
        UnknownNameError: a name that is not registered.

    Example:
        >>> import spannorm_theory as st
        >>> st.plot.block_diagram("span-norm").get_title()
        'SpanNorm'
    """
    ax = axes_or_none(ax)
    name, options = parse_placement(named(placement))
    trace = PLACEMENTS[name].trace(scaling, first=first, **options)
    layout = arrange(trace, {node.index: _lines(node, len(trace.streams)) for node in trace.nodes})
    left, right, bottom, top = layout.extent
    margin = 0.25
    said = placement_label(placement) + (", first block" if first else "") if title else ""
    aside = margin
    if ax is None:  # a title may be wider than its block
        aside = max(margin, (LETTER * len(said) - right + left) / 2)
    width, height = right - left + 2 * aside, top - bottom + 2 * margin + 0.25
    with paper():
        if ax is None:
            scale = SCALE * mpl.rcParams["font.size"] / 8
            room = 0.7 * scale if title else 0.0
            figure = new_figure(scale * width, scale * height + room, layout="none")
            ax = figure.add_axes((0, 0, 1, scale * height / (scale * height + room)), axes_class=PaperAxes)
        ax.set_xlim(left - aside, right + aside)
        ax.set_ylim(bottom - margin, top + margin + 0.25)
        ax.set_aspect("equal")
        ax.set_axis_off()
        size = _font_size(ax, width, height)
        for wire in layout.wires:
            _draw_wire(ax, wire, size)
        for point in junctions(layout):
            ax.add_patch(Circle(point, 0.05, color=INK, zorder=4))
        for box in layout.boxes.values():
            _draw_box(ax, box, size)
        _draw_outputs(ax, trace, layout, size)
        if title:
            ax.set_title(said, fontsize=1.1 * size)
    return ax


def _font_size(ax: Axes, width: float, height: float) -> float:
    """Points at which text fits the boxes: 8 at the natural scale, less where the axes are smaller."""
    window = ax.get_window_extent()
    scale = min(window.width / width, window.height / height) / ax.figure.dpi
    return min(float(mpl.rcParams["font.size"]), 8 * max(0.55, scale / SCALE))


def _lines(node: Value, streams: int) -> tuple[str, ...]:
    """The text in a node's box, one string a line."""
    if isinstance(node, Norm):
        return ("Norm",)
    if isinstance(node, Stream):
        return (
            _stream_name(node.position, streams, "l"),
            *((f"stream {node.position}",) if streams > 1 else ()),
        )
    if not isinstance(node, Branch):
        return ()
    lines = [NAMES.get(node.kind, node.kind)]
    if node.normed:
        lines.append("with QKV norm" if "value" in node.normed else "with QK norm")
    if node.inner_norm:
        lines.append("with inner norm")
    lines += filter(None, [str(node.reach)])
    for matrix, gain in node.gains.items():
        if node.owns(matrix) and gain != 1:
            lines.append(rf"${MATRICES[matrix]} \times {inline(gain)}$")
    for matrix, std in node.std.items():
        if node.owns(matrix):
            lines.append(rf"$\mathrm{{std}}\,{MATRICES.get(matrix, 'W')} = {inline(std)}$")
    return tuple(lines)


def _stream_name(position: int, streams: int, layer: str) -> str:
    letter = "xy"[position] if streams <= 2 else f"x^{{({position})}}"
    return f"${letter}_{{{layer}}}$"


def inline(factor: Expr) -> str:
    """A multiplier on one line of mathtext: 1/sqrt(2L) rather than a stacked fraction."""
    squared = simplify(factor**2)
    if factor.is_positive and squared.is_rational_function() and not factor.is_rational_function():
        top, bottom = fraction(squared)
        if top == 1:
            return rf"1/\sqrt{{{latex(bottom.expand())}}}"
        root = Pow(squared, Rational(1, 2), evaluate=False)
        return str(latex(root, fold_short_frac=True))
    return str(latex(factor, fold_short_frac=True))


def junctions(layout: Layout) -> list[Point]:
    """Points at which wires out of one box part after a common stretch."""
    found: set[Point] = set()
    for one in layout.wires:
        for other in layout.wires:
            if one is not other and one.start is other.start:
                point = _parting(one.points, other.points)
                if point is not None and point != one.points[0]:
                    found.add(point)
    return sorted(found)


def _parting(one: tuple[Point, ...], two: tuple[Point, ...]) -> Point | None:
    """The last point that two polylines from one start share, or None where one contains the other."""
    for (a, b), (c, d) in zip(pairwise(one), pairwise(two), strict=False):
        if b == d and a == c:
            continue
        if (a[0] == b[0]) != (c[0] == d[0]):
            return a
        axis = 1 if a[0] == b[0] else 0
        if (b[axis] - a[axis]) * (d[axis] - c[axis]) < 0:
            return a
        return b if abs(b[axis] - a[axis]) < abs(d[axis] - c[axis]) else d
    return None


def _draw_wire(ax: Axes, wire: Wire, size: float) -> None:
    xs, ys = zip(*wire.points, strict=True)
    ax.plot(xs, ys, color=INK, linewidth=0.8 * venue().scale, solid_joinstyle="miter", zorder=2)
    ax.annotate(
        "",
        wire.points[-1],
        xytext=wire.points[-2],
        arrowprops={
            "arrowstyle": "-|>,head_length=0.28,head_width=0.13",
            "color": INK,
            "linewidth": 0.8 * venue().scale,
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=3,
    )
    if wire.factor == 1:
        return
    segments = list(wire.segments)
    (ax0, ay0), (ax1, ay1) = segments[-1]
    if abs(ax1 - ax0) + abs(ay1 - ay0) < 0.8:
        (ax0, ay0), (ax1, ay1) = max(segments, key=lambda s: abs(s[1][0] - s[0][0]) + abs(s[1][1] - s[0][1]))
    vertical = ax0 == ax1
    ax.text(
        (ax0 + ax1) / 2 + (0.1 if vertical else 0),
        (ay0 + ay1) / 2 + (0 if vertical else 0.07),
        rf"$\times {inline(wire.factor)}$",
        fontsize=0.85 * size,
        color=INK,
        ha="left" if vertical else "center",
        va="center" if vertical else "bottom",
    )


def _draw_box(ax: Axes, box: Box, size: float) -> None:
    node = box.node
    common: dict[str, Any] = {"edgecolor": INK, "linewidth": 0.8 * venue().scale, "zorder": 5}
    if isinstance(node, Stream):
        _text_lines(ax, box, size)
    elif isinstance(node, (Norm, Branch)):
        kind = "norm" if isinstance(node, Norm) or node.elementwise else node.kind
        left, bottom = box.x - box.width / 2, box.y - box.height / 2
        patch = FancyBboxPatch(
            (left, bottom),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=FILLS.get(kind, "#e4e4e4"),
            **common,
        )
        patch.set_gid(kind)
        ax.add_patch(patch)
        _text_lines(ax, box, size)
    else:
        circle = Circle((box.x, box.y), RADIUS, facecolor="white", **common)
        times = isinstance(node, Product)
        circle.set_gid("product" if times else "sum")
        ax.add_patch(circle)
        arm = 0.6 * RADIUS
        slant = arm / 2**0.5
        for dx, dy in ((slant, slant), (slant, -slant)) if times else ((arm, 0.0), (0.0, arm)):
            ax.plot(
                [box.x - dx, box.x + dx],
                [box.y - dy, box.y + dy],
                color=INK,
                linewidth=0.8 * venue().scale,
                zorder=6,
            )


def _text_lines(ax: Axes, box: Box, size: float) -> None:
    pitch = 0.27
    for i, line in enumerate(box.lines):
        y = box.y + pitch * ((len(box.lines) - 1) / 2 - i)
        ax.text(
            box.x,
            y,
            line,
            fontsize=size if i == 0 else 0.82 * size,
            ha="center",
            va="center_baseline",
            zorder=7,
        )


def _draw_outputs(ax: Axes, trace: Trace, layout: Layout, size: float) -> None:
    for position, (x, y) in enumerate(layout.outputs):
        name = _stream_name(position, len(trace.streams), "l+1")
        ax.text(x, y + 0.06, name, fontsize=size, ha="center", va="bottom")
