"""Run a placement's definition once and keep what it did, as a small graph.

A placement is a Python function on residual streams. :class:`Net` is the object that it receives;
each call adds a node. Every reader (moments, adjoint, torch, diagram) interprets the same nodes, so
a placement is written once and can never mean two things.

Five kinds of node suffice: an incoming :class:`Stream`, a :class:`Norm`, the output of a
:class:`Branch` (attention, feed-forward, an element-wise function that stands for a norm, or a gate), a
:class:`Sum` with coefficients, of which a :class:`Gain` is one whose only coefficient is learnt, and the
:class:`Product` of a value and a gate.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from sympy import Expr, Integer

from .expressions import exact
from .reach import OPEN, Reach

#: branches with weights, each with the prefix of its matrices' names
SUBLAYERS = {"attention": "attn.", "ffn": "ffn."}

#: gates, tanh(x W) with a fresh matrix W: one number for each coordinate, or for each token; with the prefix
#: of their matrices' names
GATES = {"gate": "gate.", "token-gate": "token_gate."}

#: matrices through which a branch's output is linear
VALUE_PATH = {"attention": ("attn.value", "attn.output"), "ffn": ("ffn.up", "ffn.down")}

#: what QK norm and QKV norm are norms of
QK, QKV = ("query", "key"), ("query", "key", "value")


class Recorder(Protocol):
    """Recorder of the arithmetic of values: :class:`.net.Net`."""

    def sum(self, terms: list[tuple[Any, Value]]) -> Sum:
        """A linear combination of values of this recorder."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of shape (tokens, width) inside a block; supports ``+``, ``-``, and ``*`` and ``/`` by numbers
    and expressions in (l, L, d)."""

    net: Recorder
    index: int

    def __add__(self, other: Value) -> Sum:
        return self.net.sum([(Integer(1), self), (Integer(1), other)])

    def __sub__(self, other: Value) -> Sum:
        return self.net.sum([(Integer(1), self), (Integer(-1), other)])

    def __neg__(self) -> Sum:
        return self * -1

    def __mul__(self, factor: Any) -> Sum:
        return self.net.sum([(factor, self)])

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Sum:
        return self.net.sum([(1 / exact(divisor), self)])

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return ()

    @property
    def sublayers(self) -> frozenset[str]:
        """The branches that this value comes straight out of; none if a stream is in it."""
        return frozenset()


@dataclass(frozen=True, eq=False)
class Stream(Value):
    """An incoming residual stream."""

    position: int

    def __str__(self) -> str:
        return f"x{self.position}"


@dataclass(frozen=True, eq=False)
class Norm(Value):
    """The source over the root of its mean square over coordinates, plus ``epsilon``, times ``gain``."""

    source: Value
    epsilon: Expr
    gain: Expr

    def __str__(self) -> str:
        return f"norm({self.source})"

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return (self.source,)

    @property
    def sublayers(self) -> frozenset[str]:
        """The branches that this value comes straight out of; none if a stream is in it."""
        return self.source.sublayers


@dataclass(frozen=True, eq=False)
class Branch(Value):
    """The output of a branch of ``kind`` "attention" or "ffn", whose last weight matrix is fresh, of a gate
    of a kind in ``GATES``, or of an element-wise activation, whose kind is its name.

    Attributes:
        normed: which of "query", "key" and "value" the placement norms over each head.
        inner_norm: whether a norm stands in front of the last weight matrix.
        gains: the scaling rule's factor on the standard deviation of each matrix.
        std: the standard deviation itself, of matrices for which the rule states it.
        outputs: the rule's factor on what matrices put out, beside their entries.
        reach: which keys a token of an attention branch sees, where that is the branch's own.
    """

    kind: str
    source: Value
    normed: tuple[str, ...] = ()
    inner_norm: bool = False
    gains: Mapping[str, Expr] = field(default_factory=dict)
    std: Mapping[str, Expr] = field(default_factory=dict)
    outputs: Mapping[str, Expr] = field(default_factory=dict)
    reach: Reach = OPEN

    def __str__(self) -> str:
        norms = {0: "", 2: "qk-norm", 3: "qkv-norm"}[len(self.normed)]
        marks = ", ".join(filter(None, [norms, "inner-norm" if self.inner_norm else "", str(self.reach)]))
        return f"{self.kind}{f'[{marks}]' if marks else ''}({self.source})"

    @property
    def elementwise(self) -> bool:
        """Whether this is an activation that stands for a norm, and has no weights."""
        return self.kind not in SUBLAYERS and not self.gates

    @property
    def gates(self) -> bool:
        """Whether this is a gate, which products alone read."""
        return self.kind in GATES

    def owns(self, matrix: str) -> bool:
        """Whether this branch applies the matrix called ``matrix``."""
        if self.kind in SUBLAYERS:
            return matrix.startswith(SUBLAYERS[self.kind])
        return self.gates and matrix in self.std

    @property
    def silent(self) -> bool:
        """Whether the scaling rule makes a matrix on the way to the output zero."""
        matrices = VALUE_PATH.get(self.kind, ())
        found = self.gains, self.std, self.outputs
        return any(0 in [factors.get(name) for factors in found] for name in matrices)

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return (self.source,)

    @property
    def sublayers(self) -> frozenset[str]:
        """The branches that this value comes straight out of; none if a stream is in it."""
        return frozenset({self.kind} & SUBLAYERS.keys())


@dataclass(frozen=True, eq=False)
class Sum(Value):
    """A linear combination of values; the coefficients are expressions in (l, L, d)."""

    terms: tuple[tuple[Expr, Value], ...]

    def __str__(self) -> str:
        return " + ".join(_term(factor, value) for factor, value in self.terms)

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return tuple(value for _, value in self.terms)

    @property
    def sublayers(self) -> frozenset[str]:
        """The branches that this value comes straight out of; none if a stream is in it."""
        parts = [value.sublayers for _, value in self.terms]
        return frozenset().union(*parts) if all(parts) else frozenset()


def _term(factor: Expr, value: Value) -> str:
    """A value times its factor; a sum has brackets in a product alone."""
    if factor == 1:
        return str(value)
    left = f"({factor})" if factor.is_Add else str(factor)
    return f"{left}*({value})" if isinstance(value, Sum) else f"{left}*{value}"


@dataclass(frozen=True, eq=False)
class Gain(Sum):
    """One value times a learnt multiplier of each coordinate, all of which start at the one coefficient.

    Attributes:
        name: what its gradient goes by, as "attn.multiplier".
    """

    name: str

    @property
    def source(self) -> Value:
        """The value that is multiplied."""
        return self.terms[0][1]


@dataclass(frozen=True, eq=False)
class Product(Value):
    """A value times a gate, coordinate by coordinate."""

    gate: Branch
    source: Value

    def __str__(self) -> str:
        left, right = (f"({x})" if isinstance(x, Sum) else str(x) for x in (self.gate, self.source))
        return f"{left}*{right}"

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return self.gate, self.source

    @property
    def sublayers(self) -> frozenset[str]:
        """The branches that this value comes straight out of; none if a stream is in it."""
        return self.source.sublayers


@dataclass(frozen=True, eq=False)
class Modulated(Value):
    """A gradient times what is independent of it and has mean zero, behind a product on its way back.

    Attributes:
        by: covariance of that between two tokens.
    """

    source: Value
    by: Any

    @property
    def sources(self) -> tuple[Value, ...]:
        """The values that this one is computed from."""
        return (self.source,)


@dataclass(frozen=True, eq=False)
class Trace:
    """The nodes of one block (or readout) in order of computation, and what it returns; equal to every other
    one that does the same by the same steps."""

    streams: tuple[Stream, ...]
    nodes: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @cached_property
    def _key(self) -> tuple[Hashable, ...]:
        return tuple(_row(node) for node in self.nodes), tuple(output.index for output in self.outputs)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Trace) and self._key == other._key)

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The block's branches in order of computation."""
        return tuple(node for node in self.nodes if isinstance(node, Branch))

    @property
    def gains(self) -> tuple[Gain, ...]:
        """The block's learnt multipliers in order of computation."""
        return tuple(node for node in self.nodes if isinstance(node, Gain))

    @property
    def products(self) -> tuple[Product, ...]:
        """The block's products with gates in order of computation."""
        return tuple(node for node in self.nodes if isinstance(node, Product))

    def only_normed(self, value: Value) -> bool:
        """Whether nothing but norms reads a value, or multiples of it, so that its size is of no matter."""
        readers = [node for node in self.nodes if any(source is value for source in node.sources)]
        alone = [node for node in readers if isinstance(node, Sum) and len(node.terms) == 1]
        others = [node for node in readers if node not in alone]
        read = readers and not any(output is value for output in self.outputs)
        scale_free = (isinstance(n, Norm) and n.epsilon == 0 for n in others)
        return bool(read) and all(scale_free) and all(map(self.only_normed, alone))

    @property
    def multipliers(self) -> tuple[Expr, ...]:
        """Every distinct expression in (l, L, d) of the block: factors of sums, epsilons and gains of
        norms."""
        found: list[Expr] = []
        for node in self.nodes:
            if isinstance(node, Sum):
                found += [factor for factor, _ in node.terms]
            elif isinstance(node, Norm):
                found += [node.epsilon, node.gain]
        return tuple(dict.fromkeys(found))

    def __str__(self) -> str:
        return ", ".join(str(output) for output in self.outputs)


def _row(node: Value) -> Hashable:
    """A node, by what tells it from others at its place."""
    if isinstance(node, Sum):
        terms = tuple((factor, value.index) for factor, value in node.terms)
        return (node.name, terms) if isinstance(node, Gain) else terms
    if isinstance(node, Branch):
        factors = tuple(tuple(sorted(found.items())) for found in (node.gains, node.std, node.outputs))
        return node.kind, node.source.index, node.normed, node.inner_norm, factors, node.reach
    if isinstance(node, Norm):
        return "norm", node.source.index, node.epsilon, node.gain
    if isinstance(node, Product):
        return "product", node.gate.index, node.source.index
    return "stream", node.index
