"""Run a placement's definition once and keep what it did, as a small graph.

A placement is a Python function on residual streams. :class:`Net` is the object that it receives;
each call adds a node. Every reader (moments, adjoint, torch, diagram) interprets the same nodes, so
a placement is written once and can never mean two things.

Four kinds of node suffice: an incoming :class:`Stream`, a :class:`Norm`, the output of a
:class:`Branch` (attention or feed-forward), and a :class:`Sum` with coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sympy import Expr, Integer, sympify

from .. import symbols
from ..errors import InputError
from .scalings import Multipliers, ScalingRule


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of shape (tokens, width) inside a block; supports ``+`` and ``* number``."""

    net: Net
    index: int

    def __add__(self, other: Value) -> Sum:
        return self.net.sum([(Integer(1), self), (Integer(1), other)])

    def __mul__(self, factor: Any) -> Sum:
        return self.net.sum([(sympify(factor), self)])

    __rmul__ = __mul__

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return ()

    @property
    def sublayer(self) -> str | None:
        """Which branch this value comes straight out of, or None for a stream."""
        return None


@dataclass(frozen=True, eq=False)
class Stream(Value):
    """An incoming residual stream."""

    position: int

    def __str__(self) -> str:
        return f"x{self.position}"


@dataclass(frozen=True, eq=False)
class Norm(Value):
    """The source divided by its root mean square over coordinates."""

    source: Value

    def __str__(self) -> str:
        return f"norm({self.source})"

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return (self.source,)

    @property
    def sublayer(self) -> str | None:
        """Which branch this value comes straight out of, or None for a stream."""
        return self.source.sublayer


@dataclass(frozen=True, eq=False)
class Branch(Value):
    """The output of an attention or feed-forward branch; its last weight matrix is fresh."""

    kind: str
    source: Value
    qkv_norm: bool
    gains: Mapping[str, Expr]

    def __str__(self) -> str:
        return f"{self.kind}{'[qkv-norm]' if self.qkv_norm else ''}({self.source})"

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return (self.source,)

    @property
    def sublayer(self) -> str | None:
        """Which branch this value comes straight out of, or None for a stream."""
        return self.kind


@dataclass(frozen=True, eq=False)
class Sum(Value):
    """A linear combination of values; the coefficients are expressions in (l, L, d)."""

    terms: tuple[tuple[Expr, Value], ...]

    def __str__(self) -> str:
        parts = [str(value) if factor == 1 else f"{factor}*{value}" for factor, value in self.terms]
        return parts[0] if len(parts) == 1 else "(" + " + ".join(parts) + ")"

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return tuple(value for _, value in self.terms)

    @property
    def sublayer(self) -> str | None:
        """The branch that all terms come out of, or None."""
        kinds = {value.sublayer for _, value in self.terms}
        return kinds.pop() if len(kinds) == 1 else None


Node = TypeVar("Node", bound=Value)


@dataclass(frozen=True)
class Trace:
    """The nodes of one block (or readout) in order of computation, and what it returns."""

    streams: tuple[Stream, ...]
    nodes: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The block's branches in order of computation."""
        return tuple(node for node in self.nodes if isinstance(node, Branch))

    @property
    def multipliers(self) -> tuple[Expr, ...]:
        """Every distinct expression in (l, L, d) that the block multiplies a value by."""
        sums = (node for node in self.nodes if isinstance(node, Sum))
        return tuple(dict.fromkeys(factor for node in sums for factor, _ in node.terms))

    def __str__(self) -> str:
        return ", ".join(str(output) for output in self.outputs)


class Net:
    """What a placement's definition sees: the operations of a transformer block.

    Attributes:
        first: whether this is the first block of the stack.
        layer, depth, width: the symbols l (zero-based block index), L and d, for multipliers.
    """

    layer = symbols.layer
    depth = symbols.depth
    width = symbols.width

    def __init__(self, rule: ScalingRule, *, first: bool = False) -> None:
        self.first = first
        self._rule = rule
        self._nodes: list[Value] = []

    def _keep(self, make: Callable[[int], Node]) -> Node:
        node = make(len(self._nodes))
        self._nodes.append(node)
        return node

    def _multipliers(self, sublayer: str) -> Multipliers:
        return self._rule.multipliers(sublayer)

    def norm(self, x: Value) -> Norm:
        """Norm(x): per token, x divided by its root mean square over coordinates, gain 1."""
        self._check(x)
        return self._keep(lambda i: Norm(self, i, x))

    def attention(self, x: Value, *, qkv_norm: bool = False) -> Branch:
        """Multi-head softmax attention of ``x``, with output projection; ``qkv_norm`` normalises
        queries, keys and values over each head."""
        return self.branch("attention", x, qkv_norm)

    def ffn(self, x: Value) -> Branch:
        """The feed-forward branch of ``x``."""
        return self.branch("ffn", x, False)

    def branch(self, kind: str, x: Value, qkv_norm: bool = False) -> Branch:
        """The output of a branch of ``kind`` ("attention" or "ffn") on ``x``."""
        self._check(x)
        gains = dict(self._multipliers(kind).gains)
        return self._keep(lambda i: Branch(self, i, kind, x, qkv_norm, gains))

    def add(self, stream: Value, branch: Value) -> Sum:
        """alpha * stream + beta * branch, with the scaling rule's multipliers for that sublayer."""
        self._check(stream)
        self._check(branch)
        if branch.sublayer is None:
            raise InputError(
                "net.add(stream, branch) needs a branch (attention or ffn output) as its second argument; "
                "add two streams with a plain +"
            )
        rule = self._multipliers(branch.sublayer)
        return self.sum([(rule.skip, stream), (rule.branch, branch)])

    def sum(self, terms: list[tuple[Expr, Value]]) -> Sum:
        """A linear combination, without any multiplier of the scaling rule."""
        for _, value in terms:
            self._check(value)
        return self._keep(lambda i: Sum(self, i, tuple(terms)))

    def stream(self, position: int) -> Stream:
        """The incoming stream at ``position`` (called by the tracer, before the definition runs)."""
        return self._keep(lambda i: Stream(self, i, position))

    def finish(self, streams: tuple[Stream, ...], outputs: tuple[Value, ...]) -> Trace:
        """Everything that has been recorded."""
        return Trace(streams, tuple(self._nodes), outputs)

    def _check(self, value: object) -> None:
        if not isinstance(value, Value) or value.net is not self:
            raise InputError(
                f"a placement works on the streams it is given and on what net returns; got {value!r}"
            )


def record(
    definition: Callable[..., Any],
    rule: ScalingRule,
    streams: int,
    *,
    first: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Trace:
    """Call ``definition`` on ``streams`` symbolic streams and return the trace.

    Raises:
        InputError: the definition returns something else than values of this trace.
    """
    net = Net(rule, first=first)
    inputs = tuple(net.stream(position) for position in range(streams))
    result = definition(inputs[0] if streams == 1 else inputs, net, **(options or {}))
    outputs = result if isinstance(result, tuple) else (result,)
    for output in outputs:
        net._check(output)
    return net.finish(inputs, outputs)
