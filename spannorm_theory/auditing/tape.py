"""What passes a module's blocks in one forward and one backward pass, kept by hooks.

A hook in front of each block keeps copies of what it is given, so that blocks may write to their input, and
one behind it copies of what it puts out. Gradients come by hooks on the very tensors, which see the sum over
all that reads them, checkpointed or not. Blocks that run a second time in the backward pass are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..base.errors import InputError
from .blocks import Blocks

Tensors = list[torch.Tensor]


@dataclass
class Call:
    """One block's call.

    Attributes:
        path: of the block in the module.
        before, after: copies of the tensors of the stream's shape that it is given, and that it puts out.
        grads: gradients at those that it is given, by their place.
    """

    path: str
    before: Tensors
    after: Tensors = field(default_factory=list)
    grads: dict[int, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A tensor of the stream's size in front of a module behind the last block, or behind that module."""

    path: str
    module: nn.Module
    tensor: torch.Tensor
    enters: bool


class Tape:
    """Measures one run of a module.

    Attributes:
        calls: of the blocks, in order.
        seen: what modules behind the last block were given and put out.
        ends: what the last block put out: the tensors themselves, in which a gradient can be seen.
        end_grads: gradients at these, by their place.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._open = True
        self._inside = 0
        self.calls: list[Call] = []
        self.seen: list[Seen] = []
        self.ends: Tensors = []
        self.end_grads: dict[int, torch.Tensor] = {}

    @contextmanager
    def on(self, model: nn.Module) -> Iterator[None]:
        """Keep what passes while the block runs; the hooks are gone afterwards, also after errors."""
        inner = {id(m) for _, block in self._blocks.modules for m in block.modules()}
        with ExitStack() as hooks:
            for path, block in self._blocks.modules:
                enter = block.register_forward_pre_hook(self._enters(path), with_kwargs=True)
                leave = block.register_forward_hook(self._leaves(), with_kwargs=True)
                hooks.callback(enter.remove)
                hooks.callback(leave.remove)
            for path, module in model.named_modules():
                if id(module) not in inner:
                    before = module.register_forward_pre_hook(self._sees_input(path), with_kwargs=True)
                    behind = module.register_forward_hook(self._sees_output(path))
                    hooks.callback(before.remove)
                    hooks.callback(behind.remove)
            yield

    def close(self) -> None:
        """Keep nothing more of forward passes: those to come belong to the backward pass."""
        self._open = False

    def watch_end(self) -> None:
        """See gradients at what the last block put out.

        Behind a re-entrant checkpoint that is a tensor without a gradient, and the one that goes on is what
        the next module is given.
        """
        for place, (copy, end) in enumerate(zip(self.calls[-1].after, self.ends, strict=True)):
            if not end.requires_grad:
                same = (s.tensor for s in self.seen if s.tensor.requires_grad and _equal(s.tensor, copy))
                self.ends[place] = end = next(same, end)
            if end.requires_grad:
                _keep_gradient(end, self.end_grads, place)

    def _enters(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self._open:
                return None
            args, kwargs = _apart(args, kwargs)
            given = _floating([*args, *kwargs.values()])
            if not given:
                raise InputError(f"the block {path} is given no tensor, so the stream does not pass it")
            streams = [x for x in given if x.shape == given[0].shape]
            call = Call(path, [x.detach().clone() for x in streams])
            self.calls.append(call)
            self.seen.clear()
            self._inside += 1
            for place, x in enumerate(streams):
                if x.requires_grad:
                    _keep_gradient(x, call.grads, place)
            return args, kwargs

        return hook

    def _leaves(self) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not self._open:
                return
            self._inside -= 1
            call = self.calls[-1]
            self.ends = [x for x in tensors(output) if x.shape == call.before[0].shape]
            call.after = [x.detach().clone() for x in self.ends]

        return hook

    def _sees_input(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._see(path, module, [*args, *kwargs.values()], enters=True)

        return hook

    def _sees_output(self, path: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._see(path, module, tensors(output), enters=False)

        return hook

    def _see(self, path: str, module: nn.Module, values: list[Any], *, enters: bool) -> None:
        if not self._open or self._inside or not self.calls:
            return
        stream = self.calls[-1].before[0]
        same = [
            x for x in _floating(values) if x.shape[-1] == stream.shape[-1] and x.numel() == stream.numel()
        ]
        if same:
            self.seen.append(Seen(path, module, same[0], enters))


def _apart(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A block's arguments, of which no two are one tensor: streams that start as one have gradients of their
    own."""
    every = [id(x) for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
    shared = {one for one in every if every.count(one) > 1}

    def own(x: Any) -> Any:
        return x.view_as(x) if id(x) in shared else x

    return tuple(map(own, args)), {name: own(x) for name, x in kwargs.items()}


def tensors(value: Any) -> Tensors:
    """Tensors of floating numbers that a module gives or takes: itself, or those that a tuple, list or
    mapping holds."""
    if isinstance(value, torch.Tensor):
        return _floating([value])
    if isinstance(value, Mapping):
        return _floating(list(value.values()))
    return _floating(value) if isinstance(value, tuple | list) else []


def _floating(values: Any) -> Tensors:
    return [x for x in values if isinstance(x, torch.Tensor) and x.is_floating_point() and x.ndim > 1]


def _keep_gradient(x: torch.Tensor, kept: dict[int, torch.Tensor], place: int) -> None:
    def hook(gradient: torch.Tensor) -> None:
        kept[place] = gradient.detach().clone()

    x.register_hook(hook)  # type: ignore[no-untyped-call]


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and bool(torch.equal(a.detach(), b.to(a.device)))
