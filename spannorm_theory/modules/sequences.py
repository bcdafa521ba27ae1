"""The step of a random network: the sequences that ``simulate`` gives it to read, and their loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional

from ..montecarlo.boundary import embedding, loss_at, token_ids
from ..montecarlo.randomness import Purpose, Randomness
from ..spec.architecture import Architecture


class Step(NamedTuple):
    """Inputs of a module, and the mean loss over its sequences as a function of what it puts out for them."""

    inputs: torch.Tensor
    loss: Callable[[torch.Tensor], torch.Tensor]


def step_of(arch: Architecture, random: Randomness) -> Step:
    """The step of the one network of ``random``.

    The loss of a probe, and of the rows of "mean" and "last", is linear: the sum over a sequence's tokens of
    the products with them.
    """
    sequences = (arch.batch, arch.tokens)
    if arch.reads_ids:
        inputs = token_ids(arch, random, Purpose.IDS).view(sequences)
    else:
        inputs = embedding(arch, random).view(*sequences, arch.width)
    if arch.loss == "cross-entropy":
        labels = token_ids(arch, random, Purpose.LABELS)[0]
        return Step(inputs, lambda logits: functional.cross_entropy(logits.flatten(0, 1), labels))
    output = torch.zeros(1, arch.step_tokens, arch.width, dtype=random.dtype, device=random.device)
    probe = loss_at(arch, random, output).gradient.view(*sequences, arch.width)
    return Step(inputs, lambda found: (probe * found).sum() / arch.batch)
