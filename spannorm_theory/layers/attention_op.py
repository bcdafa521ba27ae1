"""Multi-head softmax attention on tensors, with every field of an architecture; its moments are in
:mod:`.attention` and :mod:`.attention_gram`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .norm_op import normalise
from .rotary import hidden
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
    """The branch on tensors (networks, tokens, width); ``linear(x, name)`` applies a weight matrix, ``drop``
    dropout to the weights (networks, heads, tokens, tokens), ``inner_norm`` stands before the projection."""
    import torch

    size, groups = arch.head_width, arch.heads // (arch.kv_heads or arch.heads)

    def project(name: str) -> torch.Tensor:
        y = linear(x, f"attn.{name}")
        if name in normed and arch.qk_norm_over == "width":
            y = normalise(y, arch.norm)
        y = y.reshape(*x.shape[:-1], -1, size).transpose(1, 2)
        if name in normed and arch.qk_norm_over == "head":
            y = normalise(y, arch.norm)
        if name in ("query", "key") and arch.positions == "rope":
            y = rotate(y)
        return y if name == "query" else y.repeat_interleave(groups, 1)

    # plain operations: torch's fused kernels give NaN for logits beyond about 1e19, which stacks without
    # norms reach
    queries, keys = project("query"), project("key")
    logits = queries @ keys.mT * (arch.logit_factor(normed) / size) ** 0.5
    unseen = hidden(arch.tokens, arch.mask == "causal", arch.window)
    if unseen is not None:
        logits = logits.masked_fill(torch.from_numpy(unseen).to(x.device), -torch.inf)
    mixed = (drop(logits.softmax(-1)) @ project("value")).transpose(1, 2).flatten(-2)
    return linear(mixed if inner_norm is None else normalise(mixed, inner_norm), "attn.output")
