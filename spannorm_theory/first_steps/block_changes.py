r"""What a block's streams move by: changes along its trace, against the gradients along its adjoint (T13.8).

Gradients in a block are sums of atoms: those that come in at its outputs, and what each branch hands back.
A value moves by a matrix of tokens times each atom, and by noise of each source: the streams' own, and what
every branch adds. Behind the block the atoms that its branches handed back have no part in the gradient
any more, and are noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from ..moments.adjoint import Adjoint
from ..moments.algebra import Moments
from ..spec.graph import Branch, Norm, Stream, Sum, Value
from .branch_changes import Change

Matrices = list[list[Array]]


@dataclass(frozen=True)
class StreamChanges:
    """What streams move by.

    Attributes:
        linear: K_ij from the gradient of stream j to stream i.
        noise: Grams W_ij of what is left.
    """

    linear: Matrices
    noise: Matrices

    @classmethod
    def none(cls, streams: int, tokens: int) -> StreamChanges:
        """No change."""
        nothing = [[np.zeros((tokens, tokens))] * streams] * streams
        return cls(nothing, nothing)

    def total(self, grads: Matrices) -> Matrices:
        """T_ij, Grams of the changes, for Grams of the gradients."""
        k, count = self.linear, range(len(self.linear))
        return [
            [
                self.noise[i][j] + sum(k[i][a] @ grads[a][b] @ k[j][b].T for a in count for b in count)
                for j in count
            ]
            for i in count
        ]


@dataclass
class _Moved:
    """A value's change: matrices by atom, and factors by source of noise."""

    linear: dict[int, Array]
    noise: dict[int, Any]


#: a branch's change, given the branch, K of its input in what the branch hands back, and T of its input
Transport = Callable[[Branch, Array, Array], Change]


class BlockChanges:
    """One block.

    Args:
        adjoint: the block turned around.
        forward, back: covariances of its values, and of its gradients.
        entering: what its streams move by.
        transport: what its branches move by.
    """

    def __init__(
        self, adjoint: Adjoint, forward: Moments, back: Moments, entering: StreamChanges, transport: Transport
    ) -> None:
        self._adjoint, self._forward, self._back = adjoint, forward, back
        self._entering, self._transport = entering, transport
        self._tokens = len(entering.linear[0][0])
        nodes = adjoint.trace.nodes
        self._by_index = {node.index: node for node in nodes}
        self._handed = {origin.index: index for index, origin in adjoint.origin.items()}
        self._sources: dict[int, Array] = {}
        self._moved: dict[int, _Moved] = {}
        for node in forward.trace.nodes:
            self._moved[node.index] = self._move(node)

    def outputs(self) -> StreamChanges:
        """What the outgoing streams move by."""
        ends, atoms = self._forward.trace.outputs, self._adjoint.trace.streams
        count, nothing = range(len(ends)), np.zeros((self._tokens,) * 2)
        linear = [[self._moved[v.index].linear.get(a.index, nothing) for a in atoms] for v in ends]
        grads = [[self._cov(a.index, b.index) for b in atoms] for a in atoms]
        noise = [
            [
                self._total(ends[i], ends[j])
                - sum(linear[i][a] @ grads[a][b] @ linear[j][b].T for a in count for b in count)
                for j in count
            ]
            for i in count
        ]
        return StreamChanges(linear, noise)

    def _move(self, node: Value) -> _Moved:
        match node:
            case Stream():
                return self._stream(node)
            case Norm():
                return self._combined([(self._forward.norm_factor(node), node.source)])
            case Sum():
                return self._combined([(self._forward.coefficient(c), value) for c, value in node.terms])
            case _:
                assert isinstance(node, Branch)
                return self._branch(node)

    def _stream(self, node: Stream) -> _Moved:
        at, linear = node.position, dict[int, Array]()
        for j, end in enumerate(self._adjoint.trace.outputs):
            for atom, factor in self._atoms(end).items():
                part = self._entering.linear[at][j] * factor
                linear[atom] = linear[atom] + part if atom in linear else part
        return _Moved(linear, {node.index: 1.0})

    def _combined(self, terms: list[tuple[Any, Value]]) -> _Moved:
        linear: dict[int, Array] = {}
        noise: dict[int, Any] = {}
        for factor, value in terms:
            rows = np.asarray(factor, dtype=float)[..., None]
            for atom, part in self._moved[value.index].linear.items():
                linear[atom] = linear.get(atom, 0.0) + rows * part
            for source, size in self._moved[value.index].noise.items():
                noise[source] = noise.get(source, 0.0) + np.asarray(factor) * size
        return _Moved(linear, noise)

    def _branch(self, node: Branch) -> _Moved:
        if node.index not in self._adjoint.at:  # nothing reads it
            return _Moved({}, {})
        handed = self._handed[node.index]
        entering = self._moved[node.source.index].linear.get(handed, np.zeros((self._tokens,) * 2))
        change = self._transport(node, entering, self._total(node.source, node.source))
        self._sources[node.index] = change.noise
        atoms = self._atoms(self._adjoint.at[node.index])
        return _Moved({atom: change.linear * factor for atom, factor in atoms.items()}, {node.index: 1.0})

    def _atoms(self, value: Value) -> dict[int, Any]:
        """Factors of a gradient by atom, numbers or (tokens,)."""
        if not isinstance(value, Sum):
            return {value.index: 1.0}
        found: dict[int, Any] = {}
        for factor, term in value.terms:
            for atom, own in self._atoms(term).items():
                found[atom] = found.get(atom, 0.0) + self._back.coefficient(factor) * own
        return found

    def _cov(self, first: int, second: int) -> Any:
        return self._back.cov(self._by_index[first], self._by_index[second])

    def _total(self, v: Value, w: Value) -> Array:
        """Gram of the changes of two values."""
        one, two = self._moved[v.index], self._moved[w.index]
        total = np.zeros((self._tokens,) * 2)
        for a, k in one.linear.items():
            for b, h in two.linear.items():
                cov = self._cov(a, b)
                if np.ndim(cov):
                    total = total + k @ cov @ h.T
        for s, x in one.noise.items():
            for t, y in two.noise.items():
                cov = self._noise(s, t)
                if np.ndim(cov):
                    total = (
                        total + np.multiply.outer(x * np.ones(self._tokens), y * np.ones(self._tokens)) * cov
                    )
        return total

    def _noise(self, first: int, second: int) -> Any:
        if first in self._sources or second in self._sources:
            return self._sources[first] if first == second else 0.0
        nodes = {s.index: s.position for s in self._forward.trace.streams}
        return self._entering.noise[nodes[first]][nodes[second]]
