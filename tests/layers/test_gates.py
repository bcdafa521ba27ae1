"""Gates of random maps of the stream: their moments against plain torch, and where they are refused."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch.nn import functional

import spannorm_theory as st
from spannorm_theory.base.errors import AssumptionError, InputError, NoClosedForm
from spannorm_theory.spec.net import Net

TOKENS, WIDTH, NETWORKS, BATCH, LOGITS, COSINE = 6, 128, 400, 100, 1.5, 0.5
FUNCTIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}

#: a gated skip around a feed-forward branch, the gate reading what the branch does
GATED = "gated-skip"


def final_norm(x: Any, net: Net) -> Any:
    return net.norm(x)


@pytest.fixture
def gated(registries: None) -> None:
    @st.placement(GATED, title="Gated skip", source="this test", readout=final_norm)
    def define(
        x: Any, net: Net, *, logits: float = LOGITS, function: str = "sigmoid", per: str = "channel"
    ) -> Any:
        read = net.norm(x)
        return net.add(net.gate(x, read, logits=logits, per=per, function=function), net.ffn(read))


def architecture(**fields: Any) -> st.Architecture:
    own = {"depth": 1, "width": WIDTH, "heads": 4, "tokens": TOKENS, "input_cosine": COSINE, "loss": "mean"}
    return st.Architecture(**{"placement": GATED, **own, **fields})


def rms(x: Any) -> Any:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


@lru_cache
def measured(function: str) -> dict[str, tuple[float, float]]:
    """Moments of one block in plain torch, with standard errors over networks."""
    generator, rows = torch.Generator().manual_seed(3), dict[str, list[Any]]()
    sizes = {"gate.0": (WIDTH, LOGITS), "ffn.up": (4 * WIDTH, 1.0), "ffn.down": (WIDTH, 1.0)}

    def normal(*shape: int) -> Any:
        return torch.randn(BATCH, *shape, generator=generator)

    for _ in range(NETWORKS // BATCH):
        own, common, inputs = normal(TOKENS, WIDTH), normal(1, WIDTH), WIDTH
        x = ((1 - COSINE) ** 0.5 * own + COSINE**0.5 * common).requires_grad_()
        w = {}
        for name, (outputs, gain) in sizes.items():
            inputs = 4 * WIDTH if name == "ffn.down" else WIDTH
            w[name] = ((gain / inputs) ** 0.5 * normal(inputs, outputs)).requires_grad_()
        branch = functional.gelu(rms(x) @ w["ffn.up"]) @ w["ffn.down"]
        y = FUNCTIONS[function](rms(x) @ w["gate.0"]) * x + branch
        (rms(y) * normal(1, WIDTH)).sum().backward()
        assert x.grad is not None
        for name, value in {"variance": y.detach(), "grad_variance": x.grad}.items():
            rows.setdefault(name, []).append(value.square().mean((1, 2)))
            rows.setdefault(f"{name} of the sum", []).append(value.sum(1).square().mean(1))
        for name, leaf in w.items():
            rows.setdefault(name, []).append(leaf.grad.square().sum((1, 2)))
    found = {name: torch.cat(parts).double().numpy() for name, parts in rows.items()}
    return {name: (float(x.mean()), float(x.std(ddof=1)) / NETWORKS**0.5) for name, x in found.items()}


def of_sum(size: float, cosine: float) -> float:
    return TOKENS * size * (1 + (TOKENS - 1) * cosine)


def predicted(arch: st.Architecture, **options: Any) -> dict[str, float]:
    """The quantities of :func:`measured`, by theory."""
    table = st.predict(arch, **options)

    def at(quantity: str, layer: int) -> float:
        return st.value_at(table, quantity, layer=layer)

    q, gamma = at("variance", 1), at("grad_variance", 0)
    weights = table[table.quantity == "weight_grad_norm"].set_index("stream")["value"].to_dict()
    return {
        "variance": q,
        "variance of the sum": of_sum(q, at("token_cosine", 1)),
        "grad_variance": gamma,
        "grad_variance of the sum": of_sum(gamma, at("grad_token_cosine", 0)),
        **{name: weights[name] for name in ("gate.0", "ffn.up", "ffn.down")},
    }


@pytest.mark.statistical
@pytest.mark.parametrize("theory", ["pair", "sampled"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_moments_of_a_gated_skip(function: str, theory: str, gated: None) -> None:
    found = predicted(architecture(placement=f"{GATED}(function={function})"), theory=theory)
    networks = measured(function)
    assert set(found) == set(networks)
    for name, (mean, error) in networks.items():
        assert abs(found[name] - mean) < 4 * error + 2 / WIDTH * mean, (name, found[name], mean, error)


@pytest.mark.statistical
def test_a_theory_of_gates_at_their_centre_is_refuted(gated: None) -> None:
    found, networks = predicted(architecture(placement=f"{GATED}(logits=1e-9)")), measured("sigmoid")
    off = {
        name for name, (mean, error) in networks.items() if abs(found[name] - mean) > 8 * error + 0.03 * mean
    }
    assert off >= {"variance", "gate.0"}


@pytest.mark.statistical
@pytest.mark.parametrize("fields", [{}, {"mask": "causal"}, {"placement": "gated-streams(logits=4)"}])
def test_stacks_of_gates_verify(fields: dict[str, Any]) -> None:
    arch = {"placement": "gated-post-norm(logits=2)", "depth": 2, "width": 128, "heads": 4, "tokens": 6}
    result = st.verify(st.Architecture(**{**arch, **fields}), networks=32, progress=False)
    assert result.passed
    assert {"gate.0", "gate.3"} <= set(result.table["stream"])


@pytest.mark.exact
def test_a_gate_of_no_logits_is_a_constant(gated: None) -> None:
    plain = st.Architecture("gated-post-norm", depth=2)
    assert not any(name.startswith("gate") for name in plain.weights)
    assert str(plain.block(0)).startswith("1/2*norm(")
    random = plain.with_(placement="gated-post-norm(logits=1)")
    assert random.weights["gate.3"] == (plain.width, plain.width)
    assert random.with_(placement="gated-post-norm(logits=1, scalar=True)").weights["token_gate.0"][1] == 1


@pytest.mark.exact
def test_a_gate_reads_tokens_without_its_value_and_says_so(gated: None) -> None:
    assert str(architecture().block(0)) == ("1/2*x0 + 1/2*gate(norm(x0))*x0 + ffn(norm(x0))")
    assert st.Architecture.parse(str(architecture())) == architecture()


def test_where_gates_are_refused(gated: None, registries: None) -> None:
    with pytest.raises(AssumptionError, match=r"one number for each token.*simulate"):
        st.predict(architecture(placement=f"{GATED}(per=token)"))
    with pytest.raises(NoClosedForm, match=r"gates at their centres.*predict"):
        st.derive(GATED).text()
    with pytest.raises(NoClosedForm, match="gates"):
        st.derive(GATED).iterate(2, sigma_a2=1.0, sigma_f2=1.0, omega_a2=1.0, omega_f2=1.0)
    with pytest.raises(AssumptionError, match="gates of"):
        st.first_step(architecture(), lr=0.1)
    with pytest.raises(InputError, match="must not be negative"):
        architecture(placement=f"{GATED}(logits=-1)").block(0)
    with pytest.raises(InputError, match=r"per.*channel"):
        architecture(placement=f"{GATED}(per=head)").block(0)
    with pytest.raises(InputError, match="one or the other"):

        @st.placement("both", title="Both", source="this test")
        def both(x: Any, net: Net) -> Any:
            return net.add(net.gate(x, logits=1), net.ffn(net.pointwise(x, "tanh")))

    with pytest.raises(InputError, match=r"readout.*gate"):

        @st.placement("end", title="End", source="this test", readout=lambda x, net: net.gate(x, logits=1))
        def end(x: Any, net: Net) -> Any:
            return net.add(x, net.ffn(net.norm(x)))


def test_diagrams_have_gates_and_products(gated: None) -> None:
    drawn = [patch.get_gid() for patch in st.plot.block_diagram(GATED).patches]
    assert (drawn.count("gate"), drawn.count("product")) == (1, 1)
