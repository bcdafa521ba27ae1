"""One forward and one backward pass through a user's module, measured; the module is left as it was found.

Parameters and buffers are stood in for while it runs: parameters by new leaves over the same numbers, so that
gradients land beside the module's own, and flags of frozen ones need no change; buffers by copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from ..base.callables import calling
from ..base.errors import InputError, shown
from ..montecarlo.record import Record
from .blocks import Blocks
from .fused import FusedRows
from .inputs import Feed
from .mode import in_mode
from .networks import probe_gradient, seeded
from .readout import readout_of
from .roles import BlockMatrices, matrices_of, squared_norms
from .sizes import attention_sizes
from .stream import Cut, cut_of, stream_count
from .tape import Tape

Loss = Callable[[Any], torch.Tensor]


class Pass:
    """Measures one network on one set of inputs.

    Args:
        loss: None for the probe gradient, or a scalar function of the model's output.
        training: run in training mode, dropout included.
        fused: rows of fused matrices by role, where they were seen.

    Attributes:
        record: measurements by key and layer, one for each sequence.
        readout: where the probe gradient was put, in words.
        depth, width, tokens, sequences: sizes of the stream.
        matrices: of each block.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Blocks,
        feed: Feed,
        loss: Loss | None,
        seed: int,
        training: bool = False,
        fused: FusedRows | None = None,
    ) -> None:
        self._fused = fused or {}
        self.model, self.blocks, self.feed, self.loss, self.seed = model, blocks, feed, loss, seed
        self.record = Record()
        self.readout = "loss that was given"
        with in_mode(model, training), torch.enable_grad(), seeded(seed):
            leaves = {
                name: nn.Parameter(_numbers(p)) if p.is_floating_point() else p
                for name, p in model.named_parameters()
            }
            buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
            inside = {f"model.{name}": value for name, value in (*leaves.items(), *buffers.items())}
            functional_call(Around(model), inside, (self._run,))
        del self.model, self.blocks, self.feed, self.loss  # what is measured stays, not every network

    def _run(self) -> None:
        tape = Tape(self.blocks)
        with tape.on(self.model):
            with calling(self.model.forward, type(self.model).__name__, " on its inputs"):
                output = self.feed(self.model)
            tape.close()
            count = stream_count(tape, self.blocks)
            cut = cut_of(tape.calls, self.blocks.first, self.feed.shape)
            tape.watch_end()
            self._backward(tape, output)
        _, self.tokens, self.width = cut(tape.calls[0].before[0])[0].shape
        self.sequences = len(cut(tape.calls[0].before[0])[0])
        self.depth = len(tape.calls)
        self._forward_measures(tape, cut, count)
        self._gradient_measures(tape, cut, count)
        self._weight_measures(tape)
        self.record.finish()

    def _backward(self, tape: Tape, output: Any) -> None:
        if self.loss is None:
            readout = readout_of(tape, output)
            self.readout, end = readout.place, readout.tensor
            torch.autograd.backward(end, probe_gradient(end, self.seed))
            return
        with calling(self.loss, "loss", " on the model's output"):
            value = self.loss(output)
        if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
            raise InputError(f"loss must return a tensor of one number with a gradient, got {shown(value)}")
        torch.autograd.backward(value)

    def _forward_measures(self, tape: Tape, cut: Cut, count: int) -> None:
        before = [s for x in tape.calls[0].before[:count] for s in cut(x)]
        self.record.boundary(0, before)
        for l, call in enumerate(tape.calls):
            after = [s for x in call.after[:count] for s in cut(x)]
            self.record.block(l, before, after, {})
            self.record.boundary(l + 1, after)
            before = after

    def _gradient_measures(self, tape: Tape, cut: Cut, count: int) -> None:
        home = cut(tape.calls[0].before[0])[0].device
        zero = torch.zeros(self.sequences, dtype=torch.float64, device=home)
        found = [call.grads for call in tape.calls]
        for l, grads in enumerate([*found, tape.end_grads]):
            if not grads:
                raise InputError(
                    f"no gradient reaches the stream in front of block {l} of {self.blocks.path!r}: it "
                    "passes torch.no_grad or detach on the way"
                )
            like = tape.calls[min(l, len(found) - 1)].before
            given = [grads.get(i, torch.zeros_like(like[i])) for i in range(count)]
            self.record.gradient(l, [s for g in given for s in cut(g)], zero)

    def _weight_measures(self, tape: Tape) -> None:
        """Squared norms by role, of one sequence: independent gradients of several add up in the mean square.
        Blocks that are called more than once share their gradients, which are not one block's."""
        self.matrices: list[BlockMatrices] = []
        called = [call.path for call in tape.calls]
        modules = dict(self.blocks.modules)
        share = self.sequences if self.loss is None else 1
        for l, path in enumerate(called):
            block = modules[path]
            matrices = matrices_of(
                block, self.width, attention_sizes(self.model, block, self.width), self._fused
            )
            self.matrices.append(matrices)
            if called.count(path) > 1 or not matrices.parts:
                continue
            grads = {name: p.grad for name, p in block.named_parameters()}
            norms = {role: square / share for role, square in squared_norms(matrices, grads).items()}
            self.record.weight_grads(l, norms, torch.zeros(1, dtype=torch.float64))


def _numbers(parameter: torch.Tensor) -> torch.Tensor:
    """The parameter's own numbers; a copy where they were made in inference mode, which autograd refuses."""
    return parameter.clone() if parameter.is_inference() else parameter.detach()


class Around(nn.Module):
    """A module around the user's, so that a forward and a backward pass run where its parameters are stood in
    for."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, run: Callable[[], None]) -> None:
        """Run."""
        run()
