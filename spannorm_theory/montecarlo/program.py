"""A placement's trace as a program on tensors, with every coefficient evaluated beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from sympy import Expr

from ..base.errors import InputError
from ..gaussian.activations import ACTIVATIONS
from ..layers.attention_op import attention_forward
from ..layers.experts import gates_of
from ..layers.experts_op import moe_forward
from ..layers.feedforward_op import ffn_forward
from ..layers.norm_op import normalise
from ..spec.architecture import Architecture
from ..spec.expressions import over_layers
from ..spec.graph import Branch, Gain, Norm, Product, Stream, Sum, Trace
from .randomness import Purpose
from .weights import Matrix, Weights


class Program:
    """The operations of an :class:`Architecture` on tensors of shape (networks, tokens of a step, width).

    Attributes:
        streams: number of residual streams.
        names: the weight matrices that its blocks use; experts share names.
        gains: the multipliers that its blocks learn.
    """

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.streams = arch.definition.streams
        wirings, order = arch.wirings
        traces = [trace for trace, _ in wirings]
        self._blocks = [wirings[which] for which in order]
        self._drawn = {own: (own.weights, own.base_gains) for _, own in wirings}
        self._readout = arch.readout
        self._coefficients: dict[Expr, dict[int, float]] = {}
        for i, trace in enumerate(traces):
            layers = np.flatnonzero(np.equal(order, i))
            self._evaluate(trace.multipliers, layers)
            for branch in trace.branches:
                factors = branch.gains, branch.std, branch.outputs
                self._evaluate([x for found in factors for x in found.values()], layers)
        self._evaluate(self._readout.multipliers, np.zeros(1, dtype=int))
        branches = [branch for trace in traces for branch in trace.branches]
        self.gains = tuple(dict.fromkeys(gain.name for trace in traces for gain in trace.gains))
        self.names = tuple(name for name in arch.weights if any(b.owns(name) for b in branches))

    def _evaluate(self, expressions: Sequence[Expr], layers: NDArray[np.intp]) -> None:
        """Values of expressions in (l, L, d) at the layers where they stand."""
        for expression in expressions:
            found = over_layers(expression, self.arch, layers.astype(float)).tolist()
            self._coefficients.setdefault(expression, {}).update(zip(layers.tolist(), found, strict=True))

    def matrices(self, layer: int) -> dict[str, Matrix]:
        """The law of each weight matrix of a block."""
        gains: dict[str, Expr] = {}
        stated: dict[str, Expr] = {}
        outward: dict[str, Expr] = {}
        trace, arch = self._blocks[layer]
        for branch in trace.branches:
            gains |= branch.gains
            stated |= branch.std
            outward |= branch.outputs
        result, (shapes, base) = {}, self._drawn[arch]
        for name in filter(shapes.__contains__, self.names):
            inputs, outputs = shapes[name]
            std = self._coefficients[stated[name]][layer] if name in stated else sqrt(base[name] / inputs)
            gain = self._coefficients[gains[name]][layer] if name in gains else 1.0
            factor = self._coefficients[outward[name]][layer] if name in outward else 1.0
            matrix = Matrix(inputs, outputs, abs(std * gain), arch.draw, factor)
            result.update(dict.fromkeys(self.copies(name, layer), matrix))
        return result

    def starts(self, layer: int) -> dict[str, float]:
        """The numbers at which the multipliers that a block learns start."""
        trace, _ = self._blocks[layer]
        return {gain.name: self._coefficients[gain.terms[0][0]][layer] for gain in trace.gains}

    def applies(self, name: str, layer: int) -> bool:
        """Whether a branch of block ``layer`` applies the matrix called ``name``."""
        trace, _ = self._blocks[layer]
        return any(branch.owns(name) for branch in trace.branches)

    def copies(self, name: str, layer: int) -> list[str]:
        """The keys, in the weights of block ``layer``, of the matrices that go by ``name``."""
        count = self._blocks[layer][1].copies(name)
        return [name] if count == 1 else [f"{name}.{i}" for i in range(count)]

    def block(self, layer: int, streams: Sequence[torch.Tensor], weights: Weights) -> list[torch.Tensor]:
        """The streams after block ``layer``."""
        trace, arch = self._blocks[layer]
        return self._run(trace, arch, layer, streams, weights)

    def readout(self, streams: Sequence[torch.Tensor]) -> torch.Tensor:
        """The model's output."""
        return self._run(self._readout, self.arch, 0, streams, None)[0]

    def _run(
        self,
        trace: Trace,
        arch: Architecture,
        layer: int,
        streams: Sequence[torch.Tensor],
        weights: Weights | None,
    ) -> list[torch.Tensor]:
        values: dict[int, torch.Tensor] = {}
        for node in trace.nodes:
            match node:
                case Stream():
                    value = streams[node.position]
                case Norm():
                    epsilon, gain = (self._coefficients[x][layer] for x in (node.epsilon, node.gain))
                    value = normalise(values[node.source.index], arch.norm, epsilon, gain)
                case Branch() if node.gates and weights is not None:
                    (name,) = node.std
                    value = torch.tanh(weights(values[node.source.index], name))
                case Product():
                    value = values[node.gate.index] * values[node.source.index]
                case Branch():
                    value = self._branch(node, arch, values[node.source.index], weights)
                    if weights is not None:
                        weights.passed(node.kind, value)
                case Gain() if weights is not None:
                    factor = self._coefficients[node.terms[0][0]][layer]
                    value = weights.multiply(values[node.source.index], factor, node.name)
                case Sum():
                    terms = [(self._coefficients[c][layer], values[v.index]) for c, v in node.terms]
                    value = _combine(terms)
                case _:
                    raise InputError(f"no tensor operation for {type(node).__name__}")
            values[node.index] = value
        return [values[output.index] for output in trace.outputs]

    def _branch(
        self, node: Branch, arch: Architecture, x: torch.Tensor, weights: Weights | None
    ) -> torch.Tensor:
        if node.elementwise:
            return ACTIVATIONS[node.kind].torch_function(x)
        assert weights is not None
        inner_norm = arch.norm if node.inner_norm else None
        if node.kind == "ffn":
            if arch.experts > 1:
                y = _experts(arch, x, weights)
            else:
                y = ffn_forward(x, weights, arch.nonlinearity, inner_norm)
                if self.arch.experts > 1:  # elsewhere
                    weights.observed["ffn.router", "load_imbalance"] = x.new_zeros(
                        len(x), dtype=torch.float64
                    )
            return weights.dropout(y, Purpose.FFN_DROPOUT, arch.dropout)
        y = attention_forward(
            x,
            weights,
            arch=arch,
            attends=arch.attends(node),
            normed=arch.normed(node),
            inner_norm=inner_norm,
            drop=lambda a: weights.dropout(a, Purpose.WEIGHT_DROPOUT, arch.attention_dropout),
        )
        return weights.dropout(y, Purpose.ATTENTION_DROPOUT, arch.dropout)


def _experts(arch: Architecture, x: torch.Tensor, weights: Weights) -> torch.Tensor:
    out, weights.observed["ffn.router", "load_imbalance"] = moe_forward(
        x,
        weights,
        arch.nonlinearity,
        gates=gates_of(arch),
        shared=arch.shared_experts,
        shared_gate=arch.shared_gate,
        factor=arch.routed_scale,
        whole=weights.whole,
        sequence=arch.tokens,
    )
    return out


def _combine(terms: list[tuple[float, torch.Tensor]]) -> torch.Tensor:
    factor, total = terms[0]
    if factor != 1:
        total = factor * total
    for factor, value in terms[1:]:
        total = torch.add(total, value, alpha=factor)
    return total
