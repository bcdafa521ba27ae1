"""The mixture-of-experts branch on tensors; its moments are in :mod:`.experts`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..gaussian.activations import Activation
from ..softmax.gates import Gates
from .feedforward_op import ffn_forward
from .shared_experts import GATE as SHARED_GATE

if TYPE_CHECKING:
    import torch

Linear = Callable[["torch.Tensor", str], "torch.Tensor"]


def moe_forward(
    x: torch.Tensor,
    linear: Linear,
    activation: Activation,
    *,
    gates: Gates,
    shared: int,
    shared_gate: bool,
    factor: float,
    whole: bool,
    sequence: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The branch on tensors (networks, tokens, width), and the squared coefficient of variation of the
    experts' loads by the first sequence, float64 (networks,).

    Args:
        linear: ``linear(x, name)`` applies a weight matrix; those of expert e are called "ffn.up.<e>" and
            so on, the shared ones come last.
        factor: multiplies the sum of the chosen experts.
        whole: give every expert all tokens, zero rows for those that it does not receive, instead of the
            tokens that it receives: tensors of one shape whatever the routing.
        sequence: tokens of a sequence.
    """
    import torch
    from torch.nn import functional

    logits = linear(x, "ffn.router")
    chosen = _choice(logits, gates)
    score = functional.logsigmoid(logits) if gates.kind == "sigmoid" else logits
    if gates.among_chosen:
        share = score.masked_fill(~chosen, -torch.inf).softmax(-1)
    else:
        share = score.softmax(-1).masked_fill(~chosen, 0.0)
    if factor != 1:
        share = factor * share
    loads = chosen.double().sum(1)
    own = chosen[:, :sequence].double().sum(1)
    imbalance = own.var(-1, correction=0) / own.mean(-1).square()

    def expert(tokens: torch.Tensor, number: int) -> torch.Tensor:
        return ffn_forward(tokens, lambda y, name: linear(y, f"{name}.{number}"), activation)

    out = torch.zeros_like(x)
    for e in range(gates.experts):
        rows = x.shape[1] if whole else int(loads[:, e].max())
        if not rows:
            continue
        # the tokens of this expert first, in every network
        order = chosen[:, :, e].to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :rows, None]
        mine = order.expand(-1, -1, x.shape[2])
        received = chosen[:, :, e, None].gather(1, order)
        y = expert(x.gather(1, mine) * received, e)
        out = out.scatter_add(1, mine, y * share[:, :, e, None].gather(1, order))
    if not shared:
        return out, imbalance
    always = expert(x, gates.experts)
    for s in range(1, shared):
        always = always + expert(x, gates.experts + s)
    if shared_gate:
        always = always * linear(x, SHARED_GATE).sigmoid()
    return out + always, imbalance


def _choice(logits: torch.Tensor, gates: Gates) -> torch.Tensor:
    """Mask of the experts that tokens are sent to, of the shape of the logits."""
    import torch

    if gates.groups > 1:
        parts = logits.view(*logits.shape[:-1], gates.groups, -1)
        two = gates.kind == "sigmoid"
        size = parts.sigmoid().topk(2, dim=-1).values.sum(-1) if two else parts.amax(-1)
        own = torch.zeros_like(size, dtype=torch.bool)
        own = own.scatter(-1, size.topk(gates.top_groups, dim=-1).indices, True)
        logits = parts.masked_fill(~own[..., None], -torch.inf).flatten(-2)
    best = logits.topk(gates.top_k, dim=-1).indices
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, best, True)
