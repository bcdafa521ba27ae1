"""Updates U(G) of gradients on tensors; :mod:`.optimisers` defines them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .optimisers import Optimiser

if TYPE_CHECKING:
    import torch


def update(rule: Optimiser, gradient: torch.Tensor, rank: int) -> torch.Tensor:
    """U(G) of a matrix whose gradient sums over ``rank`` tokens."""
    import torch

    match rule.kind:
        case "sgd":
            return gradient
        case "sign":
            return gradient.sign()
        case "adam":
            size = gradient.abs() + rule.epsilon
            return torch.where(size > 0, gradient / size, 0.0)
        case _:
            left, values, right = singular(gradient, rank)
            kept = values > values.amax() * max(gradient.shape) * torch.finfo(values.dtype).eps
            return rule.size(*gradient.shape) * (left * kept) @ right


def singular(gradient: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """P, S and Q^T of G = P diag(S) Q^T, for a matrix of at most this rank.

    One of low rank is G = B B^T G with an orthonormal basis B of the range of G times random vectors.
    """
    import torch

    if 2 * rank >= min(gradient.shape):
        left, values, right = torch.linalg.svd(gradient, full_matrices=False)
        return left, values, right
    generator = torch.Generator(gradient.device).manual_seed(0)
    size = (gradient.shape[1], rank)
    vectors = torch.randn(size, generator=generator, dtype=gradient.dtype, device=gradient.device)
    basis, _ = torch.linalg.qr(gradient @ vectors)
    left, values, right = torch.linalg.svd(basis.mT @ gradient, full_matrices=False)
    return basis @ left, values, right
