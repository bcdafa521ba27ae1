"""What a step of several sequences logs, against a stack written by hand on the same weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from spannorm_theory import Architecture
from spannorm_theory.montecarlo.boundary import embedding, token_ids
from spannorm_theory.montecarlo.network import Stack
from spannorm_theory.montecarlo.program import Program
from spannorm_theory.montecarlo.randomness import Purpose, Randomness
from spannorm_theory.montecarlo.weights import ExplicitWeights

ARCH = Architecture(
    "pre-norm",
    depth=2,
    width=24,
    heads=4,
    tokens=6,
    mask="causal",
    inputs="zipf",
    position_variance=0.5,
    embedding_multiplier=3.0,
    batch=3,
    loss="cross-entropy",
    vocabulary=20,
    head_gain=9.0,
    logit_multiplier=0.5,
    logit_cap=2.0,
)


def rms(x: torch.Tensor) -> torch.Tensor:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


@pytest.mark.exact
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("network", [0, 1])
def test_the_log_of_a_step_is_autograd_s(network: int, tied: bool) -> None:
    arch = ARCH.with_(tied_head=tied)
    random = Randomness(5, range(2), dtype=torch.float64, device=torch.device("cpu"))
    stack = Stack(Program(arch), ExplicitWeights, random, 1)
    record = stack.run()
    ids, labels = (token_ids(arch, random, purpose)[network] for purpose in (Purpose.IDS, Purpose.LABELS))
    x = start = embedding(arch, random)[network].requires_grad_()
    entries = random.only(network).normal(0, Purpose.LOSS, 24 * 20).view(24, 20)
    if tied:  # the same directions as the embedding's rows, behind learned positions
        numbers = random.normal(0, Purpose.INPUT, 24 * 24).view(-1, 24, 24)[network]
        for token in reversed(range(18)):
            entries[:, ids[token]] = numbers[token]
        rows = (x.detach() - 0.5**0.5 * numbers[18:].repeat(3, 1)).mT
        torch.testing.assert_close(entries[:, ids], rows)
    head = (3.0 / 24**0.5 * entries).requires_grad_()
    learnt: dict[tuple[str, int], torch.Tensor] = {}
    for layer in range(2):
        made = ExplicitWeights(stack.program.matrices(layer), random, layer)
        w = {name: made.matrix(name)[network].requires_grad_() for name in arch.weights}
        learnt |= {(name, layer): matrix for name, matrix in w.items()}
        q, k, v = (
            (rms(x) @ w[f"attn.{name}"]).view(3, 6, 4, 6).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + mixed.transpose(1, 2).reshape(18, 24) @ w["attn.output"]
        x = x + functional.gelu(rms(x) @ w["ffn.up"]) @ w["ffn.down"]
    logits = 2 * torch.tanh(rms(x) @ head / 2)
    loss = functional.cross_entropy(logits, labels)
    at_input, at_head, *grads = torch.autograd.grad(loss, [start, head, *learnt.values()])
    table = torch.zeros(20, 24, dtype=torch.float64).index_add(0, ids, 3.0 * at_input)
    at_positions = at_input.view(3, 6, 24).sum(0)
    ends = [table + 0.5 * at_head.mT] if tied else [table, 0.5 * at_head]
    squares = sum(g.square().sum() for g in (*ends, at_positions, *grads))

    def measured(stream: str, quantity: str, layer: int = 0) -> torch.Tensor:
        return record.values[stream, quantity][layer][network]

    torch.testing.assert_close(measured("output", "loss"), loss.detach())
    torch.testing.assert_close(
        measured("output", "logit_second_moment").exp(), logits.detach().square().mean()
    )
    torch.testing.assert_close(measured("output", "global_grad_norm").exp(), squares.sqrt())
    for (name, layer), gradient in zip(learnt, grads, strict=True):
        torch.testing.assert_close(measured(name, "weight_grad_norm", layer).exp(), gradient.square().sum())
    own = 3 * at_input[:6]  # of the first sequence's own loss
    torch.testing.assert_close(measured("0", "grad_variance").exp(), own.square().mean())
