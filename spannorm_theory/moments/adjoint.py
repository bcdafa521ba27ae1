r"""The backward pass of a traced block, as a trace of its own (T4.1).

Gradients run through the same kinds of node in the opposite direction:

    sum c_i a_i   ->  c_i times the gradient, to each a_i
    norm(a)       ->  g / sqrt(q_a + epsilon) times it (the projection off a is O(1/d))
    t o a         ->  the gradient times a, to the gate t, and times t, to a (T5.9)
    branch F(a)   ->  a fresh independent direction, whose moments follow from the gradient at F(a)

so the gradient of every value is a :class:`Sum`, and :class:`~spannorm_theory.moments.algebra.Moments`
evaluates its moments with the same rules. That the branch's backward output is uncorrelated with every
other gradient is the gradient-independence assumption of mean-field theory (exact at leading order when
each weight is used once and the loss gradient is independent of the body's weights).
"""

from __future__ import annotations

from typing import Any

from sympy import Integer

from ..spec.graph import Branch, Norm, Product, Sum, Value
from ..spec.net import Net
from ..spec.scaling import Multipliers, ScalingRule
from .algebra import Moments


class Adjoint:
    """The reversed graph of ``forward.trace``.

    Attributes:
        trace: its streams are the gradients at the block's outputs, its outputs those at its inputs.
        at: for each forward value that something reads, the adjoint value that holds its gradient.
        origin: the forward branch of each adjoint branch (by its index in the adjoint).
    """

    def __init__(self, forward: Moments) -> None:
        source = forward.trace
        net = Net(ScalingRule("adjoint", "", "", lambda *_: Multipliers()))
        streams = tuple(net.stream(i) for i in range(len(source.outputs)))
        pending: dict[int, list[tuple[Any, Value]]] = {node.index: [] for node in source.nodes}
        for stream, output in zip(streams, source.outputs, strict=True):
            pending[output.index].append((Integer(1), stream))
        self.at: dict[int, Value] = {}
        self.origin: dict[int, Branch] = {}
        inputs: dict[int, Value] = {}
        for node in reversed(source.nodes):
            if not pending[node.index]:
                continue  # nothing downstream reads it
            self.at[node.index] = gradient = net.sum(pending[node.index])
            if isinstance(node, Sum):
                for factor, value in node.terms:
                    pending[value.index].append((forward.coefficient(factor), gradient))
            elif isinstance(node, Norm):
                pending[node.source.index].append((forward.norm_factor(node), gradient))
            elif isinstance(node, Product):
                for value, other in ((node.gate, node.source), (node.source, node.gate)):
                    by = forward.algebra.turned(forward.cov(other, other))
                    pending[value.index].append((Integer(1), net.modulated(gradient, by)))
            elif isinstance(node, Branch):
                back = net.branch(node.kind, gradient, node.normed, node.inner_norm)
                self.origin[back.index] = node
                pending[node.source.index].append((Integer(1), back))
            else:
                inputs[node.index] = gradient
        nothing = net.sum([])  # the gradient of a stream that nothing reads
        self.trace = net.finish(streams, tuple(inputs.get(s.index, nothing) for s in source.streams))
