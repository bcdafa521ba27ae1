"""The mixture-of-experts branch on tensors; its moments are in :mod:`.experts`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..gaussian.activations import Activation
from .feedforward_op import ffn_forward

if TYPE_CHECKING:
    import torch

Linear = Callable[["torch.Tensor", str], "torch.Tensor"]


def moe_forward(
    x: torch.Tensor,
    linear: Linear,
    activation: Activation,
    *,
    experts: int,
    top_k: int,
    shared: int,
    renormalised: bool,
    whole: bool,
    sequence: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The branch on tensors (networks, tokens, width), and the squared coefficient of variation of the
    experts' loads by the first sequence, float64 (networks,).

    Args:
        linear: ``linear(x, name)`` applies a weight matrix; those of expert e are called "ffn.up.<e>" and
            so on, the shared ones come last.
        whole: give every expert all tokens, zero rows for those that it does not receive, instead of the
            tokens that it receives: tensors of one shape whatever the routing.
        sequence: tokens of a sequence.
    """
    import torch

    logits = linear(x, "ffn.router")
    best = logits.topk(top_k, dim=-1).indices
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, best, True)
    if renormalised:
        gates = logits.masked_fill(~chosen, -torch.inf).softmax(-1)
    else:
        gates = logits.softmax(-1).masked_fill(~chosen, 0.0)
    loads = chosen.double().sum(1)
    own = chosen[:, :sequence].double().sum(1)
    imbalance = own.var(-1, correction=0) / own.mean(-1).square()

    def expert(tokens: torch.Tensor, number: int) -> torch.Tensor:
        return ffn_forward(tokens, lambda y, name: linear(y, f"{name}.{number}"), activation)

    out = torch.zeros_like(x)
    for e in range(experts):
        rows = x.shape[1] if whole else int(loads[:, e].max())
        if not rows:
            continue
        # the tokens of this expert first, in every network
        order = chosen[:, :, e].to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :rows, None]
        mine = order.expand(-1, -1, x.shape[2])
        received = chosen[:, :, e, None].gather(1, order)
        y = expert(x.gather(1, mine) * received, e)
        out = out.scatter_add(1, mine, y * gates[:, :, e, None].gather(1, order))
    for s in range(experts, experts + shared):
        out = out + expert(x, s)
    return out, imbalance
