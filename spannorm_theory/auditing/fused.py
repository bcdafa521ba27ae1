"""Which rows of a fused matrix are queries, keys and values, as gradients show it.

Names do not say in which order a module cuts what it makes in one product. Under a causal mask gradients do:
the first token sees itself alone, whatever its query and key are, so that only values move what it is given;
and the last token has one query and many keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..base.callables import calling
from .blocks import Blocks
from .inputs import Feed
from .mode import in_mode
from .names import GROUPED, KEY, QUERY, STACKED, VALUE, roles_by_name
from .stream import cut_of
from .tape import Tape

#: rows of each role, of every fused matrix by its name in a block
FusedRows = Mapping[str, Mapping[str, torch.Tensor]]

#: share of the largest gradient below which one is none
NOTHING = 1e-5


class _Reached(BaseException):
    """The first block has been run, and nothing behind it is: no error, which the module may catch."""


def fused_rows(model: nn.Module, blocks: Blocks, feed: Feed) -> FusedRows:
    """Rows of the fused matrices of the first block, of those where gradients tell the three roles apart:
    modules that are called, under a causal mask, with no output of zeros behind them."""
    block = blocks.first
    shapes = {name: tuple(p.shape) for name, p in block.named_parameters() if p.ndim == 2}
    words = roles_by_name(shapes)
    names = [n for n, word in words.items() if word in (STACKED, GROUPED) and n.endswith(".weight")]
    modules = {name: block.get_submodule(name.removesuffix(".weight")) for name in names}
    found = {name: _rows(model, blocks, feed, module) for name, module in modules.items()}
    return {name: rows for name, rows in found.items() if rows is not None}


def _rows(model: nn.Module, blocks: Blocks, feed: Feed, module: nn.Module) -> dict[str, torch.Tensor] | None:
    made: list[torch.Tensor] = []
    tape = Tape(blocks)

    def keep(module: nn.Module, args: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return output
        made.append(output.detach().requires_grad_())
        return made[-1]

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        raise _Reached

    with in_mode(model, False), torch.enable_grad(), tape.on(model):
        hooks = module.register_forward_hook(keep), blocks.first.register_forward_hook(stop)
        try:
            with calling(model.forward, type(model).__name__, " on its inputs"):
                feed(model)
        except _Reached:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        if len(made) != 1 or not tape.ends or not tape.ends[0].requires_grad:
            return None
        stream = cut_of(tape.calls, blocks.first, feed.shape)(tape.ends[0])[0]
        try:
            return _told_apart(stream, made[0])
        except RuntimeError:  # a block that writes over what its backward pass needs
            return None


def _told_apart(stream: torch.Tensor, made: torch.Tensor) -> dict[str, torch.Tensor] | None:
    """The roles of the columns of ``made``, by gradients of the stream (sequences, tokens, width) at the
    first and at the last token; None where these leave another number of queries, keys and values."""
    values = (_gradient(stream[:, 0], made) > 0).any(dim=0)
    read = (_gradient(stream[:, -1], made) > 0).sum(dim=0)
    queries = ~values & (read > 0) & (read <= len(stream))
    keys = ~values & (read > len(stream))
    counts = [int(part.sum()) for part in (queries, keys, values)]
    if sum(counts) != made.shape[-1] or counts[1] != counts[2] or not 0 < counts[1] <= counts[0]:
        return None
    parts = {QUERY: queries, KEY: keys, VALUE: values}
    return {role: part.nonzero().flatten().cpu() for role, part in parts.items()}


def _gradient(end: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """|d(a random sum of ``end``)/d made| by position and column; what is nearly nothing is 0."""
    weights = torch.randn(end.shape, generator=torch.Generator().manual_seed(0)).to(end)
    (grad,) = torch.autograd.grad((weights * end).sum(), made, retain_graph=True)
    size = grad.double().abs().reshape(-1, made.shape[-1])
    return torch.where(size > NOTHING * size.max(), size, 0.0)
