"""Latents of queries, keys and values, read from a module."""

from __future__ import annotations

import pytest
import torch
from modules import HEADS, WIDTH, Model, Norm, mixed
from torch import nn

import spannorm_theory as st
from spannorm_theory.auditing.roles import matrices_of
from spannorm_theory.auditing.sizes import AttentionSizes

pytestmark = pytest.mark.usefixtures("registries", "own_generator")


class Latent(nn.Module):
    """Attention whose queries, and keys and values, read normed latents; keys and values are one matrix, head
    by head. With ``rotary`` so many coordinates of keys are not of the latent."""

    def __init__(self, normed: bool = True, rotary: int = 0) -> None:
        super().__init__()
        self.num_heads, self.rotary = HEADS, rotary
        size = WIDTH // HEADS
        self.q_a_proj = nn.Linear(WIDTH, 12, bias=False)
        self.q_b_proj = nn.Linear(12, HEADS * (size + rotary), bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(WIDTH, 16 + rotary, bias=False)
        self.kv_b_proj = nn.Linear(16, 2 * WIDTH, bias=False)
        self.o_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.q_norm, self.kv_norm = (Norm(n) if normed else nn.Identity() for n in (12, 16))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, module.in_features**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self.q_b_proj(self.q_norm(self.q_a_proj(x))).unflatten(-1, (HEADS, -1))
        latent, turned = self.kv_a_proj_with_mqa(x).split([16, self.rotary], -1)
        k, v = self.kv_b_proj(self.kv_norm(latent)).unflatten(-1, (HEADS, -1)).chunk(2, -1)
        k = torch.cat([k, turned[..., None, :].expand(*turned.shape[:-1], HEADS, self.rotary)], -1)
        if not self.rotary:
            return self.o_proj(mixed(q.flatten(-2), k.flatten(-2), v.flatten(-2)))
        a = (q.transpose(1, 2) @ k.transpose(1, 2).mT / q.shape[-1] ** 0.5).softmax(-1)
        return self.o_proj((a @ v.transpose(1, 2)).transpose(1, 2).flatten(-2))


def model(normed: bool = True, rotary: int = 0) -> Model:
    torch.manual_seed(0)
    made = Model()
    for block in made.blocks:
        block.attn = Latent(normed, rotary)
    return made


@pytest.mark.exact
def test_matrices_of_latents_are_cut() -> None:
    block = model(rotary=4).blocks[0]
    parts = {part.role: part for part in matrices_of(block, WIDTH, AttentionSizes(HEADS, None, None)).parts}
    rows = {role: None if part.rows is None else part.rows.tolist() for role, part in parts.items()}
    size = WIDTH // HEADS
    assert rows["attn.key_down"] == list(range(16))
    assert rows["attn.rotary_key"] == list(range(16, 20))
    starts = range(0, 2 * WIDTH, 2 * size)
    assert rows["attn.key"] == [row for start in starts for row in range(start, start + size)]
    assert rows["attn.value"] == [row for start in starts for row in range(start + size, start + 2 * size)]
    assert rows["attn.query"] is rows["attn.query_down"] is None


@pytest.mark.exact
def test_the_architecture_of_a_module_with_latents() -> None:
    reading = st.read(model(), tokens=8, placement="pre-norm", activation="gelu")
    assert not reading.gaps
    assert reading.arch is not None
    own = reading.arch.with_(input_variance=1.0, input_cosine=0.0)
    text = f"pre-norm unit depth=3 ffn_ratio=2.0 width={WIDTH} heads={HEADS} tokens=8"
    assert own == st.Architecture.parse(f"{text} latent_queries=12 latent_keys=16")


@pytest.mark.exact
def test_what_latents_lack_is_a_gap() -> None:
    bare = st.read(model(normed=False), tokens=8, placement="pre-norm", activation="gelu")
    assert bare.arch is not None
    assert (bare.arch.latent_queries, bare.arch.latent_keys) == (None, None)
    assert "latent keys of 16 coordinates without a norm" in [gap.feature for gap in bare.gaps]
    turned = st.read(model(rotary=4), tokens=8, placement="pre-norm", activation="gelu")
    assert turned.arch is not None
    assert (turned.arch.latent_queries, turned.arch.latent_keys) == (12, 16)
    assert any("one for all heads" in gap.feature for gap in turned.gaps)
