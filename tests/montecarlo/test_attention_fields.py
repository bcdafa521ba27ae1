"""Attention variants and dropout in the engines: against autograd through formulas written by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from spannorm_theory.montecarlo.boundary import embedding
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.network import Stack
from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Purpose, Randomness
from spannorm_theory.montecarlo.weights import ExplicitWeights
from spannorm_theory.spec.architecture import Architecture

CPU = torch.device("cpu")

VARIANTS: list[dict[str, Any]] = [
    {"positions": "rope", "mask": "causal", "window": 3},
    {"kv_heads": 2, "logit_scale": "linear", "positions": "rope"},
    {"window": 3, "positions": "rope", "attention_pattern": "window,full-nope,window-nope", "mask": "causal"},
    {"window": 2, "attention_pattern": "full,window"},
    {"qk_norm": True, "qk_norm_over": "width", "kv_heads": 1},
    {"qkv_norm": True, "qk_norm_over": "width", "kv_heads": 2},
    {"head_width": 10, "heads": 5, "kv_heads": 1, "logit_scale": 0.7},
    {"qkv_norm": True, "positions": "rope"},
    {"sinks": True, "mask": "causal", "attention_dropout": 0.3},
    {"attention_gate": True, "kv_heads": 2, "head_width": 4},
    {"latent_queries": 7, "latent_keys": 5, "kv_heads": 2, "positions": "rope", "mask": "causal"},
    {"latent_keys": 30, "qk_norm": True, "attention_gate": True},
    {"latent_queries": 4, "attention_gate": True},
    {"positions": "rope", "rotary_base": 50.0, "rotary_share": 0.5, "head_width": 8},
    {"dropout": 0.3, "attention_dropout": 0.4},
]


def rms(x: Any) -> Any:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def turned(x: Any, position: int, arch: Architecture) -> Any:
    """Complex coordinates a + i b times e^{i omega position}; those beyond the share stay."""
    half, turning = len(x) // 2, round(len(x) * arch.rotary_share) // 2
    pairs = torch.complex(x[:half], x[half:])
    omega = [arch.rotary_base ** (-a / turning) if a < turning else 0.0 for a in range(half)]
    angle = position * torch.tensor(omega, dtype=x.dtype)
    pairs = pairs * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag])


def attention(x: Any, w: Any, arch: Architecture, kept: Any, layer: int) -> Any:
    """Token by token and head by head."""
    words = (arch.attention_pattern or ("window" if arch.window else "full")).split(",")
    word = words[layer % len(words)]
    window = arch.window if word.startswith("window") else None
    rope = arch.positions == "rope" and not word.endswith("nope")
    n, size, heads = len(x), arch.head_size, []
    read = dict.fromkeys(("query", "key", "value"), x)
    if arch.latent_queries:
        read["query"] = rms(x @ w["attn.query_down"])
    if arch.latent_keys:
        read["key"] = read["value"] = rms(x @ w["attn.key_down"])
    q, k, v = (read[name] @ w[f"attn.{name}"] for name in ("query", "key", "value"))
    over_width = arch.qk_norm_over == "width"
    if over_width:
        q, k, v = rms(q), rms(k), rms(v) if arch.qkv_norm else v
    scales: dict[Any, Any] = {"sqrt": 1 / math.sqrt(size), "linear": 1 / size}
    sharing = arch.heads // (arch.kv_heads or arch.heads)
    for h in range(arch.heads):
        own = slice(h * size, (h + 1) * size)
        group = slice(h // sharing * size, (h // sharing + 1) * size)
        qh, kh, vh = q[:, own], k[:, group], v[:, group]
        if (arch.qk_norm or arch.qkv_norm) and not over_width:
            qh, kh, vh = rms(qh), rms(kh), rms(vh) if arch.qkv_norm else vh
        if rope:
            qh, kh = (torch.stack([turned(y[i], i, arch) for i in range(n)]) for y in (qh, kh))
        rows = []
        for i in range(n):
            first = max(0, i + 1 - window) if window else 0
            last = i + 1 if arch.mask == "causal" else min(n, i + window) if window else n
            logits = kh[first:last] @ qh[i] * scales.get(arch.logit_scale, arch.logit_scale)
            weights = logits.exp() / (logits.exp().sum() + arch.sinks)
            if arch.attention_dropout:
                weights = weights * kept[Purpose.WEIGHT_DROPOUT].view(arch.heads, n, n)[h, i, first:last]
                weights = weights / (1 - arch.attention_dropout)
            rows.append(weights @ vh[first:last])
        heads.append(torch.stack(rows))
    context = torch.cat(heads, -1)
    if arch.attention_gate:
        context = context / (1 + torch.exp(-(x @ w["attn.gate"])))
    return context @ w["attn.output"]


def dropped(y: Any, arch: Architecture, kept: Any, purpose: Purpose) -> Any:
    return y * kept[purpose].view(y.shape) / (1 - arch.dropout) if arch.dropout else y


def post_norm(x: Any, w: Any, arch: Architecture, kept: Any, layer: int) -> Any:
    x = rms(x + dropped(attention(x, w, arch, kept, layer), arch, kept, Purpose.ATTENTION_DROPOUT))
    y = torch.nn.functional.gelu(x @ w["ffn.up"]) @ w["ffn.down"]
    return rms(x + dropped(y, arch, kept, Purpose.FFN_DROPOUT))


def masks(arch: Architecture, random: Randomness, layer: int) -> dict[Purpose, Any]:
    sizes = {
        Purpose.WEIGHT_DROPOUT: (arch.heads * arch.tokens**2, arch.attention_dropout),
        Purpose.ATTENTION_DROPOUT: (arch.tokens * arch.width, arch.dropout),
        Purpose.FFN_DROPOUT: (arch.tokens * arch.width, arch.dropout),
    }
    return {p: random.kept(layer, p, size, rate)[0] for p, (size, rate) in sizes.items() if rate}


@pytest.mark.exact
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("segment", [1, 3])
def test_against_autograd(changes: dict[str, Any], segment: int) -> None:
    arch = Architecture("post-norm", depth=3, width=24, heads=4, tokens=6, init="xavier").with_(**changes)
    random = Randomness(5, range(1), dtype=torch.float64, device=CPU)
    stack = Stack(Program(arch), ExplicitWeights, random, segment)
    x = embedding(arch, random)[0].requires_grad_()
    weights = []
    y = x
    for l in range(arch.depth):
        made = ExplicitWeights(stack.program.matrices(l), random, l)
        weights.append({name: made.matrix(name)[0].requires_grad_() for name in arch.weights})
        y = post_norm(y, weights[-1], arch, masks(arch, random, l), l)
    probe = random.normal(0, Purpose.LOSS, y.numel())[0].view_as(y)
    flat = [(name, l, w) for l, ws in enumerate(weights) for name, w in ws.items()]
    grads = torch.autograd.grad(y, [x, *(w for _, _, w in flat)], probe)
    record = stack.run()
    assert record.values["0", "grad_variance"][0].item() == pytest.approx(
        grads[0].square().mean().log().item(), abs=1e-9
    )
    cosine = record.values["0", "token_cosine"][arch.depth].item()
    gram = y @ y.T / arch.width
    assert cosine == pytest.approx(((gram.sum() - gram.trace()) / 5 / gram.trace()).item(), abs=1e-9)
    for (name, l, _), grad in zip(flat, grads[1:], strict=True):
        found = record.values[name, "weight_grad_norm"][l].item()
        assert found == pytest.approx(grad.square().sum().log().item(), abs=1e-9), (name, l)


@pytest.mark.statistical
def test_masks_keep_the_stated_share_and_are_a_function_of_the_seed() -> None:
    rate, size = 0.3, 200_000
    runs = [Randomness(1, range(2), dtype=d, device=CPU) for d in (torch.float32, torch.bfloat16)]
    kept = [run.kept(4, Purpose.FFN_DROPOUT, size, rate) for run in runs]
    assert torch.equal(*kept)
    assert abs(kept[0].double().mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / (2 * size))
    assert torch.equal(runs[0].only(1).kept(4, Purpose.FFN_DROPOUT, size, rate)[0], kept[0][1])
    others = [(5, Purpose.FFN_DROPOUT), (4, Purpose.ATTENTION_DROPOUT)]
    for layer, purpose in others:
        assert not torch.equal(runs[0].kept(layer, purpose, size, rate), kept[0])


@pytest.mark.exact
@pytest.mark.parametrize("engine", ["explicit", "implicit"])
def test_batches_do_not_change_the_masks(engine: str) -> None:
    arch = Architecture(
        "pre-norm", depth=2, width=64, heads=4, tokens=8, dropout=0.2, attention_dropout=0.2, kv_heads=2
    )
    few, many = (
        simulate(arch, networks=n, engine=engine, dtype="float64", device="cpu", progress=False)
        for n in (2, 5)
    )
    for key, sample in few.samples.items():
        np.testing.assert_allclose(sample, many.samples[key][:2], rtol=1e-9, atol=1e-9)
