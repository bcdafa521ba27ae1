"""Learnt multipliers on tensors; their gradients' moments are in :mod:`.multiplier`."""

from __future__ import annotations

from typing import Any

import torch


class Multiply(torch.autograd.Function):
    """factor x; records the squared gradient of a multiplier of each coordinate on the way back."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, factor: float, name: str, grad_norms: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """factor x, for (networks, tokens, width)."""
        ctx.save_for_backward(x)
        ctx.factor, ctx.name, ctx.grad_norms = factor, name, grad_norms
        return factor * x

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """factor G; |sum_t G_t o x_t|^2 is kept, (networks,)."""
        (x,), (g,) = ctx.saved_tensors, grads
        ctx.grad_norms[ctx.name] = (g * x).sum(1).double().square().sum(1)
        return ctx.factor * g, None, None, None
