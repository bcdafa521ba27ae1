"""The first step of a user's module, measured: a real step of its matrices, and what that moves.

Gradients are those of the probe loss, the mean over sequences of random products with the last hidden state.
Changes of the stream are half the difference of two runs, with a small multiple of the step added to the
matrices and taken from them, over that multiple: what is left is of its second order. The whole step is
taken, too, and only the output's change by it is kept. The module is left as it was found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from ..base.callables import calling
from ..base.errors import InputError, shown
from ..base.quantities import OUTPUT
from ..first_steps.optimisers import Optimiser
from ..first_steps.step_rows import StepRows
from ..first_steps.updates_op import update
from .blocks import Blocks
from .inputs import Feed
from .mode import in_mode
from .networks import probe_gradient, seeded
from .passes import Around
from .readout import readout_of
from .roles import BlockMatrices, Part
from .stream import cut_of, stream_count
from .tape import Tape

#: a function of a module that makes its own torch optimiser
Make = Callable[[nn.Module], Any]
Tensors = list[torch.Tensor]

#: share of the stream by which the small step moves it, and by how much that may be missed
SMALL, SLACK = 0.01, 3.0


class Plan(NamedTuple):
    """The step that is taken.

    Attributes:
        rule: U(G), where ``make`` is None.
        rates: learning rates by role, and that of any other.
        make: of the module's own optimiser.
    """

    rule: Optimiser
    rates: Mapping[str, float]
    other: float
    make: Make | None


class Run(NamedTuple):
    """One run: streams at every boundary, (sequences, tokens, width), and the output; gradients there, where
    there was a backward pass."""

    streams: list[Tensors]
    output: torch.Tensor
    grads: list[Tensors]
    output_grad: torch.Tensor
    paths: list[str]


class ModuleStep(StepRows):
    """The step of one network on one set of inputs.

    Attributes:
        found: as of :class:`.step_rows.StepRows`.
        sequences, depth, tokens: of the stream.
        size: root of the output's change by the whole step over the output, in the mean square.
        linear: that change over what it is to first order, likewise.
    """

    def __init__(
        self,
        model: nn.Module,
        blocks: Blocks,
        feed: Feed,
        plan: Plan,
        seed: int,
        matrices: Sequence[BlockMatrices],
    ) -> None:
        self._block_matrices = matrices
        super().__init__(type(model).__name__)
        self._model, self._blocks, self._feed, self._plan, self._seed = model, blocks, feed, plan, seed
        with in_mode(model, False), torch.enable_grad(), seeded(seed):
            leaves = {
                name: nn.Parameter(p.detach().clone()) if p.is_floating_point() else p
                for name, p in model.named_parameters()
            }
            buffers = {name: b.detach().clone() for name, b in model.named_buffers()}
            inside = {f"model.{name}": value for name, value in (*leaves.items(), *buffers.items())}
            functional_call(Around(model), inside, (self._run,))
        del self._block_matrices
        del self._model, self._blocks, self._feed, self._plan

    def _run(self) -> None:
        run = self._pass(backward=True)
        if len(set(run.paths)) < len(run.paths):
            raise InputError("blocks that are called more than once share their step; audit without step=")
        self.depth, (self.sequences, self.tokens, _) = len(run.paths), run.streams[0][0].shape
        modules = dict(self._blocks.modules)
        own = [dict(modules[path].named_parameters()) for path in run.paths]
        for p in (p for parameters in own for p in parameters.values()):
            if p.is_floating_point() and p.dtype.itemsize < 4:
                raise InputError(f"a step is measured in float32 or float64, and blocks are {p.dtype}")
        parts = [matrices.parts for matrices in self._block_matrices]
        with torch.no_grad():
            changes = self._changes(own, parts)
        self._matrices(own, parts, changes)
        self._streams(run, own, changes)

    def _pass(self, backward: bool = False) -> Run:
        model, tape = self._model, Tape(self._blocks)
        with tape.on(model):
            with calling(model.forward, type(model).__name__, " on its inputs"):
                output = self._feed(model)
            tape.close()
            count = stream_count(tape, self._blocks)
            cut = cut_of(tape.calls, self._blocks.first, self._feed.shape)
            tape.watch_end()
            end, grad = readout_of(tape, output).tensor, torch.zeros(())
            if backward:
                grad = probe_gradient(end, self._seed) / len(cut(tape.calls[0].before[0])[0])
                torch.autograd.backward(end, grad)
        found = [call.before for call in tape.calls] + [tape.calls[-1].after]
        streams = [[s.double() for x in at[:count] for s in cut(x)] for at in found]
        seen = [*(call.grads for call in tape.calls), tape.end_grads] if backward else []
        given = [
            [g.get(i, torch.zeros_like(at[i])) for i in range(count)]
            for g, at in zip(seen, found, strict=False)
        ]
        grads = [[s.double() for x in at for s in cut(x)] for at in given]
        return Run(streams, end.detach().double(), grads, grad.double(), [call.path for call in tape.calls])

    def _changes(self, own: list[dict[str, nn.Parameter]], parts: Any) -> list[dict[str, torch.Tensor]]:
        """The change of every parameter with a matrix that has a role, by block and name."""
        if self._plan.make is not None:
            return self._own_step(self._plan.make, own, parts)
        changes = []
        for parameters, matrices in zip(own, parts, strict=True):
            change: dict[str, torch.Tensor] = {}
            for part in matrices:
                p = parameters[part.name]
                whole = change.setdefault(part.name, torch.zeros_like(p))
                if p.grad is None:
                    continue
                rate = self._plan.rates.get(part.role, self._plan.other)
                self._put_into(whole, part, -rate * self._update(part.of(p.grad)))
            changes.append(change)
        return changes

    def _update(self, gradient: torch.Tensor) -> torch.Tensor:
        if gradient.ndim == 3:
            return torch.stack([self._update(one) for one in gradient])
        return update(self._plan.rule, gradient, self.sequences * self.tokens)

    def _put_into(self, whole: torch.Tensor, part: Part, change: torch.Tensor) -> None:
        """Write a part of a parameter, (..., outputs, inputs)."""
        rows = whole.mT if part.transposed else whole
        if part.rows is None:
            rows.copy_(change)
        else:
            rows.index_copy_(-2, part.rows.to(rows.device), change)

    def _own_step(self, make: Make, own: Any, parts: Any) -> list[dict[str, torch.Tensor]]:
        """The change by the module's own optimiser, whose parameters stand as before afterwards."""
        before = [(p, p.detach().clone()) for p in self._model.parameters()]
        with calling(make, "optimiser", " on the module"):
            optimiser = make(self._model)
        if not isinstance(optimiser, torch.optim.Optimizer):
            raise InputError(f"optimiser must return a torch.optim.Optimizer, got {shown(optimiser)}")
        optimiser.step()
        kept = {id(p): old for p, old in before}
        changes = [
            {part.name: parameters[part.name] - kept[id(parameters[part.name])] for part in matrices}
            for parameters, matrices in zip(own, parts, strict=True)
        ]
        for p, old in before:
            p.copy_(old)
        return changes

    def _matrices(self, own: Any, parts: Any, changes: list[dict[str, torch.Tensor]]) -> None:
        slopes = np.zeros(self.depth)
        for layer, (parameters, matrices, change) in enumerate(zip(own, parts, changes, strict=True)):
            for role in dict.fromkeys(part.role for part in matrices):
                mine = [part for part in matrices if part.role == role]
                w, g, dw = (
                    torch.cat([part.of(of(part.name)).detach().double().flatten() for part in mine])
                    for of in (
                        parameters.__getitem__,
                        lambda name, own=parameters: _gradient(own[name]),
                        change.__getitem__,
                    )
                )
                slope = -float((g * dw).sum())
                slopes[layer] += slope
                self.put(role, "update_ratio", layer, (dw.square().sum() / w.square().sum()).sqrt())
                self.put(role, "grad_l1", layer, g.abs().sum())
                self.put(role, "loss_slope", layer, max(slope, 0.0))
        if not slopes.sum() > 0:
            raise InputError("the step does not decrease the loss: no matrix of the blocks moves")
        self.shares(slopes)

    def _streams(self, run: Run, own: Any, changes: list[dict[str, torch.Tensor]]) -> None:
        small = min(
            float(own[l][name].detach().norm() / dw.norm())
            for l, change in enumerate(changes)
            for name, dw in change.items()
            if bool(dw.any())
        )
        scale = SMALL * small
        for _ in range(4):
            moved, output = self._difference(own, changes, scale)
            share = max(
                float((scale**2 * x.square().mean() / y.square().mean()).sqrt())
                for at, streams in zip([*moved, [output]], [*run.streams, [run.output]], strict=True)
                for x, y in zip(at, streams, strict=True)
            )
            if SMALL / SLACK <= share <= SMALL * SLACK:
                break
            scale *= SMALL / share
        for layer, (at, grads) in enumerate(zip(moved, run.grads, strict=True)):
            now = at if layer else [torch.full_like(x, torch.nan) for x in at]
            for i, x in enumerate(now):
                self.put(str(i), "stream_change", layer, x.square().mean())
            self.coherent("all", layer, now, grads)
        self.put(OUTPUT, "stream_change", 0, output.square().mean())
        self.coherent(OUTPUT, 0, [output], [run.output_grad])
        whole = (self._moved_by(own, changes, 1.0).output - run.output).square().mean()
        self.size = float((whole / run.output.square().mean()).sqrt())
        self.linear = float((whole / output.square().mean()).sqrt())

    def _difference(self, own: Any, changes: Any, scale: float) -> tuple[list[Tensors], torch.Tensor]:
        """First-order changes of streams and output."""
        ahead, behind = (self._moved_by(own, changes, s) for s in (scale, -scale))
        moved = [
            [(x - y) / (2 * scale) for x, y in zip(*both, strict=True)]
            for both in zip(ahead.streams, behind.streams, strict=True)
        ]
        return moved, (ahead.output - behind.output) / (2 * scale)

    def _moved_by(self, own: Any, changes: Any, scale: float) -> Run:
        """A run with a multiple of the step added."""
        before = [
            {name: own[l][name].detach().clone() for name in change} for l, change in enumerate(changes)
        ]
        with torch.no_grad():
            for l, change in enumerate(changes):
                for name, dw in change.items():
                    own[l][name].add_(scale * dw)
        try:
            return self._pass()
        finally:
            with torch.no_grad():
                for l, kept in enumerate(before):
                    for name, old in kept.items():
                        own[l][name].copy_(old)


def _gradient(p: nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad
