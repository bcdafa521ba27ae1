"""The tangent kernel of tokens against gradients of single outputs in plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import spannorm_theory as st
from spannorm_theory.base.errors import InputError

TEXT = "pre-norm depth=2 width=32 heads=2 tokens=4 mask=causal"


def rms(x):
    return x / x.square().mean(-1, keepdim=True).sqrt()


def stack(x, weights):
    """Two causal PreNorm blocks of two heads."""
    n, d = x.shape
    for w in weights:
        y = rms(x)
        q, k, v = ((y @ w[name]).view(n, 2, -1).transpose(0, 1) for name in ("query", "key", "value"))
        logits = (q @ k.mT / (d // 2) ** 0.5).masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
        x = x + (logits.softmax(-1) @ v).transpose(0, 1).reshape(n, d) @ w["output"]
        x = x + functional.gelu(rms(x) @ w["up"]) @ w["down"]
    return rms(x)


@pytest.mark.statistical
def test_theory_and_networks_against_gradients_of_single_outputs() -> None:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    d, n = 32, 4
    shapes = {"up": (d, 4 * d), "down": (4 * d, d)}
    names = ("query", "key", "value", "output", "up", "down")
    found = []
    for _ in range(20):
        weights = [
            {k: (normal(*(s := shapes.get(k, (d, d)))) / s[0] ** 0.5).requires_grad_() for k in names}
            for _ in range(2)
        ]
        flat = [w for ws in weights for w in ws.values()]
        y = stack(normal(n, d), weights)
        kernels = torch.zeros(len(flat), n, n, dtype=torch.float64)
        for c in range(0, d, 2):  # coordinates are alike
            per_token = [torch.autograd.grad(y[s, c], flat, retain_graph=True) for s in range(n)]
            for i in range(len(flat)):
                g = torch.stack([grads[i].flatten() for grads in per_token])
                kernels[i] += g @ g.mT / (d / 2)
        diagonal = kernels.diagonal(dim1=-2, dim2=-1).sum(-1)
        found.append(torch.stack([diagonal, kernels.sum((-2, -1)) - diagonal]).numpy())
    mean = np.mean(found, axis=0)
    error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    full = {"up": "ffn.up", "down": "ffn.down"}
    for table in (st.tangent_kernel(TEXT), st.tangent_kernel(TEXT, networks=100, seed=1)):
        value = table.set_index(["layer", "stream", "quantity"])["value"]
        for i, key in enumerate((layer, full.get(k, f"attn.{k}")) for layer in range(2) for k in names):
            trace = n * value[(*key, "kernel_trace")]
            pairs = (n - 1) * trace * value[(*key, "kernel_alignment")]
            # beside four standard errors, what a head's width of 16 leaves out
            for k, known in enumerate((trace, pairs)):
                room = 4 * error[k, i] + mean[0, i] / 16
                assert abs(known - mean[k, i]) < room, (key, k, known, mean[k, i], error[k, i])


@pytest.mark.exact
def test_sums_over_matrices_and_blocks() -> None:
    table = st.tangent_kernel("span-norm depth=3 width=32 heads=2 tokens=4")
    value = table.set_index(["stream", "quantity", "layer"])["value"]
    parts = value[["attn.query", "attn.key", "attn.value", "attn.output", "ffn.up", "ffn.down"]]
    traces = parts.xs("kernel_trace", level="quantity")
    blocks = value["block"]["kernel_trace"]
    np.testing.assert_allclose(traces.groupby("layer").sum(), blocks)
    assert value["all", "kernel_trace", 0] == pytest.approx(blocks.sum())
    with pytest.raises(InputError, match="loss=probe"):
        st.tangent_kernel("span-norm depth=3 width=32 heads=2 tokens=4 loss=mean")
