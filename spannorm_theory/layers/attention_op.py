"""Multi-head softmax attention on tensors, with every field of an architecture; its moments are in
:mod:`.attention` and :mod:`.attention_gram`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .attention_tiles import Tile, tiles
from .norm_op import normalise
from .rotary import Rotary, beyond
from .rotary_op import rotate

if TYPE_CHECKING:
    import torch

    from ..spec.architecture import Architecture
    from ..spec.reach import Attends


def attention_forward(
    x: torch.Tensor,
    linear: Callable[[torch.Tensor, str], torch.Tensor],
    *,
    arch: Architecture,
    attends: Attends,
    normed: tuple[str, ...],
    inner_norm: str | None,
    drop: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The branch on tensors (networks, tokens of a step, width), each token seeing those of its sequence;
    ``linear(x, name)`` applies a weight matrix, ``drop`` dropout to the weights (sequences of all networks,
    heads, tokens, tokens), ``inner_norm`` stands before the projection; ``attends`` says which keys a token
    sees."""
    import torch

    from .attention_tiles_op import TiledMix

    size, groups = arch.head_size, arch.heads // (arch.kv_heads or arch.heads)

    def compressed(name: str, rank: int | None) -> torch.Tensor:
        return x if rank is None else normalise(linear(x, f"attn.{name}_down"), arch.norm)

    keys_read = compressed("key", arch.latent_keys)
    read = {"query": compressed("query", arch.latent_queries), "key": keys_read, "value": keys_read}

    def project(name: str) -> torch.Tensor:
        y = linear(read[name], f"attn.{name}")
        if name in normed and arch.qk_norm_over == "width":
            y = normalise(y, arch.norm, arch.norm_epsilon)
        y = y.reshape(-1, arch.tokens, y.shape[-1] // size, size).transpose(1, 2)
        if name in normed and arch.qk_norm_over == "head":
            y = normalise(y, arch.norm, arch.norm_epsilon)
        if name in ("query", "key") and attends.positions == "rope":
            y = rotate(y, Rotary(arch.rotary_base, arch.rotary_share))
        return y if name == "query" else y.repeat_interleave(groups, 1)

    gate = linear(x, "attn.gate") if arch.attention_gate else None
    queries, keys, values = (project(name) for name in ("query", "key", "value"))
    causal, scale = arch.mask == "causal", (arch.logit_factor(normed) / size) ** 0.5

    def weigh(queries: torch.Tensor, keys: torch.Tensor, seen: Tile) -> torch.Tensor:
        logits: torch.Tensor = (queries @ keys.mT).mul_(scale)
        if causal or attends.window is not None:
            row, key = (torch.arange(r.start, r.stop, device=x.device) for r in (seen.rows, seen.keys))
            logits.masked_fill_(beyond(row[:, None] - key, causal, attends.window), -torch.inf)
        if not arch.sinks:
            return logits.softmax(-1)
        return torch.nn.functional.pad(logits, (0, 1)).softmax(-1)[..., :-1]

    # plain operations: torch's fused kernels give NaN for logits beyond about 1e19, which stacks without
    # norms reach
    cut = tiles(arch, attends.window)
    if len(cut) == 1:
        mixed = drop(weigh(queries, keys, cut[0])) @ values
    else:  # dropped weights are not cut
        mixed = TiledMix.apply(queries, keys, values, scale, cut, weigh)  # type: ignore[no-untyped-call]
    mixed = mixed.transpose(1, 2).reshape(*x.shape[:-1], -1)
    if inner_norm is not None:
        mixed = normalise(mixed, inner_norm)
    return linear(mixed if gate is None else gate.sigmoid() * mixed, "attn.output")
