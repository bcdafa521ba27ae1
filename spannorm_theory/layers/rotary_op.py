"""Rotary embedding on tensors; :mod:`.rotary` has its law."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rotary import angles

if TYPE_CHECKING:
    import torch


def rotate(x: torch.Tensor) -> torch.Tensor:
    """R_i x_i for tensors (..., tokens, head width)."""
    import torch

    cos, sin = (torch.from_numpy(part).to(x) for part in angles(*x.shape[-2:]))
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
