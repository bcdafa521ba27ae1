"""Places of the parts of a block diagram: boxes on levels and columns, and orthogonal wires between them.

Levels follow the longest path from the incoming streams. With several streams, each stream's skip path
is a column of its own and everything else, what they share too, stands between; with one stream all boxes
stand in one column and skips run beside it. Works on any trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from sympy import Expr, Integer

from ...spec.graph import Branch, Norm, Product, Stream, Sum, Trace, Value

Point = tuple[float, float]
ONE = Integer(1)

#: distances and sizes in units of the layout, of which boxes, levels and lanes are made
COLUMN_GAP = 2.15
LEVEL_GAP = 0.46
LANE = 0.42
#: lanes on either side that are tried
LANES = 24
BRANCH_WIDTH = 1.7
NORM_WIDTH = 1.1
RADIUS = 0.17
LINE_HEIGHT = 0.3


@dataclass(frozen=True)
class Box:
    """A norm, a branch, a sum or an incoming stream at (x, y), its centre."""

    node: Value
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...] = ()

    @property
    def top(self) -> Point:
        """The middle of its upper side."""
        return self.x, self.y + self.height / 2

    @property
    def bottom(self) -> Point:
        """The middle of its lower side."""
        return self.x, self.y - self.height / 2

    def side(self, right: bool) -> Point:
        """The middle of its right or left side."""
        return self.x + (self.width / 2 if right else -self.width / 2), self.y

    def hits(self, a: Point, b: Point) -> bool:
        """Whether a horizontal or vertical segment runs through the box."""
        margin = 0.06
        inside_x = (
            max(min(a[0], b[0]), self.x - self.width / 2 - margin)
            < min(max(a[0], b[0]), self.x + self.width / 2 + margin)
        ) or (a[0] == b[0] and abs(a[0] - self.x) < self.width / 2 + margin)
        inside_y = (
            max(min(a[1], b[1]), self.y - self.height / 2 - margin)
            < min(max(a[1], b[1]), self.y + self.height / 2 + margin)
        ) or (a[1] == b[1] and abs(a[1] - self.y) < self.height / 2 + margin)
        return inside_x and inside_y


@dataclass(frozen=True)
class Wire:
    """A line of orthogonal segments from one box to another (or out of the block), with a multiplier."""

    start: Value
    points: tuple[Point, ...]
    factor: Expr = ONE

    @property
    def segments(self) -> Iterator[tuple[Point, Point]]:
        """The straight pieces of the wire."""
        return pairwise(self.points)


@dataclass
class Layout:
    """Boxes and wires of a block."""

    boxes: dict[int, Box] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)
    outputs: list[Point] = field(default_factory=list)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of everything."""
        xs = [x for wire in self.wires for x, _ in wire.points]
        ys = [y for wire in self.wires for _, y in wire.points]
        xs += [box.x + s * box.width / 2 for box in self.boxes.values() for s in (-1, 1)]
        ys += [box.y + s * box.height / 2 for box in self.boxes.values() for s in (-1, 1)]
        return min(xs), max(xs), min(ys), max(ys)


def resolve(value: Value) -> tuple[Expr, Value]:
    """A value without the single-term sums around it, and the multiplier that they make."""
    factor: Expr = ONE
    while isinstance(value, Sum) and len(value.terms) == 1:
        ((coefficient, value),) = value.terms
        factor = factor * coefficient
    return factor, value


def inputs(node: Value) -> list[tuple[Expr, Value]]:
    """The values that a node is computed from, with multipliers, without single-term sums in between."""
    terms = node.terms if isinstance(node, Sum) else [(ONE, source) for source in node.sources]
    resolved = [(factor, *resolve(value)) for factor, value in terms]
    return [(factor * inner, value) for factor, inner, value in resolved]


def drawn(trace: Trace) -> list[Value]:
    """The nodes that a diagram shows: all but single-term sums."""
    return [node for node in trace.nodes if not (isinstance(node, Sum) and len(node.terms) == 1)]


def skip_path(trace: Trace, stream: int) -> set[int]:
    """Indices of the nodes on a stream's way through the block that avoids every branch."""

    def walk(value: Value) -> list[int] | None:
        _, value = resolve(value)
        if isinstance(value, Stream):
            return [value.index] if value.position == stream else None
        if isinstance(value, Branch):
            return None
        for _, source in inputs(value):
            path = walk(source)
            if path is not None:
                return [*path, value.index]
        return None

    return set(walk(trace.outputs[stream]) or [trace.streams[stream].index])


def arrange(trace: Trace, lines: dict[int, tuple[str, ...]]) -> Layout:
    """Place every node of a trace and route every wire.

    Args:
        lines: the text in each box, by node index; it decides the box's height.
    """
    nodes = drawn(trace)
    rank: dict[int, int] = {}
    for node in nodes:
        rank[node.index] = 1 + max((rank[source.index] for _, source in inputs(node)), default=-1)
    layout = Layout(_place(trace, nodes, rank, lines))
    for node in nodes:
        # straight wires first: skips go around them
        for factor, source in sorted(inputs(node), key=lambda term: -rank[term[1].index]):
            layout.wires.append(Wire(source, _route(layout, source, node), factor))
    _lead_out(layout, trace)
    return layout


def _place(
    trace: Trace, nodes: list[Value], rank: dict[int, int], lines: dict[int, tuple[str, ...]]
) -> dict[int, Box]:
    count = len(trace.streams)
    column = dict.fromkeys((node.index for node in nodes), 0.0)
    if count > 1:
        paths = [skip_path(trace, stream) for stream in range(count)]
        shared = Counter(index for path in paths for index in path)
        for path, side in zip(paths, _sides(count), strict=True):
            column.update({i: side for i in path if i in column and shared[i] == 1})
    sizes = {node.index: _size(node, lines.get(node.index, ())) for node in nodes}
    height = [max(sizes[i][1] for i in sizes if rank[i] == level) for level in range(max(rank.values()) + 1)]
    level_y = [sum(height[:level]) + height[level] / 2 + LEVEL_GAP * level for level in range(len(height))]
    boxes = {}
    for node in nodes:
        peers = [
            other.index
            for other in nodes
            if (rank[other.index], column[other.index]) == (rank[node.index], column[node.index])
        ]
        shift = (peers.index(node.index) - (len(peers) - 1) / 2) * (BRANCH_WIDTH + 0.3)
        width, tall = sizes[node.index]
        x, y = column[node.index] + shift, level_y[rank[node.index]]
        boxes[node.index] = Box(node, x, y, width, tall, lines.get(node.index, ()))
    return boxes


def _sides(count: int) -> list[float]:
    """The columns of several streams; none stands in the middle, where branches do."""
    if count % 2:
        half = count // 2
        return [COLUMN_GAP * (stream - half + (stream >= half)) / half for stream in range(count)]
    return [COLUMN_GAP * (2 * stream / (count - 1) - 1) for stream in range(count)]


def _size(node: Value, lines: tuple[str, ...]) -> tuple[float, float]:
    if isinstance(node, Stream):
        return 0.5, 0.3 * max(1, len(lines))
    if isinstance(node, (Sum, Product)):
        return 2 * RADIUS, 2 * RADIUS
    width = NORM_WIDTH if isinstance(node, Norm) else BRANCH_WIDTH
    return width, 0.14 + LINE_HEIGHT * max(1, len(lines))


def _route(layout: Layout, source: Value, target: Value) -> tuple[Point, ...]:
    """The first way from source to target that runs through no box and along no other wire.

    Where every way runs along some wire, as between streams that are all mixed, the first through no box.
    """
    start, end = layout.boxes[source.index], layout.boxes[target.index]
    others = [box for box in layout.boxes.values() if box not in (start, end)]
    taken = [piece for wire in layout.wires if wire.start is not source for piece in wire.segments]
    along = None
    for points in _ways(layout, start, end):
        segments = list(pairwise(points))
        if any(box.hits(a, b) for box in others for a, b in segments):
            continue
        if any(end.hits(a, b) for a, b in segments[:-1]) or any(start.hits(a, b) for a, b in segments[1:]):
            continue
        if not any(_overlap(piece, other) for other in taken for piece in segments):
            return points
        along = along or points
    return along or (start.top, end.bottom)


def _ways(layout: Layout, start: Box, end: Box) -> Iterator[tuple[Point, ...]]:
    below = end.bottom[1] - LEVEL_GAP / 2
    circle = isinstance(end.node, (Sum, Product))  # which wires may enter at its sides
    if start.x == end.x:
        yield start.top, end.bottom
    else:
        if circle:
            yield start.top, (start.x, end.y), end.side(start.x > end.x)
        yield start.top, (start.x, below), (end.x, below), end.bottom
    above = start.top[1] + LEVEL_GAP / 2
    left, right, _, _ = layout.extent
    reach = BRANCH_WIDTH / 2 + 0.25
    for lane in range(LANES):
        for side in (1, -1):
            x = (
                (start.x + side * (reach + lane * LANE))
                if lane < 8
                else (right + LANE * lane, left - LANE * lane)[side < 0]
            )
            corner = [start.top, (start.x, above), (x, above)]
            if circle:
                yield (*corner, (x, end.y), end.side(x > end.x))
            yield (*corner, (x, below), (end.x, below), end.bottom)


def _overlap(one: tuple[Point, Point], two: tuple[Point, Point]) -> bool:
    """Whether two orthogonal segments share more than a point."""
    for axis in (0, 1):
        if one[0][axis] == one[1][axis] == two[0][axis] == two[1][axis]:
            along = 1 - axis
            low = max(min(one[0][along], one[1][along]), min(two[0][along], two[1][along]))
            high = min(max(one[0][along], one[1][along]), max(two[0][along], two[1][along]))
            return high - low > 1e-9
    return False


def _lead_out(layout: Layout, trace: Trace) -> None:
    top = layout.extent[3] + 1.4 * LEVEL_GAP
    for output in trace.outputs:
        factor, value = resolve(output)
        box = layout.boxes[value.index]
        layout.wires.append(Wire(value, (box.top, (box.x, top)), factor))
        layout.outputs.append((box.x, top))
