"""Measured first steps: against a stack written by hand and moved by a small step, and an exact identity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import spannorm_theory as st
from spannorm_theory.base.errors import InputError, NonFiniteError, UnknownNameError
from spannorm_theory.first_steps.measured import measure
from spannorm_theory.first_steps.optimisers import optimiser
from spannorm_theory.modules.sequences import step_of
from spannorm_theory.montecarlo.randomness import Randomness

CPU = torch.device("cpu")
ARCH = st.Architecture("pre-norm", depth=2, width=12, heads=3, tokens=4, mask="causal", batch=2)
#: of the central difference, whose error is its square
SMALL = 1e-6


def rms(x: torch.Tensor) -> torch.Tensor:
    return x / x.square().mean(-1, keepdim=True).sqrt()


def attention(x: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
    q, k, v = (
        (x @ w[f"attn.{name}"]).unflatten(-1, (3, 4)).transpose(1, 2) for name in ("query", "key", "value")
    )
    mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return mixed.transpose(1, 2).flatten(-2) @ w["attn.output"]


def stack(x: torch.Tensor, weights: list[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
    """Pre-norm streams behind every block, and the normed output."""
    found = []
    for w in weights:
        x = x + attention(rms(x), w)
        x = x + functional.gelu(rms(x) @ w["ffn.up"]) @ w["ffn.down"]
        found.append(x)
    return [*found, rms(x)]


def polar(g: torch.Tensor) -> torch.Tensor:
    left, values, right = torch.linalg.svd(g, full_matrices=False)
    kept = values > 1e-10 * values[0]
    return left[:, kept] @ right[kept]


UPDATES = {
    "sgd": lambda g: g,
    "sign": torch.sign,
    "adam": lambda g: g / (g.abs() + 0.3),
    "orthogonal": polar,
    "muon": lambda g: 0.2 * max(g.shape) ** 0.5 * polar(g),
}


def own_step(name: str, rates: dict[str, float]) -> tuple[torch.Tensor, Any, Any, Any, Any]:
    """Inputs, loss, weights, gradients and changes of a network, by hand."""
    state = st.module(ARCH, seed=3, network=1, dtype="float64").state_dict()
    random = Randomness(3, [1], dtype=torch.float64, device=CPU)
    inputs, loss = step_of(ARCH, random)
    weights = [
        {key: state[f"blocks.{layer}.{key}"].requires_grad_() for key in ARCH.weights} for layer in range(2)
    ]
    flat = [w for block in weights for w in block.values()]
    grads = iter(torch.autograd.grad(loss(stack(inputs, weights)[-1]), flat))
    own = [{key: next(grads) for key in block} for block in weights]
    changes = [{key: -rates[key] * UPDATES[name](g) for key, g in block.items()} for block in own]
    return inputs, loss, [{k: w.detach() for k, w in b.items()} for b in weights], own, changes


@pytest.mark.exact
@pytest.mark.parametrize("name", UPDATES)
def test_a_step_is_that_of_a_stack_written_by_hand(name: str) -> None:
    rates = {key: 0.5 + 0.1 * i for i, key in enumerate(ARCH.weights)}
    rule = optimiser(name, 0.3 if name == "adam" else None)
    samples = {key: x[1] for key, x in measure(ARCH, rule, rates, 2, 3, CPU, progress=False).items()}
    inputs, loss, weights, grads, changes = own_step(name, rates)

    def moved(factor: float) -> list[torch.Tensor]:
        pairs = zip(weights, changes, strict=True)
        return stack(inputs, [{k: w + factor * c[k] for k, w in b.items()} for b, c in pairs])

    apart = [(up - down) / (2 * SMALL) for up, down in zip(moved(SMALL), moved(-SMALL), strict=True)]
    decrease = -(loss(moved(SMALL)[-1]) - loss(moved(-SMALL)[-1])) / (2 * SMALL)
    close = {"rel": 1e-6, "abs": 1e-9}
    assert np.exp(samples["all", "loss_slope"][0]) == pytest.approx(decrease.item(), **close)
    for layer in (0, 1):
        size = apart[layer].square().mean().log().item()
        assert samples["0", "stream_change"][layer + 1] == pytest.approx(size, **close)
        slopes = {k: -(grads[layer][k] * c).sum().item() for k, c in changes[layer].items()}
        assert np.exp(samples["block", "loss_slope"][layer]) == pytest.approx(sum(slopes.values()), **close)
        for key, g in grads[layer].items():
            expected = {
                "update_ratio": changes[layer][key].norm() / weights[layer][key].norm(),
                "grad_l1": g.abs().sum(),
                "grad_nuclear": torch.linalg.svdvals(g).sum(),
                "loss_slope": slopes[key],
            }
            for quantity, value in expected.items():
                assert samples[key, quantity][layer] == pytest.approx(np.log(float(value)), **close)
            share = slopes[key] / decrease.item()
            assert samples[key, "learning_share"][layer] == pytest.approx(share, **close)
    x = stack(inputs, weights)[0]
    between = x + attention(rms(x), weights[1])
    for branch, function in (
        ("attn", lambda w: attention(rms(x), w)),
        ("ffn", lambda w: functional.gelu(rms(between) @ w["ffn.up"]) @ w["ffn.down"]),
    ):
        ends = [function({k: w + s * changes[1][k] for k, w in weights[1].items()}) for s in (SMALL, -SMALL)]
        size = ((ends[0] - ends[1]) / (2 * SMALL)).square().mean().log().item()
        assert samples[branch, "branch_change"][1] == pytest.approx(size, **close)
    projected = (rms(x) @ changes[1]["attn.query"]).square().mean().log().item()
    assert samples["attn.query", "matrix_change"][1] == pytest.approx(projected, **close)
    assert samples["output", "stream_change"][0] == pytest.approx(
        apart[2].square().mean().log().item(), **close
    )


BROAD: list[dict[str, Any]] = [
    *({"placement": name} for name in ("post-norm", "span-norm", "peri-ln", "hybrid-norm", "siamese-norm")),
    *({"placement": name} for name in ("b2t", "mix-ln", "gpas", "dyt", "hyper-connections", "ngpt")),
    {"mask": "causal", "positions": "rope", "kv_heads": 2, "sinks": True, "qk_norm": True},
    {"latent_queries": 6, "latent_keys": 5, "attention_gate": True},
    {"experts": 4, "top_k": 2, "shared_experts": 1, "dense_layers": 1, "activation": "swiglu"},
    {"dropout": 0.2, "attention_dropout": 0.2},
    {"inputs": "zipf", "loss": "cross-entropy", "vocabulary": 9},
]


@pytest.mark.exact
@pytest.mark.parametrize("name", ["sign", "muon"])
@pytest.mark.parametrize("fields", BROAD, ids=lambda fields: ",".join(f"{k}={v}" for k, v in fields.items()))
def test_a_change_along_the_gradient_is_the_decrease_by_all_below(fields: dict[str, Any], name: str) -> None:
    arch = st.Architecture(
        **{"placement": "pre-norm", "depth": 3, "width": 16, "heads": 4, "tokens": 5, **fields}
    )
    rates = dict.fromkeys(arch.weights, 0.1)
    found = measure(arch, optimiser(name), rates, 2, 4, CPU, progress=False)
    simulated = st.simulate(arch, networks=2, seed=4, engine="explicit", dtype="float64", progress=False)
    streams = range(arch.definition.streams)
    squares = sum(np.exp(simulated.samples[str(s), "grad_variance"]) for s in streams)[:, 1:]
    below = np.exp(found["block", "loss_slope"]).cumsum(axis=1)
    coherent = below**2 / (arch.tokens * arch.width) ** 2 / squares
    assert np.exp(found["all", "coherent_change"][:, 1:]) == pytest.approx(coherent, rel=1e-7)
    moved = sum(np.exp(found[str(s), "stream_change"]) for s in streams)[:, 1:]
    assert found["all", "coherent_share"][:, 1:] == pytest.approx(coherent / moved, rel=1e-7)
    assert found["block", "learning_share"].sum(axis=1) == pytest.approx(1)


@pytest.mark.exact
def test_rows_scale_with_the_rate_and_a_matrix_that_stays_has_none() -> None:
    one = st.first_step(ARCH, "sign", networks=2, progress=False)
    other = st.first_step(ARCH, "sign", lr=0.1, networks=2, progress=False)
    powers = {"loss_slope": 1, "update_ratio": 1}
    powers |= dict.fromkeys(("matrix_change", "branch_change", "stream_change", "coherent_change"), 2)
    factors = one["quantity"].map(lambda name: 0.1 ** powers.get(name, 0))
    assert other["value"].to_numpy() == pytest.approx((factors * one["value"]).to_numpy(), nan_ok=True)
    assert set(one["optimiser"]) == {"sign"}
    alone = st.first_step(ARCH, "sign", lr={"ffn.up": 1.0}, networks=2, progress=False)
    shares = alone[alone["quantity"] == "learning_share"].groupby("stream")["value"].sum()
    assert shares["ffn.up"] == pytest.approx(1)
    assert shares["attn.query"] == 0


def test_what_no_step_has_is_refused() -> None:
    for call, error, words in (
        (
            lambda: st.first_step(ARCH, "adamw"),
            UnknownNameError,
            "unknown optimiser 'adamw'",
        ),
        (lambda: st.first_step(ARCH, "sign", lr={"attn.q": 1}), UnknownNameError, "unknown matrix 'attn.q'"),
        (lambda: st.first_step(ARCH, "sign", lr={}), InputError, "lr names no matrix"),
        (lambda: st.first_step(ARCH, "sign", lr=-1), InputError, "lr must be a positive number"),
        (lambda: st.first_step(ARCH, "sgd", epsilon=1e-3), InputError, "epsilon is of adam alone"),
        (lambda: st.first_step(ARCH, networks=-1), InputError, "networks must be an integer of at least 0"),
        (lambda: st.first_step(ARCH.with_(tokens=4096), networks=1), InputError, "4096 tokens of 3 heads"),
        (lambda: st.verify_step(ARCH, networks=2), InputError, "networks must be an integer of at least 3"),
    ):
        with pytest.raises(error, match=words):
            call()  # type: ignore[no-untyped-call]
    with pytest.raises(NonFiniteError, match="not finite"):
        st.first_step(
            "no-norm init=30 depth=150 width=16 heads=2 tokens=4", "sgd", networks=1, progress=False
        )
