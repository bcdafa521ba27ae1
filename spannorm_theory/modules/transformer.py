"""An architecture as a torch module: its blocks between an embedding, or a raw input, and an output."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..base.errors import InputError, shown
from ..montecarlo.program import Program
from ..montecarlo.randomness import Randomness
from ..spec.architecture import Architecture
from .parameters import ParameterWeights, of_block, of_ends


class Block(nn.Module):
    """Block ``layer`` of a network. Its parameters go by the names that tables have for them: ``attn.query``,
    or ``ffn.up.3`` of an expert.

    Args:
        program: the operations of the stack.
        random: of one network, which its parameters are drawn for.
    """

    def __init__(self, program: Program, random: Randomness, layer: int) -> None:
        super().__init__()
        self.layer, self._program = layer, program
        self.names: list[str] = []
        for name, value in of_block(program, random, layer):
            *path, leaf = name.split(".")
            _inside(self, path).register_parameter(leaf, nn.Parameter(value))
            self.names.append(name)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The parameters by name."""
        return {name: _at(self, name) for name in self.names}

    def forward(self, *streams: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The streams behind the block; (1, tokens of all sequences, width) each."""
        matrices = self._program.matrices(self.layer)
        weights = ParameterWeights(self.tensors, matrices, self.layer, self.training)
        return tuple(self._program.block(self.layer, streams, weights))


def _at(module: Any, name: str) -> torch.Tensor:
    """The tensor at the path ``name``."""
    found: torch.Tensor = reduce(getattr, name.split("."), module)
    return found


def _inside(module: nn.Module, path: Iterable[str]) -> nn.Module:
    """The module at ``path``, which is made where there is none."""
    for part in path:
        if part not in dict(module.named_children()):
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    return module


class Transformer(nn.Module):
    """The module that :func:`.module.module` returns.

    Attributes:
        arch: its architecture.
        blocks: its blocks, in order.
        embedding, positions, head: parameters, where the architecture has ids, positions that are learnt and
            a cross-entropy.
        checkpointing: whether blocks are computed again in the backward pass, which keeps the streams between
            them and nothing else.

    Example:
        >>> import spannorm_theory as st
        >>> model = st.module("pre-norm depth=2 width=16 heads=2 tokens=4")
        >>> [name for name, _ in model.named_parameters()][:2]
        ['blocks.0.attn.query', 'blocks.0.attn.key']
    """

    embedding: nn.Parameter
    positions: nn.Parameter
    head: nn.Parameter

    def __init__(self, arch: Architecture, random: Randomness, checkpointing: bool) -> None:
        super().__init__()
        self.arch, self.checkpointing = arch, checkpointing
        self._program = Program(arch)
        for name, value in of_ends(arch, random):
            self.register_parameter(name, nn.Parameter(value))
        self.blocks = nn.ModuleList(Block(self._program, random, layer) for layer in range(arch.depth))

    def block(self, layer: int) -> Block:
        """A block.

        Args:
            layer: its index, from 0.

        Returns:
            the module ``blocks[layer]``.
        """
        found = self.blocks[layer]
        assert isinstance(found, Block)
        return found

    def embedded(self, inputs: torch.Tensor) -> torch.Tensor:
        """Streams in front of the first block, all of which are one.

        Args:
            inputs: token ids (sequences, tokens), or the tokens themselves (sequences, tokens, width).

        Returns:
            (1, tokens of all sequences, width).

        Raises:
            InputError: tensors of another shape or kind.
        """
        arch = self.arch
        ids = arch.reads_ids
        rest = (arch.tokens,) if ids else (arch.tokens, arch.width)
        if tuple(inputs.shape[1:]) != rest or inputs.is_floating_point() == ids:
            sizes = ", ".join(map(str, rest))
            raise InputError(
                f"{'token ids' if ids else 'numbers'} of shape (sequences, {sizes}) are expected, got "
                f"{shown(inputs.dtype)} of shape {tuple(inputs.shape)}"
            )
        if not ids:
            return inputs.reshape(1, -1, arch.width)
        x = arch.embedding_multiplier * self.embedding[inputs]
        if arch.position_variance:
            x = x + self.positions
        return x.reshape(1, -1, arch.width)

    def boundaries(self, inputs: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
        """Streams in front of every block, and behind the last.

        Args:
            inputs: as of :meth:`forward`.

        Returns:
            for layers 0 to depth one tensor a stream, (1, tokens of all sequences, width).

        Raises:
            InputError: tensors of another shape or kind.
        """
        found = [(self.embedded(inputs),) * self._program.streams]
        for block in self.blocks:
            if self.checkpointing and self.training:
                found.append(checkpoint(block, *found[-1], use_reentrant=False))
            else:
                found.append(block(*found[-1]))
        return found

    def read_out(self, streams: Iterable[torch.Tensor]) -> torch.Tensor:
        """The model's output, from the streams behind the last block.

        Args:
            streams: those behind the last block.

        Returns:
            (sequences, tokens, width), or logits (sequences, tokens, types) where there is a head.
        """
        return self.headed(self._program.readout(list(streams)))

    def headed(self, output: torch.Tensor) -> torch.Tensor:
        """Logits of an output where there is a head, else that output by sequences.

        Args:
            output: behind the readout, (1, tokens of all sequences, width).

        Returns:
            as of :meth:`forward`.
        """
        arch = self.arch
        output = output.view(-1, arch.tokens, arch.width)
        return arch.logit_multiplier * (output @ self.head) if arch.loss == "cross-entropy" else output

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The model's output.

        Args:
            inputs: token ids (sequences, tokens), or the tokens themselves (sequences, tokens, width) where
                the architecture has ``inputs="gaussian"``.

        Returns:
            (sequences, tokens, width), or logits (sequences, tokens, types) of a cross-entropy.

        Raises:
            InputError: tensors of another shape or kind.
        """
        return self.read_out(self.boundaries(inputs)[-1])

    def extra_repr(self) -> str:
        """The text form of the architecture.

        Returns:
            one line.
        """
        return str(self.arch)
