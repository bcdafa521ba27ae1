"""The output of the body, at which the probe gradient is put: the last hidden state, behind the final norm.

It is looked for in what modules behind the last block are given and put out, in this order:

1. what the first module with a weight matrix is given: the head, or a pooler;
2. the tensor of the stream's size that the model itself returns;
3. what the last module of all puts out: a final norm whose output goes into a matrix that is no module;
4. what the last block puts out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..base.errors import InputError
from .tape import Tape, tensors


@dataclass(frozen=True)
class Readout:
    """Where the probe gradient is put.

    Attributes:
        tensor: of the stream's size.
        place: in words.
    """

    tensor: torch.Tensor
    place: str


def readout_of(tape: Tape, output: Any) -> Readout:
    """The last hidden state of a run.

    Raises:
        InputError: no gradient can be put there.
    """
    found = looked_for(tape, output)
    if not found.tensor.requires_grad:
        raise InputError(
            f"no gradient reaches the {found.place}: the module runs without gradients (torch.no_grad, or "
            "detach); measure it in a form that can be trained"
        )
    return found


def looked_for(tape: Tape, output: Any) -> Readout:
    """The last hidden state of a run, also of one without gradients."""
    for seen in tape.seen:
        if seen.enters and has_matrix(seen.module):
            return Readout(seen.tensor, f"input of {seen.path}")
    size, width = tape.calls[-1].before[0].numel(), tape.calls[-1].before[0].shape[-1]
    for tensor in tensors(output):
        if tensor.numel() == size and tensor.shape[-1] == width:
            return Readout(tensor, "output of the model")
    behind = [seen for seen in tape.seen if not seen.enters]
    if behind:
        return Readout(behind[-1].tensor, f"output of {behind[-1].path}")
    return Readout(tape.ends[0], f"output of {tape.calls[-1].path}")


def has_matrix(module: nn.Module) -> bool:
    """Whether a module holds a weight matrix."""
    return any(p.ndim > 1 for p in module.parameters())
