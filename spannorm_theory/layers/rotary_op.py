"""Rotary embedding on tensors; :mod:`.rotary` has its law."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from .rotary import PUBLISHED, Rotary, angles

if TYPE_CHECKING:
    import torch


@lru_cache(maxsize=8)
def _angles(
    tokens: int, head_width: int, rotary: Rotary, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tensors of :func:`.rotary.angles`, kept: a device would have to be waited for at every layer."""
    import torch

    cos, sin = (torch.from_numpy(part).to(device, dtype) for part in angles(tokens, head_width, rotary))
    return cos, sin


def rotate(x: torch.Tensor, rotary: Rotary = PUBLISHED) -> torch.Tensor:
    """R_i x_i for tensors (..., tokens, head width)."""
    import torch

    cos, sin = _angles(*x.shape[-2:], rotary, x.dtype, x.device)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
