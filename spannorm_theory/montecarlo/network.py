r"""Forward and backward pass of a batch of random stacks, measured at every layer.

The backward pass needs each block's intermediate tensors. The stack is cut into segments: the forward
pass keeps the streams at the start of each segment, and only the last segment's tensors; every other
segment is computed again, with the same weights, when the backward pass reaches it. One segment keeps
everything; segments of sqrt(depth) blocks keep the least.

The backward pass is linear in the gradient, so after each block the gradient is divided by a power of
two for each network and the exponent carried apart: no depth over- or underflows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ..base.quantities import INPUT, SPECTRAL, Key
from .boundary import embedding, loss_gradient
from .metrics import (
    block_change,
    gram,
    gram_moments,
    log_rank_residual,
    rank_metrics,
    second_moments,
    token_modes,
)
from .program import Program
from .randomness import Randomness
from .weights import Matrix, Weights

MakeWeights = Callable[[dict[str, Matrix], Randomness, int], Weights]
Streams = list[torch.Tensor]

LN2 = 0.6931471805599453

#: bytes of token Grams that wait for their eigenvalues; on a GPU each batch of eigenvalues costs a
#: synchronisation, and large batches are faster everywhere
WAITING = 1 << 26


@dataclass
class Record:
    """Measurements of a batch, per key one float64 tensor (networks,) for each layer.

    Those that need the eigenvalues of token Grams wait for each other until :meth:`finish`.
    """

    values: dict[Key, dict[int, torch.Tensor]] = field(default_factory=dict)
    _waiting: list[tuple[str, int, torch.Tensor]] = field(default_factory=list)

    def put(self, stream: str, quantity: str, layer: int, value: torch.Tensor) -> None:
        """Keep one measurement."""
        self.values.setdefault((stream, quantity), {})[layer] = value

    def boundary(self, layer: int, streams: Streams) -> None:
        """Measure the streams in front of block ``layer``."""
        for i, x in enumerate(streams):
            modes = gram(token_modes(x.double()))
            q, rho = gram_moments(modes, x.shape[-1])
            self.put(str(i), "variance", layer, q.log())
            self.put(str(i), "token_cosine", layer, rho)
            self.put(str(i), "rank_residual", layer, log_rank_residual(modes))
            self._waiting.append((str(i), layer, modes))
        if sum(modes.nbytes for _, _, modes in self._waiting) > WAITING:
            self.finish()

    def finish(self) -> None:
        """Take the eigenvalues that were waiting."""
        if self._waiting:
            found = rank_metrics(torch.stack([modes for _, _, modes in self._waiting]))
            for name, values in zip(SPECTRAL, found, strict=True):
                for (stream, layer, _), value in zip(self._waiting, values, strict=True):
                    self.put(stream, name, layer, value)
            self._waiting.clear()

    def block(self, layer: int, before: Streams, after: Streams) -> None:
        """Measure what block ``layer`` did to the streams."""
        for i, (x, y) in enumerate(zip(before, after, strict=True)):
            cosine, share = block_change(x, y)
            self.put(str(i), "layer_cosine", layer, cosine)
            self.put(str(i), "branch_share", layer, share)

    def gradient(self, layer: int, grads: Streams, exponent: torch.Tensor) -> None:
        """Measure gradients that have been divided by 2^exponent."""
        shift = 2 * LN2 * exponent
        for i, g in enumerate(grads):
            gamma, r = second_moments(g)
            self.put(str(i), "grad_variance", layer, gamma.log() + shift)
            self.put(str(i), "grad_token_cosine", layer, r)
        if layer == 0 and len(grads) > 1:
            gamma, _ = second_moments(torch.stack(grads).sum(0))
            self.put(*INPUT, layer, gamma.log() + shift)

    def weight_grads(self, layer: int, norms: dict[str, torch.Tensor], exponent: torch.Tensor) -> None:
        """Measure the weight gradients of block ``layer``, of a loss divided by 2^exponent."""
        logarithms = torch.stack(list(norms.values())).log() + 2 * LN2 * exponent
        for name, value in zip(norms, logarithms, strict=True):
            self.put(name, "weight_grad_norm", layer, value)


@dataclass
class Step:
    """A block whose backward pass is still to come."""

    layer: int
    inputs: Streams
    outputs: Streams
    weights: Weights


class Stack:
    """A batch of networks.

    Args:
        program: what they compute.
        make_weights: the engine.
        random: their random numbers.
        segment: number of blocks whose intermediate tensors are kept at a time.
        tick: called after each block of either pass; may raise to stop.
    """

    def __init__(
        self,
        program: Program,
        make_weights: MakeWeights,
        random: Randomness,
        segment: int,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.program = program
        self.random = random
        self.record = Record()
        self._make_weights = make_weights
        self._segment = segment
        self._tick = tick

    def run(self) -> Record:
        """One forward and one backward pass of all networks."""
        depth = self.program.arch.depth
        segments = [range(i, min(i + self._segment, depth)) for i in range(0, depth, self._segment)]
        streams = [self._embedding()] * self.program.streams
        self.record.boundary(0, streams)
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
        self.record.finish()
        return self.record

    def _embedding(self) -> torch.Tensor:
        return embedding(self.program.arch, self.random)

    def _weights(self, layer: int) -> Weights:
        return self._make_weights(self.program.matrices(layer), self.random, layer)

    def _measured(self, layer: int, before: Streams, after: Streams, weights: Weights) -> Streams:
        with torch.no_grad():
            for (stream, quantity), value in weights.observed.items():
                self.record.put(stream, quantity, layer, value)
            self.record.block(layer, before, after)
            self.record.boundary(layer + 1, after)
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
        gradient = loss_gradient(self.program.arch, self.random, output)
        grads = _gradients([output], inputs, [gradient])
        exponent = torch.zeros(len(output), dtype=torch.float64, device=output.device)
        grads, exponent = rescaled(grads, exponent)
        self.record.gradient(self.program.arch.depth, grads, exponent)
        return grads, exponent

    def _backward(
        self, steps: list[Step], grads: Streams, exponent: torch.Tensor
    ) -> tuple[Streams, torch.Tensor]:
        unreached = torch.zeros_like(exponent)
        while steps:
            step = steps.pop()
            grads = _gradients(step.outputs, step.inputs, grads)
            found = step.weights.grad_norms
            norms = {
                name: sum((found.get(copy, unreached) for copy in self.program.copies(name)), unreached)
                for name in (*self.program.names, *self.program.gains)
            }
            self.record.weight_grads(step.layer, norms, exponent)
            grads, exponent = rescaled(grads, exponent)
            self.record.gradient(step.layer, grads, exponent)
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
