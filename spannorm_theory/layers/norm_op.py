"""RMSNorm and LayerNorm on tensors; :mod:`spannorm_theory.gaussian.head_norm` has the kernel over a head."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: the reciprocal of two to this is a float32, too
LARGEST_EXPONENT = 120


def normalise(x: torch.Tensor, kind: str, epsilon: float = 0.0, gain: float = 1.0) -> torch.Tensor:
    """RMSNorm ("rms") or LayerNorm ("layer") over the last axis: gain x / sqrt(mean square + epsilon).
    Without epsilon N(0) is 0, with Jacobian 0.

    A power of two brings the largest entry near one first, so that squares of any size are numbers; it costs
    no digit. Epsilon follows it.
    """
    import torch

    if kind == "layer":
        x = x - x.mean(-1, keepdim=True)
    largest = x.detach().abs().amax(-1, keepdim=True).float()
    exponent = torch.frexp(largest).exponent.clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
    x = x * torch.ldexp(torch.ones_like(largest), -exponent).to(x.dtype)
    size = x.square().mean(-1, keepdim=True)
    if epsilon:
        everywhere = torch.full_like(largest, epsilon, dtype=torch.float64)
        size = size + torch.ldexp(everywhere, -2 * exponent).to(size.dtype)
    nothing = size == 0
    x = x * size.masked_fill(nothing, 1.0).rsqrt().masked_fill(nothing, 0.0)
    return x if gain == 1 else gain * x
