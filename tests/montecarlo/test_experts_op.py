"""Experts on tensors: against modules written by hand, with real routing, in both engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from spannorm_theory.montecarlo.boundary import embedding
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.network import Stack
from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Purpose, Randomness
from spannorm_theory.montecarlo.weights import ExplicitWeights
from spannorm_theory.spec.architecture import Architecture

CPU = torch.device("cpu")
CHOICES = [
    {"experts": 5, "top_k": 2},
    {"experts": 5, "gates": "softmax", "activation": "swiglu"},
    {"experts": 4, "top_k": 3, "gates": "softmax", "shared_experts": 2},
]


def rms(x: Any) -> Any:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def by_hand(x: Any, w: dict[str, Any], arch: Architecture) -> tuple[Any, list[int]]:
    """One token at a time, as the definition says."""
    loads, rows = [0] * arch.experts, []

    def expert(token: Any, e: int) -> Any:
        up = token @ w[f"ffn.up.{e}"]
        if arch.nonlinearity.gated:
            return (functional.silu(token @ w[f"ffn.gate.{e}"]) * up) @ w[f"ffn.down.{e}"]
        return functional.gelu(up) @ w[f"ffn.down.{e}"]

    for token in x:
        logits = token @ w["ffn.router"]
        best = sorted(range(arch.experts), key=lambda e: -logits[e].item())[: arch.top_k]
        among = logits[best] if arch.gates == "renormalised" else logits
        total = sum(expert(token, s) for s in range(arch.experts, arch.experts + arch.shared_experts))
        for e in best:
            loads[e] += 1
            total = total + logits[e].exp() / among.exp().sum() * expert(token, e)
        rows.append(total)
    return torch.stack(rows), loads


@pytest.fixture
def _experts_only(registries: None) -> None:
    import spannorm_theory as st

    @st.placement("experts-only", title="feed-forward branch alone", source="test")
    def experts_only(x, net):  # type: ignore[no-untyped-def]
        """x + F(N(x))."""
        return net.add(x, net.ffn(net.norm(x)))


class Whole(ExplicitWeights):
    """Real matrices that every expert applies to all tokens."""

    whole = True


@pytest.mark.exact
@pytest.mark.usefixtures("_experts_only")
@pytest.mark.parametrize("engine", [ExplicitWeights, Whole])
@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_branch_gradients_and_loads(choice: dict[str, Any], engine: type[ExplicitWeights]) -> None:
    arch = Architecture("experts-only", depth=1, width=24, heads=1, tokens=7, **choice)
    random = Randomness(3, range(2), dtype=torch.float64, device=CPU)
    stack = Stack(Program(arch), engine, random, 1)
    record = stack.run()
    made = ExplicitWeights(stack.program.matrices(0), random, 0)
    probe = random.normal(0, Purpose.LOSS, 7 * 24).view(2, 7, 24)
    for network in range(2):
        w = {name: made.matrix(name)[network].clone().requires_grad_() for name in made.matrices}
        x = embedding(arch, random)[network].requires_grad_()
        branch, loads = by_hand(rms(x), w, arch)
        y = x + branch
        grads = torch.autograd.grad(y, [x, *w.values()], probe[network], allow_unused=True)
        norms = dict.fromkeys(arch.weights, 0.0)
        for name, grad in zip(w, grads[1:], strict=True):
            kind = ".".join(name.split(".")[:2])
            norms[kind] = norms.get(kind, 0.0) + (0.0 if grad is None else grad.square().sum().item())
        expected = {
            ("0", "variance", 1): y.square().mean().log().item(),
            ("0", "grad_variance", 0): grads[0].square().mean().log().item(),
            ("ffn.router", "load_imbalance", 0): np.var(loads) / np.mean(loads) ** 2,
        }
        for name in ("ffn.up", "ffn.down", "ffn.router"):
            expected[name, "weight_grad_norm", 0] = np.log(norms[name])
        for (stream, quantity, layer), value in expected.items():
            measured = record.values[stream, quantity][layer][network].item()
            assert measured == pytest.approx(value, rel=1e-9), (stream, quantity)


@pytest.mark.exact
@pytest.mark.parametrize("engine", ["explicit", "implicit"])
def test_networks_do_not_depend_on_their_batch(engine: str) -> None:
    arch = Architecture("post-norm", depth=2, width=32, heads=2, tokens=6, experts=4, top_k=2)
    many, few = (
        simulate(arch, networks=n, engine=engine, device="cpu", dtype="float64", progress=False)
        for n in (5, 2)
    )
    for key, sample in few.samples.items():
        np.testing.assert_allclose(many.samples[key][:2], sample, rtol=1e-9, atol=1e-9)


@pytest.mark.exact
def test_a_lone_renormalised_gate_gives_its_router_no_gradient() -> None:
    arch = Architecture("pre-norm", depth=2, width=32, heads=2, tokens=6, experts=4)
    ensemble = simulate(arch, networks=4, device="cpu", progress=False)
    assert np.isneginf(ensemble.samples["ffn.router", "weight_grad_norm"]).all()
