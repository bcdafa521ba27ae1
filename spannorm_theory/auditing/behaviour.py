"""What a user's module shows of its architecture when it is looked at and run, beside its matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..montecarlo.metrics import second_moments
from .blocks import Blocks
from .inputs import Feed, feed_of
from .observed import STRAY
from .stream import Cut
from .tape import tensors

#: names of activation modules' classes, and what the toolkit calls them
ACTIVATIONS = (
    ("gelu", "gelu"),
    ("silu", "silu"),
    ("swish", "silu"),
    ("relusquared", ""),
    ("relu", "relu"),
    ("tanh", "tanh"),
)
GATED = {"gelu": "geglu", "silu": "swiglu", "relu": "reglu"}

#: sequences over which the stream in front of the first block is averaged
SEQUENCES = 32


@dataclass(frozen=True)
class Entrance:
    """The stream in front of the first block.

    Attributes:
        second_moment, cosine: means over sequences; the cosine is 0 where it is below the noise of
            independent tokens.
        tokens, width: of the stream.
    """

    second_moment: float
    cosine: float
    tokens: int
    width: int

    def may_be(self, moment: float, cosine: float) -> bool:
        """Whether one network's embedding may show these numbers if its law has the given ones: positions and
        kinds have one vector each in all sequences."""
        apart = abs(self.second_moment / moment - 1)
        shared = cosine * (1 - cosine) * (2 / self.width) ** 0.5
        allowed = STRAY * (2 / (self.tokens * self.width)) ** 0.5
        return bool(apart < allowed and abs(self.cosine - cosine) < allowed + STRAY * shared)


class _Reached(Exception):
    """The first block was reached; nothing behind it is run."""

    def __init__(self, stream: torch.Tensor) -> None:
        self.stream = stream


def entrance(model: nn.Module, blocks: Blocks, inputs: Any, seed: int, tokens: int, cut: Cut) -> Entrance:
    """Second moment and token cosine of what the first block reads."""

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Reached(tensors([*args, *kwargs.values()])[0].detach())

    feed = feed_of(inputs, model, seed, tokens, SEQUENCES)
    hook = blocks.first.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        with torch.no_grad():
            feed(model)
        raise AssertionError("the first block was not reached")
    except _Reached as reached:
        x = reached.stream
    finally:
        hook.remove()
    x = cut(x)[0]
    q, rho = second_moments(x)
    moment, cosine = float(q.mean()), float((rho * q).mean() / q.mean())
    pairs = x.shape[-2] * (x.shape[-2] - 1) / 2
    noise = (pairs * x.shape[-1]) ** -0.5
    return Entrance(moment, cosine if abs(cosine) > STRAY * noise else 0.0, x.shape[-2], x.shape[-1])


def with_another_end(ids_feed: Feed) -> Feed | None:
    """Inputs with another last id; None where they are not ids."""
    place = next((i for i, x in enumerate(ids_feed.args) if _are_ids(x)), None)
    named = next((name for name, x in ids_feed.kwargs.items() if _are_ids(x)), None)
    if place is not None:
        args = list(ids_feed.args)
        args[place] = _other_last(args[place])
        return Feed(tuple(args), ids_feed.kwargs, ids_feed.shape)
    if named is not None:
        return Feed(
            ids_feed.args, {**ids_feed.kwargs, named: _other_last(ids_feed.kwargs[named])}, ids_feed.shape
        )
    return None


def _are_ids(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.dtype in (torch.int64, torch.int32)


def _other_last(ids: torch.Tensor) -> torch.Tensor:
    other = ids.clone()
    other[..., -1] = torch.where(other[..., -1] > 0, other[..., -1] - 1, other[..., -1] + 1)
    return other


def is_causal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the streams (sequences, tokens, width) behind the last block agree at all tokens but the last,
    for inputs that differ in the last token alone."""
    before = (one - other)[:, :-1].abs().max()
    return bool(before <= 1e-5 * one.abs().max())


def activation_of(block: nn.Module) -> str | None:
    """The activation of a block's feed-forward branch by the class of its module, else as its configuration
    calls it; None where neither says."""
    names = [type(module).__name__.lower() for module in block.modules()]
    for config in (getattr(module, "config", None) for module in block.modules()):
        for word in ("hidden_act", "hidden_activation", "activation_function", "activation"):
            value = getattr(config, word, None)
            names += [value.lower()] if isinstance(value, str) else []
    own = getattr(block, "activation", None)
    names += [getattr(own, "__name__", "").lower()]
    for name in names:
        for word, known in ACTIVATIONS:
            if word in name and "attention" not in name:
                return known or None
    return None


def has_rotary(model: nn.Module) -> bool:
    """Whether a module or a buffer is called after rotary positions."""
    words = ("rotary", "rope", "inv_freq", "freqs_cis")
    names = [type(module).__name__.lower() for module in model.modules()]
    names += [name.lower() for name, _ in model.named_buffers()]
    names += [name.lower() for name, _ in model.named_modules()]
    return any(word in name for name in names for word in words)
