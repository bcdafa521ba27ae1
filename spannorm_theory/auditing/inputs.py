"""Inputs of a user's module: ids, keywords, or a function of the seed that gives either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..base.callables import calling
from ..base.errors import InputError, shown
from .networks import seeded

#: words in the names of embeddings of tokens, where a module has several embeddings
TOKEN_WORDS = ("tok", "wte", "word", "emb_in")


@dataclass(frozen=True)
class Feed:
    """Arguments of one call of a module.

    Attributes:
        shape: (sequences, tokens), where the arguments hold ids that tell; else None.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, int] | None

    def __call__(self, model: nn.Module) -> Any:
        """The module's output."""
        return model(*self.args, **self.kwargs)


def feed_of(inputs: Any, model: nn.Module, seed: int, tokens: int, sequences: int = 1) -> Feed:
    """The arguments that ``inputs`` says, on the module's device; floating ones carry a gradient.

    Args:
        inputs: a tensor, a tuple of arguments, a mapping of keyword arguments, a function of the seed that
            returns one of these, or None for uniform ids.
        seed: of what is drawn.
        tokens, sequences: of ids that are drawn.

    Raises:
        InputError: something else, or no embedding to draw ids for.
    """
    with seeded(seed):
        if inputs is None:
            inputs = uniform_ids(model, tokens, sequences)
        elif callable(inputs) and not isinstance(inputs, torch.Tensor | nn.Module):
            with calling(inputs, "inputs", f" on the seed {seed}"):
                inputs = inputs(seed)
    device = next(model.parameters()).device
    if isinstance(inputs, Mapping):
        if not all(isinstance(name, str) for name in inputs):
            raise InputError(f"inputs by keyword must go by names, got {shown(dict(inputs))}")
        kwargs = {name: _prepared(value, device) for name, value in inputs.items()}
        return Feed((), kwargs, _shape(kwargs.values()))
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    if not isinstance(inputs, tuple | list) or not any(isinstance(x, torch.Tensor) for x in inputs):
        raise InputError(
            "inputs must be a tensor, a mapping of keyword arguments, or a function of the seed that returns "
            f"one of them, got {shown(inputs)}"
        )
    args = tuple(_prepared(value, device) for value in inputs)
    return Feed(args, {}, _shape(args))


def uniform_ids(model: nn.Module, tokens: int, sequences: int) -> torch.Tensor:
    """Ids drawn uniformly from the vocabulary, padding left out, (sequences, tokens).

    Raises:
        InputError: the module has no embedding of tokens.
    """
    embedding = token_embedding(model)
    if embedding is None:
        raise InputError(
            f"{type(model).__name__} has no embedding of tokens to draw ids for; give its inputs as a "
            "tensor, a mapping of keyword arguments, or a function of the seed"
        )
    padding = embedding.padding_idx
    types = embedding.num_embeddings - (padding is not None)
    if types < tokens:  # some must repeat
        drawn = torch.randint(types, (sequences, tokens))
    else:
        drawn = torch.stack([torch.randperm(types)[:tokens] for _ in range(sequences)])
    return drawn if padding is None else drawn + (drawn >= padding)


def token_embedding(model: nn.Module) -> nn.Embedding | None:
    """The embedding of token ids: the one that the module names itself, one that is called so, or the
    first."""
    own = getattr(model, "get_input_embeddings", None)
    if callable(own):
        try:
            found = own()
        except (NotImplementedError, AttributeError):
            found = None
        if isinstance(found, nn.Embedding):
            return found
    every = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Embedding)]
    called = [m for name, m in every if any(word in name.rpartition(".")[2].lower() for word in TOKEN_WORDS)]
    return next(iter([*called, *(m for _, m in every)]), None)


def _prepared(value: Any, device: torch.device) -> Any:
    """A tensor on the module's device. Floating ones become the copy of a leaf, so that a gradient reaches
    them and a block may write to them."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().to(device)
    return value.requires_grad_().clone() if value.is_floating_point() else value


def _shape(values: Any) -> tuple[int, int] | None:
    """(sequences, tokens) of the first ids."""
    for value in values:
        if isinstance(value, torch.Tensor) and not value.is_floating_point() and value.ndim in (1, 2):
            return (1, value.shape[0]) if value.ndim == 1 else (value.shape[0], value.shape[1])
    return None
