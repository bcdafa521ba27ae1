"""The explicit engine against plain modules written by hand, on the same weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from spannorm_theory.montecarlo.boundary import embedding
from spannorm_theory.montecarlo.network import Stack
from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Purpose, Randomness
from spannorm_theory.montecarlo.weights import ExplicitWeights
from spannorm_theory.spec.architecture import Architecture

pytestmark = pytest.mark.exact

CPU = torch.device("cpu")


def rms(x):
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def attention(x, w, heads, qkv_norm=False, causal=False):
    n, d = x.shape
    parts = []
    for h in range(heads):
        part = slice(h * d // heads, (h + 1) * d // heads)
        q, k, v = ((x @ w[f"attn.{name}"])[:, part] for name in ("query", "key", "value"))
        if qkv_norm:
            q, k, v = rms(q), rms(k), rms(v)
        logits = q @ k.T / (d // heads) ** 0.5
        if causal:
            logits = logits.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
        parts.append(logits.softmax(-1) @ v)
    return torch.cat(parts, -1) @ w["attn.output"]


def ffn(x, w):
    return functional.gelu(x @ w["ffn.up"]) @ w["ffn.down"]


def post_norm(streams, w, l, heads):
    (x,) = streams
    x = rms(x + attention(x, w, heads))
    return [rms(x + ffn(x, w))]


def pre_norm_causal(streams, w, l, heads):
    (x,) = streams
    x = x + attention(rms(x), w, heads, causal=True)
    return [x + ffn(rms(x), w)]


def span_norm(streams, w, l, heads):
    (x,) = streams
    y = rms(x + attention(rms(x) if l == 0 else x, w, heads))
    return [rms(x + ffn(y, w))]


def hybrid_norm(streams, w, l, heads):
    (x,) = streams
    n = rms(x + attention(x, w, heads, qkv_norm=True))
    return [n + ffn(n, w)]


def siamese_norm(streams, w, l, heads):
    x, y = streams
    for position, branch in enumerate((lambda h: attention(h, w, heads), lambda h: ffn(h, w))):
        o = branch(rms(x + rms(y)))
        x, y = rms(x + o / (2 * l + position + 1) ** 0.5), y + o
    return [x, y]


CASES = {
    "post-norm": (post_norm, lambda s: s[0], {}),
    "pre-norm": (pre_norm_causal, lambda s: rms(s[0]), {"mask": "causal"}),
    "span-norm": (span_norm, lambda s: s[0], {"scaling": "depth-scaled-init"}),
    "hybrid-norm": (hybrid_norm, lambda s: rms(s[0]), {"init": "xavier"}),
    "siamese-norm": (siamese_norm, lambda s: s[0] + rms(s[1]), {"input_cosine": 0.3}),
}


def reference(arch, block, readout, random, network):
    """Every statistic of one network by the definitions, with autograd through the whole stack."""
    stack = Stack(Program(arch), ExplicitWeights, random, 1)
    x = embedding(arch, random)[network].requires_grad_()
    boundaries, weights = [[x] * arch.definition.streams], []
    for l in range(arch.depth):
        made = ExplicitWeights(stack.program.matrices(l), random, l)
        weights.append({name: made.matrix(name)[network].requires_grad_() for name in arch.weights})
        inputs = [s * 1.0 for s in boundaries[-1]] if l == 0 else boundaries[-1]
        boundaries[l] = inputs
        boundaries.append(block(inputs, weights[l], l, arch.heads))
    output = readout(boundaries[-1])
    probe = random.normal(0, Purpose.LOSS, output.numel())[network].view_as(output)
    wanted = [s for streams in boundaries for s in streams] + [w for ws in weights for w in ws.values()]
    grads = torch.autograd.grad(output, wanted, probe, allow_unused=True)
    return boundaries, weights, grads


def moments(x):
    n, d = x.shape
    gram = x @ x.T / d
    q = gram.diagonal().mean()
    p = (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))
    return q.log().item(), (p / q).item()


@pytest.mark.parametrize("placement", CASES)
@pytest.mark.parametrize("segment", [1, 2, 3])
def test_every_statistic_of_every_layer(placement, segment):
    block, readout, fields = CASES[placement]
    arch = Architecture(placement, depth=3, width=24, heads=4, tokens=6, **fields)
    random = Randomness(7, range(2), dtype=torch.float64, device=CPU)
    record = Stack(Program(arch), ExplicitWeights, random, segment).run()
    streams = arch.definition.streams
    for network in range(2):
        boundaries, weights, grads = reference(arch, block, readout, random, network)
        grads = iter(grads)
        expected, at_input = {}, []
        for l, tensors in enumerate(boundaries):
            for i, x in enumerate(tensors):
                expected[str(i), "variance", l], expected[str(i), "token_cosine", l] = moments(x)
                s = torch.linalg.svdvals(x)
                p = s / s.sum()
                expected[str(i), "rank_residual", l] = ((x - x.mean(0)).norm() / x.norm()).log().item()
                expected[str(i), "stable_rank", l] = ((s / s[0]) ** 2).sum().item()
                expected[str(i), "effective_rank", l] = (-(p * p.log()).sum()).exp().item()
                expected[str(i), "participation_ratio", l] = ((s**2).sum() ** 2 / (s**4).sum()).item()
                g = next(grads)
                expected[str(i), "grad_variance", l], expected[str(i), "grad_token_cosine", l] = moments(g)
                if l == 0:
                    at_input.append(g)
        if streams > 1:  # all of them start as the embedding
            expected["input", "grad_variance", 0], _ = moments(sum(at_input))
        for l in range(arch.depth):
            for i in range(streams):
                x, y = boundaries[l][i], boundaries[l + 1][i]
                cosine = functional.cosine_similarity(x.flatten(), y.flatten(), 0)
                expected[str(i), "layer_cosine", l] = cosine.item()
                expected[str(i), "branch_share", l] = ((y - x).pow(2).mean() / x.pow(2).mean()).item()
            for name in weights[l]:
                expected[name, "weight_grad_norm", l] = next(grads).pow(2).sum().log().item()
        for (stream, quantity, l), value in expected.items():
            measured = record.values[stream, quantity][l][network].item()
            assert measured == pytest.approx(value, rel=1e-9, abs=1e-9), (stream, quantity, l)
    assert sum(len(layers) for layers in record.values.values()) == len(expected)


def test_layer_norm_and_gates_match_torch():
    arch = Architecture("post-norm", depth=1, width=24, heads=2, tokens=5, norm="layer", activation="swiglu")
    random = Randomness(1, range(1), dtype=torch.float64, device=CPU)
    stack = Stack(Program(arch), ExplicitWeights, random, 1)
    record = stack.run()
    made = ExplicitWeights(stack.program.matrices(0), random, 0)
    w = {name: made.matrix(name)[0] for name in arch.weights}
    x = embedding(arch, random)[0]

    def norm(x):
        return functional.layer_norm(x, (24,), eps=0)

    x = norm(x + attention(x, w, 2))
    x = norm(x + (functional.silu(x @ w["ffn.gate"]) * (x @ w["ffn.up"])) @ w["ffn.down"])
    assert record.values["0", "token_cosine"][1].item() == pytest.approx(moments(x)[1], rel=1e-9)


def test_weights_have_the_variance_of_gain_and_scaling():
    arch = Architecture("span-norm", "gpt2", depth=8, width=64, heads=4, tokens=8, init=0.05)
    matrices = Program(arch).matrices(3)
    assert matrices["attn.query"].std == pytest.approx(0.05, rel=1e-9)
    assert matrices["attn.output"].std == pytest.approx(0.05 / 4, rel=1e-9)
    random = Randomness(0, range(4), dtype=torch.float64, device=CPU)
    drawn = ExplicitWeights(matrices, random, 3).matrix("ffn.down")
    # five standard errors of so many entries
    assert drawn.std().item() == pytest.approx(0.05 / 4, rel=5 * np.sqrt(0.5 / drawn.numel()))
