"""Laws of weight matrices: against torch's own initialisers in a stack by hand, and against theory."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch

from spannorm_theory import Architecture, simulate, verify
from spannorm_theory.base.errors import InputError
from spannorm_theory.montecarlo.draws import drawn

SMALL = Architecture("pre-norm", depth=2, width=48, heads=2, tokens=8, ffn_ratio=2)
NETWORKS = 150


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("draw", "largest", "fourth"),
    [("truncated", 2 / 0.87962566, 1.416189 / 0.87962566**4), ("uniform", sqrt(3), 1.8)],
)
def test_entries_have_variance_one(draw: str, largest: float, fourth: float) -> None:
    """E z^4 of a normal cut off at 2 is 3 - 28 phi(2)/(2 Phi(2) - 1), before it is scaled; of a uniform law
    9/5."""
    numbers = torch.randn(1, 1000, 400, generator=torch.Generator().manual_seed(1))
    found = drawn(numbers, draw).double()
    assert found.square().mean().item() == pytest.approx(1, abs=5 * sqrt(1 / 4e5))
    assert found.pow(4).mean().item() == pytest.approx(fourth, rel=0.01)
    assert found.abs().max().item() == pytest.approx(largest, rel=1e-3)
    assert (found.sign() == numbers.sign()).all()


@pytest.mark.exact
@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6), (7, 1)])
def test_fewer_rows_or_columns_are_orthogonal(shape: tuple[int, int]) -> None:
    w = drawn(torch.from_numpy(np.random.default_rng(0).standard_normal((3, *shape))), "orthogonal")
    few, many = sorted(shape)
    gram = w @ w.mT if shape[0] == few else w.mT @ w
    assert gram.numpy() == pytest.approx(many * np.eye(few)[None].repeat(3, 0), abs=1e-12)


def initialiser(draw: str, seed: torch.Generator) -> Callable[[Any], Any]:
    """A matrix (inputs, outputs) of entries of variance 1/inputs, by torch.nn.init."""

    def fill(w: Any) -> Any:
        inputs, outputs = w.shape
        match draw:
            case "truncated":
                std = 1 / sqrt(inputs) / 0.87962566
                return torch.nn.init.trunc_normal_(w, 0.0, std, -2 * std, 2 * std, generator=seed)
            case "uniform":
                return torch.nn.init.uniform_(w, -sqrt(3 / inputs), sqrt(3 / inputs), generator=seed)
            case _:
                return torch.nn.init.orthogonal_(w, sqrt(max(inputs, outputs) / inputs), generator=seed)

    return fill


def rms(x: Any) -> Any:
    return x / x.pow(2).mean(-1, keepdim=True).sqrt()


def by_hand(draw: str) -> dict[str, Any]:
    """Measurements of plain networks, (networks,) each."""
    d, m, rows, seed = SMALL.width, SMALL.hidden, [], torch.Generator().manual_seed(0)
    fill = initialiser(draw, seed)
    for _ in range(NETWORKS):
        x = torch.randn(SMALL.tokens, d, generator=seed).requires_grad_()
        y, weights = x, []
        for _ in range(SMALL.depth):
            q, k, v, o = (fill(torch.empty(d, d)).requires_grad_() for _ in range(4))
            up, down = fill(torch.empty(d, m)).requires_grad_(), fill(torch.empty(m, d)).requires_grad_()
            weights.append((q, up))
            heads = [(rms(y) @ w).view(SMALL.tokens, SMALL.heads, -1).transpose(0, 1) for w in (q, k, v)]
            mixed = torch.nn.functional.scaled_dot_product_attention(*heads)
            y = y + mixed.transpose(0, 1).reshape(y.shape) @ o
            y = y + torch.nn.functional.gelu(rms(y) @ up) @ down
        grads = torch.autograd.grad(rms(y), [x, *weights[0]], torch.randn(y.shape, generator=seed))
        gram = y.detach() @ y.detach().T / d
        own, n = gram.trace() / SMALL.tokens, SMALL.tokens
        rows.append(
            [
                own.log(),
                (gram.sum() / n - own) / (n - 1) / own,
                grads[0].square().mean().log(),
                grads[1].square().sum().log(),
                grads[2].square().sum().log(),
            ]
        )
    names = ("variance", "token_cosine", "grad_variance", "attn.query", "ffn.up")
    return dict(zip(names, np.array(rows, dtype=float).T, strict=True))


@pytest.mark.statistical
@pytest.mark.parametrize("draw", ["truncated", "uniform", "orthogonal"])
def test_networks_are_those_of_torch(draw: str) -> None:
    plain = by_hand(draw)
    ours = simulate(SMALL.with_(draw=draw), NETWORKS, progress=False)
    assert ours.engine == "explicit"
    for name, hand in plain.items():
        matrix = "." in name
        key, layer = ((name, "weight_grad_norm"), 0) if matrix else (("0", name), 0 if "grad" in name else 2)
        found = ours.samples[key][:, layer]
        error = np.hypot(found.std(), hand.std()) / sqrt(NETWORKS)
        assert abs(found.mean() - hand.mean()) < 4 * error, name
        assert abs(np.log(found.std() / hand.std())) < 4 / sqrt(NETWORKS), name


@pytest.mark.statistical
@pytest.mark.parametrize("draw", ["truncated", "uniform", "orthogonal"])
def test_theory_is_that_of_second_moments(draw: str) -> None:
    found = verify(SMALL.with_(draw=draw, width=128), networks=64, progress=False)
    assert found.passed, found


@pytest.mark.law
def test_networks_of_orthogonal_matrices_differ_less() -> None:
    """A square one keeps every length, and a network's size varies by its branches' directions alone."""
    arch = SMALL.with_(depth=6, activation="linear", ffn_ratio=1, placement="no-norm")
    spread = {
        draw: simulate(arch.with_(draw=draw), 150, progress=False).samples["0", "variance"][:, -1].std()
        for draw in ("normal", "uniform", "orthogonal")
    }
    assert spread["orthogonal"] < 0.85 * min(spread["normal"], spread["uniform"])


def test_the_implicit_engine_draws_normal_matrices_alone() -> None:
    with pytest.raises(InputError, match="draws what normal matrices do, not draw='uniform'"):
        simulate(SMALL.with_(draw="uniform"), 2, engine="implicit")
