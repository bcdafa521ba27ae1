"""The weight matrices of a user's block, by the roles that an architecture has.

A role is read from the parameter's path (:mod:`.names`); where names say nothing, from shapes and order, and
the reader is told. One parameter may hold several roles: queries, keys and values stacked or group by group,
gate and up, all experts in three dimensions. What has no role is kept by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from .fused import FusedRows
from .names import (
    DOWN,
    FROM_LATENT,
    GATE,
    GATE_UP,
    GROUPED,
    KEY,
    KEY_DOWN,
    LATENT,
    OUTPUT,
    QUERY,
    ROTARY_KEY,
    ROUTER,
    STACKED,
    UP,
    VALUE,
    roles_by_name,
)
from .sizes import AttentionSizes

#: modules that keep (inputs, outputs), where torch keeps (outputs, inputs)
TRANSPOSED = ("Conv1D",)
#: modules whose gate and up alternate row by row
ALTERNATING = ("GptOss",)


@dataclass(frozen=True)
class Part:
    """The rows of one parameter that have one role.

    Attributes:
        name: of the parameter, as the block calls it.
        transposed: whether the parameter is (..., inputs, outputs).
        rows: of the parameter as (..., outputs, inputs); None for all.
    """

    role: str
    name: str
    transposed: bool = False
    rows: torch.Tensor | None = None

    def of(self, parameter: torch.Tensor) -> torch.Tensor:
        """The part of a parameter, or of its gradient, as (..., outputs, inputs)."""
        whole = parameter.mT if self.transposed else parameter
        return whole if self.rows is None else whole.index_select(-2, self.rows.to(whole.device))


@dataclass(frozen=True)
class BlockMatrices:
    """A block's matrices.

    Attributes:
        parts: in the order of the block's definition.
        guessed: names of parameters whose role is taken from shape and order.
        unknown: names of those without a role.
    """

    parts: tuple[Part, ...]
    guessed: tuple[str, ...]
    unknown: tuple[str, ...]


def matrices_of(
    block: nn.Module, width: int, sizes: AttentionSizes, fused: FusedRows | None = None
) -> BlockMatrices:
    """The matrices of a block by role.

    Args:
        width: d, of the stream.
        sizes: of its attention, by which fused matrices are cut.
        fused: rows of fused matrices where they were seen (:mod:`.fused`), which goes over that.
    """
    found = {name: p for name, p in block.named_parameters() if p.ndim in (2, 3) and not _is_bias(name)}
    owners = {name: block.get_submodule(name.rpartition(".")[0]) for name in found}
    words = roles_by_name({name: tuple(p.shape) for name, p in found.items()})
    transposed = _orientations(found, owners, words, width)
    shapes = {name: _shape(p, transposed[name]) for name, p in found.items()}
    _settle(words, shapes, width)
    guessed = _by_shape(words, shapes, width)
    parts: list[Part] = []
    unknown: list[str] = []
    for name, word in words.items():
        rows = None if word is None else _rows(word, name, words, shapes, sizes, owners[name])
        rows = rows if fused is None or name not in fused else {**fused[name]}
        if not rows:
            unknown.append(name)
        else:
            parts += [Part(role, name, transposed[name], index) for role, index in rows.items()]
    return BlockMatrices(tuple(parts), guessed, tuple(unknown))


def _is_bias(name: str) -> bool:
    return "bias" in name.rpartition(".")[2]


def _shape(parameter: torch.Tensor, transposed: bool) -> tuple[int, int]:
    """(outputs, inputs)."""
    rows, columns = parameter.shape[-2:]
    return (columns, rows) if transposed else (rows, columns)


def _orientations(
    found: Mapping[str, torch.Tensor],
    owners: Mapping[str, nn.Module],
    words: Mapping[str, str | None],
    width: int,
) -> dict[str, bool]:
    """Whether each parameter is (inputs, outputs). Of all experts in one tensor, and of parameters that no
    module of torch's own holds, it is what fits the width in the most matrices of the module: a matrix onto
    the stream has ``width`` outputs, any other ``width`` inputs."""
    result = {name: type(owners[name]).__name__ in TRANSPOSED for name in found}
    stacks = {id(owners[name]) for name, p in found.items() if p.ndim == 3}
    groups = [[n for n, p in found.items() if p.ndim == 3 and id(owners[n]) == one] for one in stacks]
    groups.append([n for n, p in found.items() if p.ndim == 2 and type(owners[n]) is nn.Module])
    for names in groups:
        votes = 0
        for name in names:
            shape = tuple(found[name].shape[-2:])
            onto = words[name] == DOWN
            votes += ((shape[0] == width) - (shape[1] == width)) * (-1 if onto else 1)
        result |= dict.fromkeys(names, votes > 0)
    return result


def _settle(words: dict[str, str | None], shapes: Mapping[str, tuple[int, int]], width: int) -> None:
    """Decide the words of two meanings by what stands beside them."""
    siblings = {(name.removesuffix(".weight").rpartition(".")[0], word) for name, word in words.items()}
    for name, word in words.items():
        parent = name.removesuffix(".weight").rpartition(".")[0]
        if word == "w1":
            words[name] = GATE if (parent, UP) in siblings else UP
        elif word == "gate":  # of experts, or of a gated branch
            words[name] = GATE if (parent, UP) in siblings and (parent, DOWN) in siblings else ROUTER
        if words[name] == UP and shapes[name][0] == 2 * _hidden(words, shapes, parent):
            words[name] = GATE_UP


def _hidden(words: Mapping[str, str | None], shapes: Mapping[str, tuple[int, int]], parent: str) -> int:
    """Inputs of the matrix onto the stream beside others; 0 if there is none."""
    down = (
        shapes[name][1]
        for name, word in words.items()
        if word == DOWN and name.removesuffix(".weight").rpartition(".")[0] == parent
    )
    return next(down, 0)


def _by_shape(
    words: dict[str, str | None], shapes: Mapping[str, tuple[int, int]], width: int
) -> tuple[str, ...]:
    """Give roles to matrices whose names say nothing, where shape and order leave one reading; returns
    them."""
    nameless = [name for name, word in words.items() if word is None]
    known = {word for word in words.values() if word is not None}
    square = [name for name in nameless if shapes[name] == (width, width)]
    triple = [name for name in nameless if shapes[name] == (3 * width, width)]
    wide = [name for name in nameless if shapes[name][1] == width and shapes[name][0] > width]
    narrow = [name for name in nameless if shapes[name][0] == width and shapes[name][1] > width]
    given: dict[str, str] = {}
    if not known & {QUERY, KEY, VALUE, OUTPUT, STACKED, GROUPED, LATENT}:
        if len(square) == 4:
            given |= dict(zip(square, (QUERY, KEY, VALUE, OUTPUT), strict=True))
        elif len(square) == 1 and len(triple) == 1:
            given |= {triple[0]: STACKED, square[0]: OUTPUT}
    wide = [name for name in wide if name not in given]
    if not known & {UP, GATE, DOWN, GATE_UP} and len(narrow) == 1:
        hidden = shapes[narrow[0]][1]
        rows = [shapes[name][0] for name in wide]
        roles = {(hidden,): (UP,), (2 * hidden,): (GATE_UP,), (hidden, hidden): (GATE, UP)}.get(tuple(rows))
        if roles is not None:
            given |= {**dict(zip(wide, roles, strict=True)), narrow[0]: DOWN}
    words |= given
    return tuple(given)


def _rows(
    word: str,
    name: str,
    words: Mapping[str, str | None],
    shapes: Mapping[str, tuple[int, int]],
    sizes: AttentionSizes,
    owner: nn.Module,
) -> dict[str, torch.Tensor | None]:
    """The rows of a matrix by role; empty where it cannot be cut."""
    outputs = shapes[name][0]
    if word in (STACKED, GROUPED):
        return _heads(word, outputs, sizes, shapes[name][1])
    if word == GATE_UP:
        index = torch.arange(outputs)
        if any(known in type(owner).__name__ for known in ALTERNATING):
            return {GATE: index[0::2], UP: index[1::2]}
        return {GATE: index[: outputs // 2], UP: index[outputs // 2 :]}
    mixed = next((shapes[n][1] for n, w in words.items() if w == OUTPUT), None)
    if word in (LATENT, FROM_LATENT):
        rank = next((shapes[n][1] for n, w in words.items() if w in (FROM_LATENT, KEY, VALUE)), outputs)
        return _latent(outputs, rank) if word == LATENT else _from_latent(outputs, sizes.heads, mixed)
    doubled = mixed is not None and outputs == 2 * mixed and LATENT not in words.values()
    if word == QUERY and sizes.head_width is not None and doubled:  # an output gate beside each head's query
        pairs = torch.arange(outputs).view(-1, 2, sizes.head_width)
        return {QUERY: pairs[:, 0].reshape(-1), "attn.gate": pairs[:, 1].reshape(-1)}
    return {word: None}


def _heads(word: str, outputs: int, sizes: AttentionSizes, width: int) -> dict[str, torch.Tensor | None]:
    """Queries, keys and values of a fused matrix: three pieces, or (query heads, key, value) for every
    group."""
    heads, size = sizes.heads, sizes.head_width
    if heads is None or size is None:
        if outputs != 3 * width or word == GROUPED:
            return {}
        heads, size = 1, width
    groups, rest = divmod(outputs // size - heads, 2)
    if groups < 1 or rest or outputs % size or heads % groups:
        return {}
    index = torch.arange(outputs)
    if word == STACKED:
        query, key, value = torch.split(index, [heads * size, groups * size, groups * size])
        return {QUERY: query, KEY: key, VALUE: value}
    cut = index.view(groups, heads // groups + 2, size)
    query, key, value = cut[:, :-2], cut[:, -2], cut[:, -1]
    return {QUERY: query.reshape(-1), KEY: key.reshape(-1), VALUE: value.reshape(-1)}


def _latent(outputs: int, rank: int) -> dict[str, torch.Tensor | None]:
    """What keys and values are projected from, and behind it the part of keys that is not."""
    if outputs <= rank:
        return {KEY_DOWN: None}
    index = torch.arange(outputs)
    return {KEY_DOWN: index[:rank], ROTARY_KEY: index[rank:]}


def _from_latent(outputs: int, heads: int | None, mixed: int | None) -> dict[str, torch.Tensor | None]:
    """Keys and values, head by head; ``mixed`` are the inputs of the output projection, the values'."""
    if heads is None or mixed is None or outputs % heads or mixed % heads or outputs <= mixed:
        return {}
    cut = torch.arange(outputs).view(heads, -1)
    keys = (outputs - mixed) // heads
    return {KEY: cut[:, :keys].reshape(-1), VALUE: cut[:, keys:].reshape(-1)}


def squared_norms(
    matrices: BlockMatrices, gradients: Mapping[str, torch.Tensor | None]
) -> dict[str, torch.Tensor]:
    """|dLoss/dW|_F^2 by role, summed over the matrices of a role, in float64; zero where none arrived.

    Args:
        gradients: of each parameter, by its name in the block.
    """
    result: dict[str, torch.Tensor] = {}
    for part in matrices.parts:
        gradient = gradients.get(part.name)
        zero = torch.zeros(1, dtype=torch.float64)
        square = zero if gradient is None else part.of(gradient).double().square().sum().cpu()[None]
        result[part.role] = result.get(part.role, zero) + square
    return result


def roles_of(blocks: Iterable[BlockMatrices]) -> tuple[str, ...]:
    """Every role in the blocks, in order."""
    return tuple(dict.fromkeys(part.role for block in blocks for part in block.parts))
