"""RMSNorm and LayerNorm on tensors; :mod:`spannorm_theory.gaussian.head_norm` has the kernel over a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def normalise(x: torch.Tensor, kind: str) -> torch.Tensor:
    """RMSNorm ("rms") or LayerNorm ("layer") over the last axis, gain 1, epsilon 0; N(0) is 0, with
    Jacobian 0."""
    if kind == "layer":
        x = x - x.mean(-1, keepdim=True)
    size = x.square().mean(-1, keepdim=True)
    nothing = size == 0
    return x * size.masked_fill(nothing, 1.0).rsqrt().masked_fill(nothing, 0.0)
