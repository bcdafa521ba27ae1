"""A placement's trace as a program on tensors, with every coefficient evaluated beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import torch
from sympy import Expr, lambdify

from .. import symbols
from ..architecture import Architecture
from ..components.attention_op import attention_forward
from ..components.feedforward import ffn_forward
from ..components.norms import normalise
from ..definitions.trace import Branch, Norm, Stream, Sum, Trace
from ..errors import InputError
from .randomness import Purpose
from .weights import Matrix, Weights

SUBLAYERS = {"attention": "attn.", "ffn": "ffn."}


class Program:
    """What an :class:`Architecture` does to tensors of shape (networks, tokens, width).

    Attributes:
        streams: number of residual streams.
        names: the weight matrices that its blocks use.
    """

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.streams = arch.definition.streams
        self._first, self._other = arch.block(first=True), arch.block()
        self._readout = arch.definition.trace_readout()
        self._coefficients: dict[Expr, list[float]] = {}
        for trace in (self._first, self._other, self._readout):
            self._check(trace)
            self._evaluate(trace.multipliers)
            self._evaluate([gain for branch in trace.branches for gain in branch.gains.values()])
        used = {b.kind for b in (*self._first.branches, *self._other.branches)}
        self.names = tuple(n for n in arch.weights if any(n.startswith(SUBLAYERS[kind]) for kind in used))
        self._gains = arch.base_gains

    def _check(self, trace: Trace) -> None:
        kinds = [branch.kind for branch in trace.branches]
        if len(kinds) != len(set(kinds)):
            raise InputError(
                f"the placement {self.arch.name} applies a branch twice in one block, but a block has one "
                "attention and one feed-forward branch and each weight is used once"
            )

    def _evaluate(self, expressions: Sequence[Expr]) -> None:
        """Values of expressions in (l, L, d) at every layer."""
        layers = np.arange(self.arch.depth, dtype=float)
        for expression in expressions:
            if expression not in self._coefficients:
                function = lambdify([symbols.layer, symbols.depth, symbols.width], expression, "numpy")
                values = np.broadcast_to(
                    function(layers, float(self.arch.depth), float(self.arch.width)), layers.shape
                )
                self._coefficients[expression] = [float(value) for value in values]

    def _trace(self, layer: int) -> Trace:
        return self._first if layer == 0 else self._other

    def matrices(self, layer: int) -> dict[str, Matrix]:
        """The law of each weight matrix of a block."""
        gains = {name: gain for branch in self._trace(layer).branches for name, gain in branch.gains.items()}
        result = {}
        for name in self.names:
            inputs, outputs = self.arch.weights[name]
            gain = self._coefficients[gains[name]][layer] if name in gains else 1.0
            result[name] = Matrix(inputs, outputs, sqrt(self._gains[name] / inputs) * abs(gain))
        return result

    def block(self, layer: int, streams: Sequence[torch.Tensor], weights: Weights) -> list[torch.Tensor]:
        """The streams after block ``layer``."""
        return self._run(self._trace(layer), layer, streams, weights)

    def readout(self, streams: Sequence[torch.Tensor]) -> torch.Tensor:
        """The model's output."""
        return self._run(self._readout, 0, streams, None)[0]

    def _run(
        self, trace: Trace, layer: int, streams: Sequence[torch.Tensor], weights: Weights | None
    ) -> list[torch.Tensor]:
        values: dict[int, torch.Tensor] = {}
        for node in trace.nodes:
            match node:
                case Stream():
                    value = streams[node.position]
                case Norm():
                    value = normalise(values[node.source.index], self.arch.norm)
                case Branch():
                    value = self._branch(node, values[node.source.index], weights)
                case Sum():
                    terms = [(self._coefficients[c][layer], values[v.index]) for c, v in node.terms]
                    value = _combine(terms)
                case _:
                    raise InputError(f"no tensor operation for {type(node).__name__}")
            values[node.index] = value
        return [values[output.index] for output in trace.outputs]

    def _branch(self, node: Branch, x: torch.Tensor, weights: Weights | None) -> torch.Tensor:
        arch = self.arch
        assert weights is not None
        if node.kind == "ffn":
            y = ffn_forward(x, weights, arch.nonlinearity)
            return weights.dropout(y, Purpose.FFN_DROPOUT, arch.dropout)
        y = attention_forward(
            x,
            weights,
            arch=arch,
            normed=arch.normed(node.qkv_norm),
            drop=lambda a: weights.dropout(a, Purpose.WEIGHT_DROPOUT, arch.attention_dropout),
        )
        return weights.dropout(y, Purpose.ATTENTION_DROPOUT, arch.dropout)


def _combine(terms: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
    factor, total = terms[0]
    if factor != 1:
        total = factor * total
    for factor, value in terms[1:]:
        total = torch.add(total, value, alpha=factor)
    return total
