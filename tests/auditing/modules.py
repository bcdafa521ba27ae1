"""Small transformers as people write them, in plain torch: what the tests of a user's module read and
measure."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import gelu, silu
from torch.utils.checkpoint import checkpoint

WIDTH, HEADS, HIDDEN, VOCABULARY = 32, 4, 64, 4000


class Norm(nn.Module):
    """Root-mean-square norm with a gain that starts at one."""

    def __init__(self, width: int, epsilon: float = 1e-12) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon)


def mixed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = False) -> torch.Tensor:
    """Softmax attention over heads."""
    b, n, d = q.shape
    q, k, v = (x.view(b, n, HEADS, -1).transpose(1, 2) for x in (q, k, v))
    logits = q @ k.mT / (d // HEADS) ** 0.5
    if causal:
        logits = logits.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
    return (logits.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d)


class Attention(nn.Module):
    def __init__(self, fused: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.fused, self.causal, self.num_heads = fused, causal, HEADS
        if fused:
            self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        else:
            self.q_proj = nn.Linear(WIDTH, WIDTH, bias=False)
            self.k_proj = nn.Linear(WIDTH, WIDTH, bias=False)
            self.v_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.out_proj = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1) if self.fused else (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        return self.out_proj(mixed(q, k, v, self.causal))


class Ffn(nn.Module):
    def __init__(self, gated: bool = False) -> None:
        super().__init__()
        self.gated = gated
        if gated:
            self.w1 = nn.Linear(WIDTH, HIDDEN, bias=False)
            self.w2 = nn.Linear(HIDDEN, WIDTH, bias=False)
            self.w3 = nn.Linear(WIDTH, HIDDEN, bias=False)
        else:
            self.fc1 = nn.Linear(WIDTH, HIDDEN, bias=False)
            self.fc2 = nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(silu(self.w1(x)) * self.w3(x)) if self.gated else self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    """One block; ``style`` is how it is written: plain, in-place (it writes to its input), or tuple."""

    def __init__(
        self, post: bool, fused: bool, gated: bool, style: str, causal: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.post, self.style = post, style
        self.attn, self.ffn = Attention(fused, causal), Ffn(gated)
        self.norm1, self.norm2 = Norm(WIDTH), Norm(WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, flag: bool = True) -> Any:
        if self.style == "in-place":
            x += self.attn(self.norm1(x.clone()))  # autograd keeps what a norm reads
            x += self.ffn(self.norm2(x.clone()))
            return x
        if self.post:
            x = self.norm1(x + self.attn(x))
            return self.norm2(x + self.ffn(x))
        x = x + self.dropout(self.attn(self.norm1(x)))
        x = x + self.dropout(self.ffn(self.norm2(x)))
        return (x, None, self.attn) if self.style == "tuple" else x


class Model(nn.Module):
    """A stack over an embedding. ``head``: "none" returns the last hidden state, "linear" logits of a module,
    "tied" logits of the embedding's own matrix."""

    def __init__(
        self,
        depth: int = 3,
        post: bool = False,
        fused: bool = False,
        gated: bool = False,
        style: str = "plain",
        head: str = "linear",
        causal: bool = False,
        checkpointed: bool | None = None,
        dropout: float = 0.0,
        std: float | None = None,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block(post, fused, gated, style, causal, dropout) for _ in range(depth))
        self.norm = nn.Identity() if post else Norm(WIDTH)
        self.head, self.reentrant = head, checkpointed
        if head == "linear":
            self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, module.in_features**-0.5 if std is None else std)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x) if self.reentrant is None else checkpoint(block, x, use_reentrant=self.reentrant)
            x = x[0] if isinstance(x, tuple) else x
        x = self.norm(x)
        if self.head == "linear":
            return self.lm_head(x)
        return x @ self.embed.weight.mT if self.head == "tied" else x
