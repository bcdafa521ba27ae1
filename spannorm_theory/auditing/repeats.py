"""Numbers of a module that are not independent draws: heads and experts with the same ones, and parameters
that stand in several places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from .blocks import Blocks
from .names import KEY, OUTPUT, QUERY, VALUE
from .structure import Structure


def equal_pieces(s: Structure) -> list[str]:
    """Roles with heads or experts that hold the same numbers, in words."""
    modules, found = dict(s.blocks.modules), []
    for path, own in zip(s.called, s.matrices, strict=True):
        parameters = dict(modules[path].named_parameters())
        for role in dict.fromkeys(part.role for part in own.parts):
            tensors = [part.of(parameters[part.name].detach()) for part in own.parts if part.role == role]
            pieces = _pieces(role, tensors, s.head_width)
            prints = [x for x in (float(piece.double().square().sum()) for piece in pieces) if x]
            if len(set(prints)) < len(prints):
                found.append(f"{'heads' if role.startswith('attn.') else 'experts'} of {role}")
    return list(dict.fromkeys(found))


def _pieces(role: str, tensors: list[torch.Tensor], head: int | None) -> Iterator[torch.Tensor]:
    """The heads of a role's matrices (outputs, inputs), or its experts."""
    axis = {QUERY: -2, KEY: -2, VALUE: -2, OUTPUT: -1}.get(role)
    for tensor in tensors:
        if axis is not None and head is not None:
            yield from (piece.contiguous() for piece in torch.split(tensor, head, axis))
        elif tensor.ndim == 3:
            yield from tensor
        else:
            yield tensor


def shared(model: nn.Module, blocks: Blocks) -> tuple[list[str], list[str]]:
    """Parameters that stand in several places: of these, those that one block has twice, and those that stand
    outside the blocks, as a matrix that is embedding and head."""
    places: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    several = [names for names in places.values() if len(names) > 1]
    owners = {path: f"{path}." for path, _ in blocks.modules}
    twice, outside = [], []
    for names in several:
        within = [_owner(name, owners) for name in names]
        if None in within:
            outside.append(" and ".join(names))
        elif len(set(within)) < len(within):
            twice.append(" and ".join(names))
    return twice, outside


def frozen(model: nn.Module, blocks: Blocks) -> tuple[list[str], list[str]]:
    """Names of parameters that take no gradient, in the blocks and outside."""
    owners = {path: f"{path}." for path, _ in blocks.modules}
    names = [name for name, p in model.named_parameters() if not p.requires_grad]
    inside = [name for name in names if _owner(name, owners) is not None]
    return inside, [name for name in names if name not in inside]


def _owner(name: str, owners: Mapping[str, str]) -> str | None:
    return next((path for path, prefix in owners.items() if name.startswith(prefix)), None)
