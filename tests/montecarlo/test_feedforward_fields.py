"""Feed-forward branches of real models in the explicit engine: against autograd through a stack by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from spannorm_theory.montecarlo.boundary import embedding
from spannorm_theory.montecarlo.network import Stack
from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Purpose, Randomness
from spannorm_theory.montecarlo.weights import ExplicitWeights
from spannorm_theory.spec.architecture import Architecture

CPU = torch.device("cpu")
STACKS: list[dict[str, Any]] = [
    {"activation": "relu2", "ffn_width": 40},
    {"activation": "quick-gelu"},
    {"activation": "gelu-tanh"},
    {"activation": "geglu-tanh"},
    {"activation": "swiglu-oss", "experts": 3, "top_k": 2},
    {"experts": 5, "top_k": 2, "dense_layers": 1, "dense_ffn_width": 56, "shared_experts": 1},
    {"experts": 5, "top_k": 3, "gates": "sigmoid", "routed_scale": 2.5, "shared_experts": 2},
    {"experts": 5, "top_k": 2, "gates": "softmax", "shared_experts": 2, "shared_gate": True},
    {"experts": 8, "top_k": 3, "gates": "sigmoid", "expert_groups": 4, "top_groups": 2, "router_gain": 9.0},
    {"experts": 6, "top_k": 2, "gates": "softmax", "expert_groups": 3, "top_groups": 2},
]


def rms(x: Any) -> Any:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def attention(x: Any, w: Any, heads: int) -> Any:
    q, k, v = (
        (x @ w[f"attn.{name}"]).view(len(x), heads, -1).transpose(0, 1) for name in ("query", "key", "value")
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(0, 1).reshape(x.shape) @ w["attn.output"]


def branch(x: Any, w: Any, activation: str, number: str = "") -> Any:
    up, functional = x @ w[f"ffn.up{number}"], torch.nn.functional
    match activation:
        case "gelu":
            hidden = functional.gelu(up)
        case "relu2":
            hidden = functional.relu(up) ** 2
        case "quick-gelu":
            hidden = up / (1 + (-1.702 * up).exp())
        case "gelu-tanh":
            hidden = functional.gelu(up, approximate="tanh")
        case "geglu-tanh":
            hidden = functional.gelu(x @ w[f"ffn.gate{number}"], approximate="tanh") * up
        case "swiglu-oss":  # as the model is written, clamps included
            gate = (x @ w[f"ffn.gate{number}"]).clamp(max=7.0)
            hidden = (up.clamp(-7.0, 7.0) + 1) * gate * (1.702 * gate).sigmoid()
    return hidden @ w[f"ffn.down{number}"]


def experts(x: Any, w: Any, arch: Architecture) -> Any:
    """Token by token."""
    rows, size = [], arch.experts // arch.expert_groups
    for token in x:
        logits = token @ w["ffn.router"]
        scores = logits.sigmoid() if arch.gates == "sigmoid" else logits.exp()
        parts = [scores[g * size : (g + 1) * size] for g in range(arch.expert_groups)]
        two = min(size, 2 if arch.gates == "sigmoid" else 1)
        order = sorted(range(arch.expert_groups), key=lambda g: -sum(sorted(parts[g].tolist())[-two:]))
        allowed = [e for e in range(arch.experts) if e // size in order[: arch.top_groups]]
        best = sorted(allowed, key=lambda e: -scores[e].item())[: arch.top_k]
        among = scores if arch.gates == "softmax" else scores[best]
        total = sum(scores[e] / among.sum() * branch(token, w, arch.activation, f".{e}") for e in best)
        total = arch.routed_scale * total
        gate = (token @ w["ffn.shared_gate"]).sigmoid() if arch.shared_gate else 1.0
        for e in range(arch.experts, arch.experts + arch.shared_experts):
            total = total + gate * branch(token, w, arch.activation, f".{e}")
        rows.append(total)
    return torch.stack(rows)


def block(x: Any, w: Any, arch: Architecture, layer: int) -> Any:
    x = x + attention(rms(x), w, arch.heads)
    dense = arch.experts == 1 or layer < arch.dense_layers
    return x + (branch(rms(x), w, arch.activation) if dense else experts(rms(x), w, arch))


@pytest.mark.exact
@pytest.mark.parametrize("changes", STACKS, ids=str)
@pytest.mark.parametrize("segment", [1, 3])
def test_against_autograd(changes: dict[str, Any], segment: int) -> None:
    arch = Architecture("pre-norm", depth=3, width=24, heads=4, tokens=6, init="xavier", **changes)
    random = Randomness(5, range(1), dtype=torch.float64, device=CPU)
    stack = Stack(Program(arch), ExplicitWeights, random, segment)
    x = embedding(arch, random)[0].requires_grad_()
    flat: list[tuple[str, int, Any]] = []
    y = x
    for l in range(arch.depth):
        matrices = stack.program.matrices(l)
        made = ExplicitWeights(matrices, random, l)
        weights = {name: made.matrix(name)[0].requires_grad_() for name in matrices}
        flat += [(name, l, w) for name, w in weights.items()]
        y = block(y, weights, arch, l)
    y = rms(y)
    probe = random.normal(0, Purpose.LOSS, y.numel())[0].view_as(y)
    grads = torch.autograd.grad(y, [x, *(w for *_, w in flat)], probe, allow_unused=True)
    record = stack.run()
    assert record.values["0", "grad_variance"][0].item() == pytest.approx(
        grads[0].square().mean().log().item(), abs=1e-9
    )
    squares: Counter[tuple[str, int]] = Counter()
    for (name, l, _), grad in zip(flat, grads[1:], strict=True):
        kind = ".".join(name.split(".")[:2])
        squares[kind, l] += 0.0 if grad is None else grad.square().sum().item()
    for name in arch.weights:
        for l in range(arch.depth):
            found = record.values[name, "weight_grad_norm"][l].exp().item()
            assert found == pytest.approx(squares[name, l], rel=1e-9), (name, l)
