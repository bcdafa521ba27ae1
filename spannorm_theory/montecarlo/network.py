r"""Forward and backward pass of a batch of random stacks, measured at every layer.

The backward pass needs each block's intermediate tensors. The stack is cut into segments: the forward
pass keeps the streams at the start of each segment, and only the last segment's tensors; every other
segment is computed again, with the same weights, when the backward pass reaches it. One segment keeps
everything; segments of sqrt(depth) blocks keep the least.

The backward pass is linear in the gradient, so after each block the gradient is divided by a power of
two for each network and the exponent carried apart: no depth over- or underflows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from .boundary import embedding, embedding_grad_norm, loss_at, tied_product
from .program import Program
from .randomness import Randomness
from .record import Record, Streams
from .shared import SharedGradients
from .weights import Matrix, Weights

MakeWeights = Callable[[dict[str, Matrix], Randomness, int], Weights]


@dataclass
class Step:
    """A block whose backward pass is still to come."""

    layer: int
    inputs: Streams
    outputs: Streams
    weights: Weights


class Stack:
    """A batch of networks. Streams are measured in the first sequence of each, weights in all.

    Args:
        program: what they compute.
        make_weights: the engine.
        random: their random numbers.
        segment: number of blocks whose intermediate tensors are kept at a time.
        tick: called after each block of either pass; may raise to stop.
        record: keeps what is measured; None measures averages over tokens.
    """

    def __init__(
        self,
        program: Program,
        make_weights: MakeWeights,
        random: Randomness,
        segment: int,
        tick: Callable[[], None] = lambda: None,
        record: Record | None = None,
    ) -> None:
        self.program = program
        self.random = random
        self.record = record or Record()
        self._make_weights = make_weights
        self._segment = segment
        self._tick = tick
        arch = program.arch
        self._shared = SharedGradients(arch.unique_blocks or 1) if arch.shares_matrices else None

    def run(self) -> Record:
        """One forward and one backward pass of all networks."""
        depth = self.program.arch.depth
        segments = [range(i, min(i + self._segment, depth)) for i in range(0, depth, self._segment)]
        streams = [self._embedding()] * self.program.streams
        self.record.boundary(0, self._first(streams))
        starts = []
        for segment in segments[:-1]:
            starts.append(streams)
            with torch.no_grad():
                for layer in segment:
                    weights = self._weights(layer)
                    after = self.program.block(layer, streams, weights)
                    streams = self._measured(layer, streams, after, weights)
        steps = self._kept(segments[-1], streams, measure=True)
        grads, exponent = self._loss(steps[-1].outputs)
        grads, exponent = self._backward(steps, grads, exponent)
        for segment in reversed(segments[:-1]):
            steps = self._kept(segment, starts.pop(), measure=False)
            grads, exponent = self._backward(steps, grads, exponent)
        if self._logged:
            arch, at_input = self.program.arch, torch.stack(grads).sum(0)
            source = embedding_grad_norm(arch, self.random, at_input)
            self.record.log(self._logged, source, tied_product(arch, self._own, at_input), exponent)
        self.record.finish()
        return self.record

    def _first(self, streams: Streams) -> Streams:
        """The first sequence of a step."""
        return [x[:, : self.program.arch.tokens] for x in streams]

    def _embedding(self) -> torch.Tensor:
        return embedding(self.program.arch, self.random)

    def _weights(self, layer: int) -> Weights:
        made = self._make_weights(self.program.matrices(layer), self.random, layer)
        if self._shared is not None:
            made.gradients = {}
        return made

    def _measured(self, layer: int, before: Streams, after: Streams, weights: Weights) -> Streams:
        with torch.no_grad():
            self.record.block(layer, self._first(before), self._first(after), weights.observed)
            self.record.boundary(layer + 1, self._first(after))
        self._tick()
        return after

    def _kept(self, segment: range, streams: Streams, *, measure: bool) -> list[Step]:
        """Run a segment with autograd, one graph per block."""
        steps = []
        for layer in segment:
            inputs = [x.detach().requires_grad_() for x in streams]
            weights = self._weights(layer)
            with torch.enable_grad():
                outputs = self.program.block(layer, inputs, weights)
            steps.append(Step(layer, inputs, outputs, weights))
            if measure:
                self._measured(layer, streams, outputs, weights)
            streams = outputs
        return steps

    def _loss(self, streams: Streams) -> tuple[Streams, torch.Tensor]:
        """Gradients in front of the readout."""
        inputs = [x.detach().requires_grad_() for x in streams]
        with torch.enable_grad():
            output = self.program.readout(inputs)
        loss = loss_at(self.program.arch, self.random, output)
        self._logged, self._own = loss.logged, loss.own
        grads = _gradients([output], inputs, [loss.gradient])
        grads, exponent = rescaled(grads, self.random.zeros())
        self.record.gradient(self.program.arch.depth, self._first(grads), exponent)
        return grads, exponent

    def _backward(
        self, steps: list[Step], grads: Streams, exponent: torch.Tensor
    ) -> tuple[Streams, torch.Tensor]:
        unreached, copies = torch.zeros_like(exponent), self.program.copies
        while steps:
            step = steps.pop()
            grads = _gradients(step.outputs, step.inputs, grads)
            found: Mapping[str, torch.Tensor] | None = step.weights.grad_norms
            own = exponent
            if self._shared is not None:
                found, own = self._shared.add(step.layer, step.weights.gradients or {}, exponent)
            if found is not None:
                norms = {
                    name: sum((found.get(copy, unreached) for copy in copies(name, step.layer)), unreached)
                    / self.program.arch.batch**2
                    for name in (*self.program.names, *self.program.gains)
                }
                self.record.weight_grads(step.layer, norms, own)
            grads, exponent = rescaled(grads, exponent)
            self.record.gradient(step.layer, self._first(grads), exponent)
            self._tick()
        return grads, exponent


def _gradients(outputs: Sequence[torch.Tensor], inputs: Streams, grads: Streams) -> Streams:
    """Gradients at ``inputs`` given those at ``outputs``; an output may itself be an input."""
    found = torch.autograd.grad(outputs, inputs, grads, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def rescaled(grads: Streams, exponent: torch.Tensor) -> tuple[Streams, torch.Tensor]:
    """Divide each network's gradients by the power of two that brings the largest entry into [1/2, 1)."""
    largest = torch.stack([g.abs().amax((1, 2)) for g in grads]).amax(0)
    shift = torch.frexp(largest.double()).exponent
    scale = torch.ldexp(torch.ones_like(exponent), -shift).to(grads[0].dtype)[:, None, None]
    return [g * scale for g in grads], exponent + shift
