"""The trainable module: the numbers of ``simulate``, a stack written by hand, and what torch does with it."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import spannorm_theory as st
from spannorm_theory.base.errors import InputError
from spannorm_theory.modules.sequences import step_of
from spannorm_theory.modules.transformer import Transformer
from spannorm_theory.montecarlo.randomness import Randomness

TINY: dict[str, Any] = {"depth": 3, "width": 16, "heads": 4, "tokens": 5}
HEAD = {"loss": "cross-entropy", "vocabulary": 7}
PLACEMENTS = [{"placement": name} for name in st.placements()]
RULES: list[dict[str, Any]] = [
    {"scaling": "depth-scaled-init"},
    {"scaling": "completep"},
    {"scaling": "deepnorm", "placement": "post-norm"},
]
GATES: list[dict[str, Any]] = [
    {"placement": "gated-post-norm(logits=1)"},
    {"placement": "gated-post-norm(logits=1, scalar=True)", "kv_heads": 2},
]
COMPONENTS: list[dict[str, Any]] = [
    {"mask": "causal", "positions": "rope", "rotary_share": 0.5},
    {"mask": "causal", "window": 2, "sinks": True},
    {"attention_pattern": "window,full", "window": 3, "mask": "causal"},
    {"head_width": 6, "kv_heads": 2, "attention_gate": True, "logit_scale": "linear"},
    {"latent_queries": 6, "latent_keys": 5},
    {"qk_norm": True, "logit_variance": 2.0},
    {"qkv_norm": True, "qk_norm_over": "width"},
    {"activation": "swiglu", "norm": "layer", "norm_epsilon": 0.1, "norm_gain": 0.7},
    {"activation": "relu", "init": "unit-branch", "draw": "orthogonal"},
    {"init": "xavier", "draw": "truncated"},
    {"experts": 4, "top_k": 2, "shared_experts": 1, "shared_gate": True, "dense_layers": 1},
    {"experts": 4, "top_k": 2, "gates": "sigmoid", "expert_groups": 2, "routed_scale": 2.0},
    {"batch": 3, "input_cosine": 0.4, "input_variance": 2.0},
    {"loss": "mean", "batch": 2},
    {"loss": "last"},
    {**HEAD, "batch": 2},
    {**HEAD, "inputs": "zipf", "position_variance": 0.5, "embedding_multiplier": 3.0, "batch": 3},
    {**HEAD, "inputs": "uniform", "logit_multiplier": 0.5, "head_gain": 4.0},
]
CASES = [*PLACEMENTS, *RULES, *GATES, *({"placement": "span-norm", **fields} for fields in COMPONENTS)]


def arch_of(fields: dict[str, Any]) -> st.Architecture:
    return st.Architecture(**{"placement": "pre-norm", **TINY, **fields})


def randomness(network: int, seed: int = 5) -> Randomness:
    return Randomness(seed, [network], dtype=torch.float64, device=torch.device("cpu"))


def squares(grads: Any) -> float:
    return float(sum(g.square().sum() for g in grads if g is not None))


@pytest.mark.exact
@pytest.mark.parametrize("fields", CASES, ids=lambda fields: ",".join(f"{k}={v}" for k, v in fields.items()))
def test_a_module_has_every_number_that_simulate_measures(fields: dict[str, Any]) -> None:
    arch = arch_of(fields)
    samples = st.simulate(
        arch, networks=2, seed=5, engine="explicit", dtype="float64", progress=False
    ).samples
    model = st.module(arch, seed=5, network=1, dtype="float64")
    inputs, loss = step_of(arch, randomness(1))
    start = model.embedded(inputs)
    start = start if arch.reads_ids else start.requires_grad_()
    found = [tuple(1.0 * start for _ in range(arch.definition.streams))]
    for block in model.blocks:
        found.append(tuple(1.0 * x for x in block(*found[-1])))  # of a stream that passes, one of its own
    value = loss(model.read_out(found[-1]))
    value.backward(inputs=[x for streams in found for x in streams] + list(model.parameters()))
    n = arch.tokens
    for layer, streams in enumerate(found):
        for i, x in enumerate(streams):
            assert x[:, :n].square().mean().log().item() == pytest.approx(
                samples[str(i), "variance"][1, layer]
            )
            gamma = (arch.batch * x.grad[:, :n]).square().mean() if x.grad is not None else torch.tensor(0.0)
            assert gamma.log().item() == pytest.approx(samples[str(i), "grad_variance"][1, layer])
    for (name, quantity), sample in samples.items():
        if quantity == "weight_grad_norm":
            for layer, block in enumerate(model.blocks):
                own = [p.grad for key, p in block.named_parameters() if f"{key}.".startswith(f"{name}.")]
                with np.errstate(divide="ignore"):
                    assert np.log(squares(own)) == pytest.approx(sample[1, layer])
    if arch.loss == "cross-entropy":
        assert value.item() == pytest.approx(samples["output", "loss"][1, 0])
        whole = squares(p.grad for p in model.parameters()) ** 0.5
        assert np.log(whole) == pytest.approx(samples["output", "global_grad_norm"][1, 0])


@pytest.mark.statistical
def test_dropout_is_that_of_simulate_in_law_and_off_in_evaluation() -> None:
    arch = arch_of({"depth": 1, "dropout": 0.3, "attention_dropout": 0.4, "width": 32})
    samples = st.simulate(arch, networks=150, seed=1, engine="explicit", progress=False).samples
    measured = samples["0", "variance"][:, -1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = []
        for network in range(150):
            model = st.module(arch, seed=2, network=network)
            inputs = torch.randn(1, arch.tokens, arch.width)
            found.append(model.boundaries(inputs)[-1][0].square().mean().log().item())
    apart = np.mean(found) - measured.mean()
    assert abs(apart) < 4 * np.hypot(np.std(found), measured.std()) / 150**0.5
    model.eval()
    assert torch.equal(model(inputs), model(inputs))
    model.train()
    assert not torch.equal(model(inputs), model(inputs))


def by_hand(model: Transformer, ids: torch.Tensor) -> torch.Tensor:
    """A causal pre-norm stack with learnt positions, from its state dict."""
    state, heads = model.state_dict(), model.arch.heads

    def rms(x: torch.Tensor) -> torch.Tensor:
        return x / x.square().mean(-1, keepdim=True).sqrt()

    x = state["embedding"][ids] + state["positions"]
    for layer in range(model.arch.depth):
        w = {key.removeprefix(f"blocks.{layer}."): p for key, p in state.items()}
        q, k, v = (
            (rms(x) @ w[f"attn.{name}"]).unflatten(-1, (heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + mixed.transpose(1, 2).flatten(-2) @ w["attn.output"]
        x = x + functional.gelu(rms(x) @ w["ffn.up"]) @ w["ffn.down"]
    return rms(x) @ state["head"]


TEXT = "pre-norm depth=2 width=16 heads=4 tokens=5 mask=causal inputs=zipf position_variance=0.5"
TEXT += " loss=cross-entropy vocabulary=7"


@pytest.mark.exact
def test_a_module_is_what_one_writes_by_hand() -> None:
    model = st.module(TEXT, dtype="float64")
    ids = torch.randint(0, 7, (3, 5), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(ids), by_hand(model, ids), rtol=1e-10, atol=1e-12)


@pytest.mark.exact
def test_compiled_checkpointed_copied_and_loaded_modules_are_the_same() -> None:
    model = st.module(TEXT, seed=3)
    ids = torch.arange(15).view(3, 5) % 7
    expected = model(ids)
    expected.square().mean().backward()
    grads = [p.grad for p in model.parameters()]
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(ids), expected, atol=1e-6)
    again = st.module(TEXT, seed=3, checkpointing=True)
    again(ids).square().mean().backward()
    assert all(torch.allclose(p.grad, g) for p, g in zip(again.parameters(), grads, strict=True))  # type: ignore[arg-type]
    other = st.module(TEXT, seed=4)
    assert not torch.allclose(other(ids), expected)
    other.load_state_dict(model.state_dict())
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for one in (other, copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(one(ids), expected)
    assert model.double()(ids).dtype == torch.float64
    assert TEXT.split()[0] in repr(model)


@pytest.mark.exact
@pytest.mark.parametrize("fields", CASES, ids=lambda fields: ",".join(f"{k}={v}" for k, v in fields.items()))
def test_checkpoints_states_and_dtypes_of_every_design(fields: dict[str, Any]) -> None:
    arch = arch_of(fields)
    model = st.module(arch, seed=3, dtype="float64")
    inputs, loss = step_of(arch, randomness(0))
    expected = model(inputs)
    grads = torch.autograd.grad(loss(expected), list(model.parameters()), allow_unused=True)
    again = st.module(arch, seed=3, dtype="float64", checkpointing=True)
    found = torch.autograd.grad(loss(again(inputs)), list(again.parameters()), allow_unused=True)
    for one, other in zip(grads, found, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.equal(one, other)
    single = st.module(arch, seed=9)
    single.load_state_dict(model.state_dict())
    half = inputs if arch.reads_ids else inputs.float()
    assert torch.allclose(single(half).double(), expected, atol=1e-4, rtol=1e-3)
    assert torch.allclose(single.double()(inputs), expected, atol=1e-5, rtol=1e-4)
    brief = st.module(arch, seed=3, dtype="bfloat16")
    output = brief(inputs if arch.reads_ids else inputs.bfloat16())
    output.float().square().sum().backward()
    assert output.dtype == torch.bfloat16
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in brief.parameters())
    if arch.experts == 1:  # a token between two experts may go to the other one
        away, size = (output.double() - expected).detach().norm(), expected.detach().norm()
        assert float(away / size) < 0.1


@pytest.mark.exact
@pytest.mark.long
@pytest.mark.parametrize("fields", CASES, ids=lambda fields: ",".join(f"{k}={v}" for k, v in fields.items()))
def test_compiled_designs_have_the_same_outputs_and_gradients(fields: dict[str, Any]) -> None:
    arch = arch_of(fields)
    torch.compiler.reset()
    model = st.module(arch, seed=3, dtype="float64")
    inputs, loss = step_of(arch, randomness(0))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=arch.experts == 1)
    values = [(loss(one(inputs)), one(inputs)) for one in (model, compiled)]
    assert torch.allclose(values[1][1], values[0][1], atol=1e-10, rtol=1e-8)
    pairs = [torch.autograd.grad(x, list(model.parameters()), allow_unused=True) for x, _ in values]
    for one, other in zip(*pairs, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.allclose(one, other, atol=1e-9, rtol=1e-7)


@pytest.mark.exact
@pytest.mark.usefixtures("own_generator")
def test_a_checkpointed_block_draws_its_dropout_once() -> None:
    arch = arch_of({"dropout": 0.3, "attention_dropout": 0.2})
    x, found = torch.randn(2, 5, 16), []
    for checkpointing in (False, True):
        model = st.module(arch, seed=3, checkpointing=checkpointing)
        torch.manual_seed(7)
        model(x).square().mean().backward()
        found.append([p.grad for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))  # type: ignore[arg-type]


def test_other_inputs_and_sizes_that_do_not_fit_are_refused() -> None:
    model = st.module(TEXT)
    with pytest.raises(
        InputError, match=r"token ids of shape \(sequences, 5\) are expected, got torch.int64 of"
    ):
        model(torch.zeros(3, 4, dtype=torch.long))
    with pytest.raises(InputError, match="token ids"):
        model(torch.zeros(3, 5))
    with pytest.raises(InputError, match=r"numbers of shape \(sequences, 5, 16\) are expected"):
        st.module(arch_of({}))(torch.zeros(5, 16))
    with pytest.raises(InputError, match="would fit"):
        st.module("pre-norm width=1048576 depth=100 heads=8")
    with pytest.raises(InputError, match="unknown dtype"):
        st.module(TEXT, dtype="float16")
