"""Blocks that have their matrices in common, or start with the same numbers, against plain torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sympy import sqrt
from torch.nn import functional as F

import spannorm_theory as st
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.bounds.intervals import forward_box
from spannorm_theory.montecarlo.boundary import embedding, loss_at
from spannorm_theory.montecarlo.network import Stack
from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Randomness
from spannorm_theory.montecarlo.shared import SharedGradients
from spannorm_theory.montecarlo.weights import ExplicitWeights

CPU = torch.device("cpu")
SHAPE = {"width": 16, "heads": 2, "tokens": 6, "activation": "relu"}
NAMES = ("attn.query", "attn.key", "attn.value", "attn.output", "ffn.up", "ffn.down")


def rms(x: torch.Tensor) -> torch.Tensor:
    return x / x.square().mean(-1, keepdim=True).sqrt()


def attention(x: torch.Tensor, w: dict[str, torch.Tensor], heads: int) -> torch.Tensor:
    n, d = x.shape
    q, k, v = ((x @ w[f"attn.{m}"]).view(n, heads, -1).transpose(0, 1) for m in ("query", "key", "value"))
    rows = (q @ k.mT / (d // heads) ** 0.5).softmax(-1)
    return (rows @ v).transpose(0, 1).reshape(n, d) @ w["attn.output"]


def feed_forward(x: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
    return F.relu(x @ w["ffn.up"]) @ w["ffn.down"]


def plain(arch: st.Architecture, x: torch.Tensor, blocks: list[dict[str, torch.Tensor]]) -> torch.Tensor:
    """A stack of PreNorm or PostNorm whose block l has ``blocks[l]``."""
    for w in blocks:
        if arch.name == "pre-norm":
            x = x + attention(rms(x), w, arch.heads)
            x = x + feed_forward(rms(x), w)
        else:
            x = rms(x + attention(x, w, arch.heads))
            x = rms(x + feed_forward(x, w))
    return rms(x) if arch.name == "pre-norm" else x


@pytest.mark.exact
@pytest.mark.parametrize("segment", [5, 2])
@pytest.mark.parametrize(("placement", "unique"), [("pre-norm", 1), ("post-norm", 2), ("pre-norm", 3)])
@pytest.mark.parametrize("copied", [False, True])
def test_every_gradient_is_autograds(placement: str, unique: int, copied: bool, segment: int) -> None:
    """In float64, of the same numbers; rows of a shared matrix are of the sum over its blocks."""
    arch = st.Architecture(placement, depth=5, unique_blocks=unique, copied=copied, **SHAPE)
    random = Randomness(5, range(1), dtype=torch.float64, device=CPU, cycle=unique)
    stack = Stack(Program(arch), ExplicitWeights, random, segment)
    record = stack.run()
    drawn = [
        {name: made.matrix(name)[0].requires_grad_() for name in NAMES}
        for layer in range(arch.depth if copied else unique)
        for made in [ExplicitWeights(stack.program.matrices(layer), random, layer)]
    ]
    x = embedding(arch, random)[0].requires_grad_()
    out = plain(arch, x, [drawn[layer % len(drawn)] for layer in range(arch.depth)])
    out.backward(loss_at(arch, random, out[None]).gradient[0])
    assert x.grad is not None
    grad = float(x.grad.square().mean().log())
    assert float(record.values["0", "grad_variance"][0]) == pytest.approx(grad, abs=1e-9)
    for name in NAMES:
        rows = record.values[name, "weight_grad_norm"]
        assert sorted(rows) == list(range(len(drawn)))
        for layer, value in rows.items():
            own = drawn[layer][name].grad
            assert own is not None
            assert float(value[0]) == pytest.approx(float(own.square().sum().log()), abs=1e-9)


@pytest.mark.exact
def test_sums_hold_where_powers_of_two_differ_by_any_number() -> None:
    sums = SharedGradients(1)
    one = torch.ones(2, 1, 1)
    exponents = [torch.tensor([e, -e], dtype=torch.float64) for e in (0.0, 3.0, 2000.0)]
    for layer, exponent in zip((2, 1), exponents, strict=False):
        assert sums.add(layer, {"w": one}, exponent)[0] is None
    found, exponent = sums.add(0, {"w": one}, exponents[2])
    assert found is not None
    assert exponent.tolist() == [2000.0, 0.0]
    assert found["w"].tolist() == [1.0, (1 + 2.0**-3) ** 2]


def torch_default(sublayer, l, L, d):  # type: ignore[no-untyped-def]
    """PyTorch's encoder layer: queries, keys and values Xavier as one matrix, all else of 1/(3 fan-in)."""
    std = dict.fromkeys(("attn.query", "attn.key", "attn.value"), 1 / sqrt(2 * d))
    return st.Multipliers(
        std={**std, "attn.output": 1 / sqrt(3 * d), "ffn.up": 1 / sqrt(3 * d), "ffn.down": 1 / sqrt(12 * d)}
    )


@pytest.mark.statistical
@pytest.mark.usefixtures("registries")
def test_pytorchs_encoder_whose_layers_are_copies_of_one() -> None:
    """12 layers of width 256: published figures with their standard errors, of its biases too, which are at
    most 2 % of the stream; layers of their own end at 2.00."""
    st.scaling("torch-default", title="", source="")(torch_default)
    shape = "depth=12 width=256 heads=8 tokens=32 activation=relu norm=layer draw=uniform"

    def holds(text: str, quantity: str, layer: int, published: float, error: float) -> None:
        samples = st.simulate(f"{text} {shape}", networks=8, progress=False).samples["0", quantity][:, layer]
        values = samples if quantity == "token_cosine" else np.exp(samples)
        standard = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - published) < 4 * np.hypot(standard, error), (text, quantity, values.mean())

    copies = "torch-default unique_blocks=1 copied=True"
    holds(f"pre-norm {copies}", "variance", 12, 14.66, 0.36)
    holds(f"post-norm {copies}", "grad_variance", 0, 0.243, 0.024)
    holds(f"post-norm {copies}", "token_cosine", 12, 0.953, 0.004)
    holds("pre-norm torch-default", "variance", 12, 2.00, 0.02)  # two digits and a half
    own = st.predict(f"pre-norm torch-default {shape}").query("quantity == 'variance' and layer == 12")
    assert own["value"].iloc[0] == pytest.approx(2.0, rel=0.03)  # finite width


@pytest.mark.exact
def test_theory_says_what_to_do() -> None:
    arch = st.Architecture("pre-norm", depth=4, unique_blocks=1, **SHAPE)
    asks = [
        lambda: st.predict(arch),
        lambda: st.predict(arch, theory="sampled"),
        lambda: st.predict(arch.with_(mask="causal"), theory="positions"),
        lambda: st.expected(arch),
        lambda: st.verify(arch, networks=4),
        lambda: st.atlas("pre-norm", "unit", unique_blocks=2),
    ]
    assert forward_box(arch) is None
    compared = st.compare([arch])
    assert "unique_blocks=1 gives several" in compared.sentences[0]
    assert "no law" in compared.table["forward_law"].iloc[0]
    for ask in asks:
        with pytest.raises(AssumptionError, match=r"unique_blocks=[12] gives several .* simulate") as caught:
            ask()
        assert "\n" not in str(caught.value)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unique_blocks": 7}, "unique_blocks must be at most depth=4, got 7"),
        ({"unique_blocks": 0}, "unique_blocks must be an integer of at least 1"),
        ({"copied": True}, "copied has no effect on blocks that are all different"),
        ({"copied": True, "unique_blocks": 4}, "copied has no effect"),
        ({"unique_blocks": 2, "scaling": "mitchell"}, "'mitchell' gives attn.output of every block a size"),
        ({"unique_blocks": 2, "scaling": "layerscale-18"}, "learnt multipliers, .* use copied=True"),
        ({"unique_blocks": 2, "experts": 4, "top_k": 2, "dense_layers": 1}, "blocks of one kind"),
    ],
)
def test_what_no_stack_is(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.Architecture("pre-norm", depth=4, **SHAPE, **fields)  # type: ignore[arg-type]


@pytest.mark.exact
def test_fields_and_engines() -> None:
    arch = st.Architecture("pre-norm", depth=4, unique_blocks=4, **SHAPE)
    assert arch == st.Architecture("pre-norm", depth=4, **SHAPE)
    tied = st.Architecture("pre-norm", "layerscale-18", depth=4, unique_blocks=2, copied=True, **SHAPE)
    assert st.Architecture.parse(str(tied)) == tied
    found = st.simulate(tied.with_(width=128), networks=2, progress=False)
    assert (found.engine, found.reason) == ("explicit", "blocks have matrices in common")
    with pytest.raises(InputError, match="unique_blocks=2 puts one in several; use engine='explicit'"):
        st.simulate(tied.with_(width=128), networks=2, engine="implicit", progress=False)


@pytest.mark.exact
def test_the_gradient_of_the_whole_counts_each_matrix_once() -> None:
    arch = st.Architecture(
        "pre-norm", depth=4, unique_blocks=2, loss="cross-entropy", vocabulary=50, inputs="uniform", **SHAPE
    )
    found = st.simulate(arch, networks=2, dtype="float64", progress=False).samples
    rows = [x for (_, quantity), x in found.items() if quantity == "weight_grad_norm"]
    assert {x.shape[1] for x in rows} == {2}
    of_blocks = sum(np.exp(x).sum(1) for x in rows)
    assert (np.exp(2 * found["output", "global_grad_norm"][:, 0]) > of_blocks).all()
