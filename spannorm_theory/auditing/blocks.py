"""Where a module has its residual stream: the list of equal blocks that the stream passes.

The list is the ``ModuleList`` or ``Sequential`` (or the run of one class in it) with the most parameters. It
is taken only if it is alone of its size; encoder-decoders, and modules that call one layer again and again,
are asked which module they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from torch import nn

from ..base.errors import InputError, UnknownNameError, shown

#: another list with this share of the parameters of the largest makes the choice a guess
RIVAL = 0.5


@dataclass(frozen=True)
class Blocks:
    """The blocks of a module.

    Attributes:
        path: of the list in the module, or of the one module whose calls are the blocks.
        modules: the blocks in their order, with their own paths.
    """

    path: str
    modules: tuple[tuple[str, nn.Module], ...]

    @property
    def first(self) -> nn.Module:
        """The first block."""
        return self.modules[0][1]


def find_blocks(model: nn.Module, path: str | None = None) -> Blocks:
    """The blocks that the residual stream passes.

    Args:
        path: of a list, or of a module whose calls are the blocks; None looks for the list.

    Raises:
        InputError: there is no list of equal blocks, or more than one that could be meant.
    """
    if path is not None:
        return _named(model, path)
    found = sorted(_candidates(model), key=_size, reverse=True)
    if not found:
        raise InputError(
            f"{_title(model)} has no list of at least two blocks of one class; give as blocks the path of "
            "the module whose calls are the blocks"
        )
    best = found[0]
    for other in found[1:]:
        nested = other.path.startswith(f"{best.path}." if best.path else "")
        if not nested and _size(other) >= RIVAL * _size(best):
            raise InputError(
                f"{_title(model)} has more than one list of blocks: {_listed(best)} and {_listed(other)}; "
                f"give as blocks the path of the one that the stream is of"
            )
    return best


def _named(model: nn.Module, path: object) -> Blocks:
    if not isinstance(path, str):
        raise InputError(f"blocks must be the path of a list of blocks in the module, got {shown(path)}")
    modules = dict(model.named_modules())
    if path not in modules:
        lists = [
            name for name, module in modules.items() if _is_list(module) and len(list(module.children()))
        ]
        raise UnknownNameError("path of blocks", path, lists or modules)
    named = modules[path]
    if not _is_list(named):
        return Blocks(path, ((path, named),))
    children = tuple((_joined(path, name), child) for name, child in named.named_children())
    if not children:
        raise InputError(f"the list {path!r} is empty; name one that holds blocks")
    return Blocks(path, children)


def _candidates(model: nn.Module) -> Iterator[Blocks]:
    """Runs of at least two children of one class, with parameters, in the lists of a module."""
    for path, module in model.named_modules():
        if not _is_list(module):
            continue
        for _, run in groupby(module.named_children(), key=lambda child: type(child[1])):
            blocks = tuple((_joined(path, name), child) for name, child in run)
            if len(blocks) > 1 and any(True for _ in blocks[0][1].parameters()):
                yield Blocks(path, blocks)


def _size(blocks: Blocks) -> int:
    """Number of different parameters' entries."""
    parameters = {id(p): p.numel() for _, block in blocks.modules for p in block.parameters()}
    return sum(parameters.values())


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.Sequential)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _title(model: nn.Module) -> str:
    return type(model).__name__


def _listed(blocks: Blocks) -> str:
    return f"{blocks.path!r} ({len(blocks.modules)} x {type(blocks.first).__name__})"
