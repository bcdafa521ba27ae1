"""The first step of random networks, measured: real gradients and updates, and derivatives along them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from tqdm.auto import tqdm

from ..base.errors import InputError
from ..base.quantities import OUTPUT
from ..layers.attention_tiles import tile_rows
from ..modules.sequences import step_of
from ..modules.transformer import Transformer
from ..montecarlo.global_state import one_thread
from ..montecarlo.program import Program
from ..montecarlo.randomness import Randomness
from ..spec.architecture import Architecture
from .moved import Network, Streams, Watched
from .optimisers import Optimiser
from .step_rows import Samples, StepRows, beyond, samples_of
from .updates_op import singular, update


def measure(
    arch: Architecture,
    rule: Optimiser,
    rates: Mapping[str, float],
    networks: int,
    seed: int,
    device: torch.device,
    progress: bool,
) -> Samples:
    """Quantities of the first step of ``networks`` networks, in float64.

    Args:
        rates: learning rate of each matrix of ``arch.weights``.

    Returns:
        (stream, quantity) to (networks, layers), logarithms where the quantity says so.

    Raises:
        InputError: attention that is cut into tiles, which are not differentiated forward.
        NonFiniteError: a gradient or change is no finite number.
    """
    if tile_rows(arch) < arch.tokens:
        raise InputError(
            f"the first step is measured with all attention weights of a sequence at once, and {arch.tokens} "
            f"tokens of {arch.heads} heads are too many; use fewer"
        )
    found = []
    with one_thread():
        bar = tqdm(range(networks), unit="network", delay=2, disable=not progress, desc=arch.name)
        for network in bar:
            random = Randomness(seed, [network], dtype=torch.float64, device=device)
            found.append(_Step(arch, rule, rates, random).found)
    return samples_of(found, arch.depth)


class _Step(StepRows):
    """The step of one network: ``found`` has its quantities."""

    def __init__(
        self, arch: Architecture, rule: Optimiser, rates: Mapping[str, float], random: Randomness
    ) -> None:
        super().__init__(str(arch))
        self._arch, self._tokens = arch, arch.step_tokens
        model = Transformer(arch, random, checkpointing=False)
        step = step_of(arch, random)
        program = Program(arch)
        self._network = Network(model, program, random, model.embedded(step.inputs).detach())
        self._inputs: list[Streams] = []
        self._seen: list[Watched] = []
        gradients = self._differentiate(step.loss)
        changes: list[dict[str, torch.Tensor]] = []
        slopes = np.zeros(arch.depth)
        for layer, own in enumerate(gradients):
            change: dict[str, torch.Tensor] = {}
            for name in program.names:
                copies = [key for key in program.copies(name, layer) if key in own]
                if copies:
                    moves = {key: -rates[name] * update(rule, own[key], self._tokens) for key in copies}
                    slopes[layer] += self._matrix(name, layer, own, moves)
                    change |= moves
            changes.append(change)
        self.shares(slopes)
        self._branches(changes)
        self._streams(changes)

    def _differentiate(self, loss: object) -> list[dict[str, torch.Tensor]]:
        """Gradients of the loss at every matrix; keeps those at streams, and what was seen on the way."""
        assert callable(loss)
        network = self._network
        streams: Streams = tuple(1.0 * network.start for _ in range(network.program.streams))
        for x in streams:
            x.requires_grad_()
        blocks = [network.model.block(layer).tensors for layer in range(self._arch.depth)]
        for layer, tensors in enumerate(blocks):
            self._inputs.append(streams)
            streams, seen = network.block(layer, streams, tensors)
            self._seen.append(seen)
        self._inputs.append(streams)
        output = network.program.readout(streams)
        put_out = network.model.headed(output)
        matrices = [
            (layer, name, x)
            for layer, tensors in enumerate(blocks)
            for name, x in tensors.items()
            if x.ndim == 2
        ]
        at = [x for streams in self._inputs for x in streams]
        wanted = [*(x for *_, x in matrices), *at, output]
        grads = torch.autograd.grad(loss(put_out), wanted, allow_unused=True)
        if not all(bool(g.isfinite().all()) for g in grads if g is not None):
            raise beyond("a gradient", str(self._arch))
        filled = [torch.zeros_like(x) if g is None else g for x, g in zip(wanted, grads, strict=True)]
        self._grads, self._output_grad = filled[len(matrices) : -1], filled[-1]
        found: list[dict[str, torch.Tensor]] = [{} for _ in blocks]
        for (layer, name, _), g in zip(matrices, filled, strict=False):
            found[layer][name] = g
        return found

    def _matrix(
        self, name: str, layer: int, gradients: Mapping[str, torch.Tensor], moves: Mapping[str, torch.Tensor]
    ) -> float:
        """Rows of a matrix, or of the experts' that go by its name; returns its decrease of the loss."""
        tensors, read = self._network.tensors(layer), self._seen[layer].read
        put = partial(self.put, name, layer=layer)
        squares = [sum(float(x[key].square().sum()) for key in moves) for x in (moves, tensors)]
        put("update_ratio", value=(squares[0] / squares[1]) ** 0.5)
        put("grad_l1", value=sum(gradients[key].abs().sum() for key in moves))
        put("grad_nuclear", value=sum(singular(gradients[key], self._tokens)[1].sum() for key in moves))
        slope = -sum(float((gradients[key] * move).sum()) for key, move in moves.items())
        put("loss_slope", value=slope)
        moved = [(read[key].detach() @ move).square().sum() for key, move in moves.items() if key in read]
        outputs = next(iter(moves.values())).shape[1]
        put("matrix_change", value=sum(moved) / (self._tokens * outputs))
        return slope

    def _branches(self, changes: list[dict[str, torch.Tensor]]) -> None:
        for layer, change in enumerate(changes):
            inputs = tuple(x.detach() for x in self._inputs[layer])
            for branch in self._seen[layer].put_out:
                if any(name.startswith(f"{branch}.") for name in change):
                    moved = self._network.branch_moved(layer, inputs, change, branch)
                    self.put(branch, "branch_change", layer, moved.square().mean())

    def _streams(self, changes: list[dict[str, torch.Tensor]]) -> None:
        moved, output = self._network.streams_moved(changes)
        count = self._network.program.streams
        nothing = tuple(torch.full_like(self._network.start, np.nan) for _ in range(count))
        for layer, streams in enumerate([nothing, *moved]):
            for i, x in enumerate(streams):
                self.put(str(i), "stream_change", layer, x.square().mean())
            self.coherent("all", layer, streams, self._grads[layer * count :])
        self.put(OUTPUT, "stream_change", 0, output.square().mean())
        self.coherent(OUTPUT, 0, (output,), [self._output_grad])
