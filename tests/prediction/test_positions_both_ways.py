"""Positions as a coordinate where a token sees others on both sides: windows and rotary positions without a
mask, against sampled heads, networks of plain torch and the pair theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from spannorm_theory import Architecture, predict
from spannorm_theory.prediction.exchangeable import predict_pair
from spannorm_theory.prediction.positions import predict_positions
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.prediction.sampled import predict_gram

OPEN = Architecture("pre-norm", depth=6, width=1024, heads=16, tokens=64)

#: largest difference from sampled heads beyond four of their standard errors, of logarithms for squared norms
NEAR = {"variance": 0.01, "token_cosine": 0.01, "grad_token_cosine": 0.01, "weight_grad_norm": 0.1}


@pytest.mark.reference
@pytest.mark.parametrize(
    "arch",
    [
        OPEN.with_(window=16),
        OPEN.with_(window=16, placement="post-norm", logit_variance=4.0),
        OPEN.with_(placement="span-norm", scaling="depth-scaled-init", positions="rope"),
        OPEN.with_(window=16, positions="rope", logit_variance=4.0, attention_pattern="full,window,window"),
        pytest.param(
            OPEN.with_(window=16, positions="rope", placement="post-norm", tokens=128),
            marks=pytest.mark.long,
        ),
        pytest.param(OPEN.with_(window=16, tokens=256, depth=3), marks=pytest.mark.long),
    ],
    ids=str,
)
def test_positions_without_a_mask_agree_with_sampled_heads(arch: Architecture) -> None:
    found, judge = predict_positions(arch), predict_gram(arch, draws=32)
    assert judge.errors is not None
    for key, expected in judge.profiles.items():
        near = NEAR.get(key[1])
        if key[1] == "grad_variance":
            near = 0.04 if arch.scaling == "unit" else 0.02
        if near is None:
            continue
        off = np.abs(found.profiles[key] - expected)
        assert (off - 4 * judge.errors[key]).max() < near, (key, off)
        error = np.hypot(found.errors[key], judge.errors[key])
        assert (off <= 4 * np.where(error > 0, error, 1)).all(), (key, off / error)


WIDTH, HEADS, TOKENS, WINDOW, NETWORKS = 256, 4, 48, 8, 24


def norm(x: Any) -> Any:
    return x / x.square().mean(-1, keepdim=True).sqrt()


def linear(x: Any, outputs: int) -> Any:
    return x @ torch.randn(x.shape[-1], outputs) / x.shape[-1] ** 0.5


def turned(x: Any) -> Any:
    """Each pair of coordinates turned by its angle times the position."""
    half = x.shape[-1] // 2
    angle = torch.outer(torch.arange(TOKENS), 10_000.0 ** (-torch.arange(half) / half))
    one, two = x[..., :half], x[..., half:]
    return torch.cat(
        [one * angle.cos() - two * angle.sin(), one * angle.sin() + two * angle.cos()],
        -1,
    )


def attention(x: Any, windowed: bool, rotary: bool) -> Any:
    q, k, v = (linear(x, WIDTH).unflatten(-1, (HEADS, -1)).transpose(0, 1) for _ in range(3))
    if rotary:
        q, k = turned(q), turned(k)
    apart = (torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)).abs()
    unseen = (apart >= WINDOW) & windowed
    a = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(unseen, -torch.inf).softmax(-1)
    return linear((a @ v).transpose(0, 1).flatten(1), WIDTH)


def network(post: bool, words: list[bool], rotary: bool) -> tuple[Any, Any]:
    """Second moments of every token behind the last block, and of the gradient at the input."""
    start = torch.randn(TOKENS, WIDTH, requires_grad=True)
    x = start
    for windowed in words:
        if post:
            x = norm(x + attention(x, windowed, rotary))
            x = norm(x + linear(torch.nn.functional.gelu(linear(x, 4 * WIDTH)), WIDTH))
        else:
            x = x + attention(norm(x), windowed, rotary)
            x = x + linear(torch.nn.functional.gelu(linear(norm(x), 4 * WIDTH)), WIDTH)
    (x if post else norm(x)).backward(torch.randn(TOKENS, WIDTH))
    assert start.grad is not None
    x = x.detach()
    cosine = ((x @ x.T).sum() / x.square().sum() - 1) / (TOKENS - 1)
    return np.append(x.square().mean(-1).log().numpy(), cosine), start.grad.square().mean(-1).numpy()


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("placement", "pattern", "rotary"),
    [("pre-norm", "window", False), ("post-norm", "full,window", True)],
)
def test_positions_without_a_mask_agree_with_plain_torch(placement: str, pattern: str, rotary: bool) -> None:
    words = [word == "window" for word in pattern.split(",")] * 4
    with torch.random.fork_rng():
        torch.manual_seed(1)
        runs = [network(placement == "post-norm", words[:4], rotary) for _ in range(NETWORKS)]
    forward, back = (np.array(side) for side in zip(*runs, strict=True))
    arch = Architecture(
        placement,
        depth=4,
        width=WIDTH,
        heads=HEADS,
        tokens=TOKENS,
        window=WINDOW,
        attention_pattern=None if pattern == "window" else pattern,
        positions="rope" if rotary else "none",
    )
    found = predict_positions(arch)
    edges = slice(0, WINDOW), slice(WINDOW, -WINDOW)  # tokens that see fewer, and all others

    def near(samples: Any, expected: float, within: float) -> None:
        mean, error = samples.mean(), samples.std(ddof=1) / NETWORKS**0.5
        assert abs(mean - expected) < within + 4 * error, (mean, expected, error)

    near(forward[:, -1], found.profiles["0", "token_cosine"][-1], 0.01)
    for key, samples, layer in (
        (("0", "variance"), np.exp(forward[:, :-1]), -1),
        (("0", "grad_variance"), back, 0),
    ):
        known, every = np.log(found.positions), np.log(np.arange(1, TOKENS + 1))
        moments = np.exp(np.interp(every, known, found.by_position[key][layer]))
        for part in edges:
            near(samples[:, part].mean(axis=1), moments[part].mean(), 0.02 * moments.mean())


@pytest.mark.reference
def test_tokens_that_are_alike_are_those_of_the_pair_theory() -> None:
    """No position differs from another: nothing is left of the grid but pairs of tokens."""
    arch = OPEN.with_(logit_variance=4.0, placement="post-norm", depth=4)
    found, pair = predict_positions(arch), predict_pair(arch).profiles
    for key, expected in pair.items():
        if key[1] in ("variance", "token_cosine", "grad_variance", "weight_grad_norm"):
            off = np.abs(found.profiles[key] - expected)
            assert (off < 3 * found.errors[key] + 1e-9).all(), (key, off)
    for table in found.by_position.values():
        assert np.ptp(table, axis=1).max() < 1e-6


@pytest.mark.exact
def test_both_ends_are_alike_and_only_the_last_token_tells_them_apart() -> None:
    arch = OPEN.with_(
        window=16, positions="rope", tokens=100, depth=3, attention_pattern="full,window,window"
    )
    for table in predict_positions(arch).by_position.values():
        assert table == pytest.approx(table[:, ::-1], abs=1e-9)
    back = predict_positions(arch.with_(loss="last")).by_position["0", "grad_variance"]
    assert (back[:-1, -1] > back[:-1, 0]).all()


@pytest.mark.exact
def test_a_long_context_of_windows_and_full_attention_is_carried() -> None:
    """8,192 tokens that see 64 on either side, and all in every third block: where "auto" takes positions."""
    arch = Architecture("pre-norm", depth=2, width=768, heads=12, tokens=8192, window=65, positions="rope")
    arch = arch.with_(attention_pattern="full,window,window", activation="geglu", ffn_width=1152)
    found = predict_profiles(arch)
    assert found.theory == "positions"
    assert all(np.isfinite(found.profiles["0", name]).all() for name in ("variance", "grad_variance"))
    table = predict(arch.with_(tokens=512), by="position", positions=[1, 256, 512])
    ends = table[(table["layer"] == 2) & (table["quantity"] == "variance")]["value"].to_numpy()
    assert ends[0] == pytest.approx(ends[2])
    assert ends[0] > ends[1]  # fewer keys, of which less is averaged out
