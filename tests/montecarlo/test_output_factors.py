"""Factors of a scaling rule on what matrices put out, against networks of plain torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import rounded

from spannorm_theory import Architecture, predict, simulate, verify
from spannorm_theory.spec.scaling import Multipliers, scaling

DEPTH, WIDTH, HEADS, TOKENS, NETWORKS = 3, 48, 2, 8, 200
ARCH = Architecture(
    "pre-norm", "inverse-layer-logits", depth=DEPTH, width=WIDTH, heads=HEADS, tokens=TOKENS, mask="causal"
)


def rms(x: Any) -> Any:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def measured() -> dict[str, Any]:
    """Squared gradients of queries' and keys' matrices by name, (networks, layers), where block l divides its
    logits by l + 1."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Any:
        return torch.randn(NETWORKS, *shape, generator=generator)

    leaves: dict[str, list[Any]] = {"attn.query": [], "attn.key": []}
    x = normal(TOKENS, WIDTH)
    hidden = torch.ones(TOKENS, TOKENS).triu(1).bool()
    for layer in range(DEPTH):
        wq, wk, wv, wo = ((normal(WIDTH, WIDTH) / WIDTH**0.5).requires_grad_() for _ in range(4))
        leaves["attn.query"].append(wq)
        leaves["attn.key"].append(wk)
        h = rms(x)
        q, k, v = ((h @ w).view(NETWORKS, TOKENS, HEADS, -1).transpose(1, 2) for w in (wq, wk, wv))
        logits = q @ k.mT / (WIDTH // HEADS) ** 0.5 / (layer + 1)
        rows = logits.masked_fill(hidden, -torch.inf).softmax(-1)
        x = x + (rows @ v).transpose(1, 2).reshape(NETWORKS, TOKENS, WIDTH) @ wo
        up, down = normal(WIDTH, 4 * WIDTH) / WIDTH**0.5, normal(4 * WIDTH, WIDTH) / (4 * WIDTH) ** 0.5
        x = x + torch.nn.functional.gelu(rms(x) @ up) @ down
    rms(x).backward(normal(TOKENS, WIDTH))
    return {
        name: torch.stack([w.grad.square().sum((1, 2)) for w in found], dim=1).numpy()
        for name, found in leaves.items()
    }


@pytest.mark.statistical
def test_networks_that_divide_their_logits() -> None:
    table = simulate(ARCH, networks=NETWORKS, progress=False).table
    for name, found in measured().items():
        own = table[(table["stream"] == name) & (table["quantity"] == "weight_grad_norm")]
        error = np.hypot(found.std(axis=0, ddof=1) / NETWORKS**0.5, own["se"])
        assert (np.abs(found.mean(axis=0) - own["value"]) < 4 * error).all(), name
        assert (4 * error < 0.5 * own["value"]).all()  # a factor of (l + 1)^2 would be seen


@pytest.mark.statistical
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_theory_agrees(mask: str) -> None:
    result = verify(ARCH.with_(mask=mask, width=128), networks=32, progress=False)
    assert result.passed, result.summary()


@pytest.mark.exact
@pytest.mark.parametrize(
    ("mask", "theory"), [("none", "pair"), ("causal", "sampled"), ("causal", "positions")]
)
def test_a_factor_is_that_of_the_entries_but_for_the_gradient(
    mask: str, theory: str, registries: None
) -> None:
    @scaling("smaller-queries", title="queries / (l+1)", source="a test")
    def smaller(sublayer: str, l: Any, L: Any, d: Any) -> Multipliers:
        return Multipliers(gains={"attn.query": 1 / (l + 1)})

    one, two = (
        predict(ARCH.with_(scaling=name, mask=mask), theory=theory).set_index(["stream", "quantity", "layer"])
        for name in ("inverse-layer-logits", "smaller-queries")
    )
    ratio = (one["value"] / two["value"]).dropna()
    of_queries = ratio.index.get_level_values("stream") == "attn.query"
    layers = ratio.index.get_level_values("layer").to_numpy()
    assert ratio.to_numpy() == rounded(np.where(of_queries, 1 / (layers + 1.0) ** 2, 1.0))
