"""The residual stream in what a tape kept: checked from block to block, and cut into sequences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from ..base.errors import InputError, NonFiniteError
from .blocks import Blocks
from .tape import Call, Tape, Tensors

Cut = Callable[[torch.Tensor], Tensors]


def stream_count(tape: Tape, blocks: Blocks) -> int:
    """Number of tensors that every block puts out and the next one takes: one for most, several for streams
    that pass side by side.

    Raises:
        InputError: a block's output is not the next one's input.
        NonFiniteError: the stream is not finite.
    """
    calls = tape.calls
    if not calls:
        raise InputError(
            f"{blocks.path!r} was not called on these inputs; give inputs that pass it, or as blocks the "
            "path of another list"
        )
    count = min(len(calls[-1].after), len(calls[-1].before))
    for l, call in enumerate(calls):
        if not bool(call.before[0].isfinite().all()):
            raise NonFiniteError(f"the stream in front of {call.path} (block {l}) is not finite")
    for l, (call, after) in enumerate(pairwise(calls)):
        pairs = list(zip(call.after, after.before, strict=False))
        same = next((i for i, (x, y) in enumerate(pairs) if not torch.equal(x, y.to(x.device))), len(pairs))
        count = min(count, same)
        if not count:
            raise InputError(
                f"the output of {call.path} (block {l}) is not the input of {after.path}, so {blocks.path!r} "
                "is not where one residual stream passes; give as blocks the path of the list that it passes"
            )
    if not count:
        raise InputError(f"{calls[-1].path} puts out nothing of the shape of its input; name other blocks")
    return count


def cut_of(calls: list[Call], block: nn.Module, shape: tuple[int, int] | None) -> Cut:
    """How a stream is cut into its parts of shape (sequences, tokens, width), all on the device of the first
    block where that has float64; four dimensions are several streams side by side.

    Args:
        shape: (sequences, tokens) of the ids, where the inputs are ids.

    Raises:
        InputError: tokens cannot be told from sequences, or are fewer than two.
    """
    parts, device = _parts_of(calls, block, shape), calls[0].before[0].device
    home = device if device.type in ("cpu", "cuda") else torch.device("cpu")
    return lambda x: [part.to(home) for part in parts(x)]


def _parts_of(calls: list[Call], block: nn.Module, shape: tuple[int, int] | None) -> Cut:
    found = tuple(calls[0].before[0].shape)
    if len(found) == 2:
        _require_tokens(found[0])
        return lambda x: [x[None]]
    if len(found) == 4 and found[:2] == shape:
        _require_tokens(found[1])
        return lambda x: list(x.unbind(2))
    if len(found) != 3:
        raise InputError(
            f"a stream has the shape (sequences, tokens, width); that of {calls[0].path} has {found}: name "
            "other blocks"
        )
    first = _sequence_first(block)
    if first is None and shape is not None:
        if found[:2] not in (shape, shape[::-1]):
            raise InputError(
                f"the stream of {calls[0].path} has the shape {found}, which does not fit the inputs' "
                f"{shape} (sequences, tokens); name other blocks"
            )
        first = shape[0] != shape[1] and found[:2] == shape[::-1]
    _require_tokens(found[0] if first else found[1])
    return (lambda x: [x.transpose(0, 1)]) if first else (lambda x: [x])


def _require_tokens(tokens: int) -> None:
    if tokens < 2:
        raise InputError(f"a sequence needs at least 2 tokens to be measured, got {tokens}")


def _sequence_first(block: nn.Module) -> bool | None:
    """Whether a block's own attention takes tokens in front of sequences, where that is torch's."""
    own = [m.batch_first for m in block.modules() if isinstance(m, nn.MultiheadAttention)]
    return not own[0] if own else None
