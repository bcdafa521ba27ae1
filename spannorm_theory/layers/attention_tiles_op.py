"""Attention by tiles on tensors; :mod:`.attention_tiles` says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .attention_tiles import Tile

Weigh = Callable[[torch.Tensor, torch.Tensor, Tile], torch.Tensor]


class TiledMix(torch.autograd.Function):
    """Softmax rows times values, tile by tile; what outlives a tile is made before the first."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scale: float,
        cut: Sequence[Tile],
        weigh: Weigh,
    ) -> torch.Tensor:
        """Mixed values; ``weigh`` gives the weights of a tile from its queries and keys."""
        ctx.save_for_backward(queries, keys, values)
        ctx.scale, ctx.cut, ctx.weigh = scale, cut, weigh
        mixed = torch.empty_like(queries)
        for seen in cut:
            rows, columns = _slices(seen)
            weights = weigh(queries[:, :, rows], keys[:, :, columns], seen)
            mixed[:, :, rows] = weights @ values[:, :, columns]
        return mixed

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of queries, keys and values, with the weights made again."""
        queries, keys, values = ctx.saved_tensors
        of_queries, of_keys, of_values = (torch.zeros_like(x) for x in (queries, keys, values))
        for seen in ctx.cut:
            rows, columns = _slices(seen)
            q, k, grad = queries[:, :, rows], keys[:, :, columns], grads[0][:, :, rows]
            weights = ctx.weigh(q, k, seen)
            of_values[:, :, columns] += weights.mT @ grad
            of_weights = grad @ values[:, :, columns].mT
            of_weights -= (of_weights * weights).sum(-1, keepdim=True)
            of_logits = of_weights.mul_(weights).mul_(ctx.scale)
            of_queries[:, :, rows] = of_logits @ k
            of_keys[:, :, columns] += of_logits.mT @ q
        return of_queries, of_keys, of_values, None, None, None


def _slices(seen: Tile) -> tuple[slice, slice]:
    return slice(seen.rows.start, seen.rows.stop), slice(seen.keys.start, seen.keys.stop)
