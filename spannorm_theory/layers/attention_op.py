"""Multi-head softmax attention on tensors, with every field of an architecture; its moments are in
:mod:`.attention` and :mod:`.attention_gram`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .attention_tiles import Tile, tiles
from .norm_op import normalise
from .rotary import beyond
from .rotary_op import rotate

if TYPE_CHECKING:
    import torch

    from ..spec.architecture import Architecture


def attention_forward(
    x: torch.Tensor,
    linear: Callable[[torch.Tensor, str], torch.Tensor],
    *,
    arch: Architecture,
    normed: tuple[str, ...],
    inner_norm: str | None,
    drop: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The branch on tensors (networks, tokens of a step, width), each token seeing those of its sequence;
    ``linear(x, name)`` applies a weight matrix, ``drop`` dropout to the weights (sequences of all networks,
    heads, tokens, tokens), ``inner_norm`` stands before the projection."""
    import torch

    from .attention_tiles_op import TiledMix

    size, groups = arch.head_width, arch.heads // (arch.kv_heads or arch.heads)

    def project(name: str) -> torch.Tensor:
        y = linear(x, f"attn.{name}")
        if name in normed and arch.qk_norm_over == "width":
            y = normalise(y, arch.norm)
        y = y.reshape(-1, arch.tokens, y.shape[-1] // size, size).transpose(1, 2)
        if name in normed and arch.qk_norm_over == "head":
            y = normalise(y, arch.norm)
        if name in ("query", "key") and arch.positions == "rope":
            y = rotate(y)
        return y if name == "query" else y.repeat_interleave(groups, 1)

    queries, keys, values = (project(name) for name in ("query", "key", "value"))
    scale = (arch.logit_factor(normed) / size) ** 0.5

    def weigh(queries: torch.Tensor, keys: torch.Tensor, seen: Tile) -> torch.Tensor:
        logits: torch.Tensor = (queries @ keys.mT).mul_(scale)
        if arch.mask == "causal":
            row, key = (torch.arange(r.start, r.stop, device=x.device) for r in (seen.rows, seen.keys))
            logits.masked_fill_(beyond(row[:, None] - key, arch.window), -torch.inf)
        return logits.softmax(-1)

    # plain operations: torch's fused kernels give NaN for logits beyond about 1e19, which stacks without
    # norms reach
    cut = tiles(arch)
    if len(cut) == 1:
        mixed = drop(weigh(queries, keys, cut[0])) @ values
    else:  # dropped weights are not cut
        mixed = TiledMix.apply(queries, keys, values, scale, cut, weigh)  # type: ignore[no-untyped-call]
    mixed = mixed.transpose(1, 2).reshape(*x.shape[:-1], -1)
    return linear(mixed if inner_norm is None else normalise(mixed, inner_norm), "attn.output")
