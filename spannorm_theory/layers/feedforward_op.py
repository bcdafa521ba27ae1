"""The feed-forward branch on tensors; its moments are in :mod:`.feedforward`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..gaussian.activations import Activation
from .norm_op import normalise

if TYPE_CHECKING:
    import torch


def ffn_forward(
    x: torch.Tensor,
    linear: Callable[[torch.Tensor, str], torch.Tensor],
    activation: Activation,
    inner_norm: str | None = None,
) -> torch.Tensor:
    """The branch on tensors (..., tokens, width); ``linear(x, name)`` applies a weight matrix."""
    if activation.gated:
        up = linear(x, "ffn.up")
        if activation.up_offset:
            up = up + activation.up_offset
        hidden = activation.torch_function(linear(x, "ffn.gate")) * up
    else:
        hidden = activation.torch_function(linear(x, "ffn.up"))
    if inner_norm is not None:
        hidden = normalise(hidden, inner_norm)
    return linear(hidden, "ffn.down")
