"""What a user's module shows of its architecture when it is looked at and run, beside its matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..base.errors import InputError
from ..montecarlo.metrics import second_moments
from .blocks import Blocks
from .inputs import Feed, feed_of
from .observed import STRAY
from .stream import Cut
from .tape import tensors

#: names of activation modules' classes, and what the toolkit calls them
ACTIVATIONS = (
    ("quickgelu", "quick-gelu"),
    ("quick_gelu", "quick-gelu"),
    ("newgelu", "gelu-tanh"),
    ("gelu_new", "gelu-tanh"),
    ("fastgelu", "gelu-tanh"),
    ("gelutanh", "gelu-tanh"),
    ("gelu_pytorch_tanh", "gelu-tanh"),
    ("gelu", "gelu"),
    ("silu", "silu"),
    ("swish", "silu"),
    ("relusquared", "relu2"),
    ("relu2", "relu2"),
    ("relu", "relu"),
    ("tanh", "tanh"),
)
#: those of one factor, as the gated activations that they are part of
GATED = {"gelu": "geglu", "gelu-tanh": "geglu-tanh", "silu": "swiglu", "relu": "reglu"}

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
    """Second moment and token cosine of what the first block reads.

    Raises:
        InputError: all tokens are equal there, of which no theory speaks.
    """

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
    if torch.equal(x, x[..., :1, :].expand_as(x)):
        raise InputError(
            f"all {x.shape[-2]} tokens in front of the first block are equal: give inputs whose ids differ "
            "from token to token"
        )
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


def activation_of(block: nn.Module, gated: bool) -> str | None:
    """The activation of a block's feed-forward branch by the class of its module, else as its configuration
    calls it; None where neither says, or where no gated one has it."""
    modules = list(block.modules())
    names = [type(module).__name__ for module in modules]
    names += ["gelutanh" for m in modules if isinstance(m, nn.GELU) and m.approximate == "tanh"]
    names += [getattr(getattr(block, "activation", None), "__name__", "")]
    for config in (getattr(module, "config", None) for module in modules):
        for word in ("hidden_act", "hidden_activation", "activation_function", "activation"):
            value = getattr(config, word, None)
            names += [value] if isinstance(value, str) else []
    lower = [name.lower() for name in names if "attention" not in name.lower()]
    found = next((known for word, known in ACTIVATIONS if any(word in name for name in lower)), None)
    return GATED.get(found or "") if gated else found


def has_rotary(model: nn.Module) -> bool:
    """Whether a module or a buffer is called after rotary positions."""
    words = ("rotary", "rope", "inv_freq", "freqs_cis")
    names = [type(module).__name__.lower() for module in model.modules()]
    names += [name.lower() for name, _ in model.named_buffers()]
    names += [name.lower() for name, _ in model.named_modules()]
    return any(word in name for name in names for word in words)
