"""Attention that differs by block: stacks of plain torch modules, and the theories that resolve positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import spannorm_theory as st
from spannorm_theory import Architecture, verify
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.prediction.exchangeable import predict_pair
from spannorm_theory.prediction.positions import predict_positions
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.prediction.sampled import predict_gram
from spannorm_theory.spec.placement import final_norm

WIDTH, HEADS, TOKENS, WINDOW, NETWORKS = 256, 4, 32, 8, 24

#: the block of a stack, its pattern, and whether it has positions
GEMMA = ("sandwich", "window,full", "rope")
COHERE = ("parallel-pre", "window,window,window,full-nope", "rope")


def norm(x: Any) -> Any:
    return x / x.square().mean(-1, keepdim=True).sqrt()


def turned(x: Any) -> Any:
    """Rotary positions in complex numbers."""
    half = x.shape[-1] // 2
    omega = 10_000.0 ** (-torch.arange(half) / half)
    pairs = torch.view_as_complex(torch.stack([x[..., :half], x[..., half:]], -1))
    pairs = pairs * torch.exp(1j * torch.outer(torch.arange(x.shape[-2]), omega))
    return torch.cat([pairs.real, pairs.imag], -1)


def linear(x: Any, outputs: int) -> Any:
    return x @ torch.randn(x.shape[-1], outputs) / x.shape[-1] ** 0.5


def attention(x: Any, word: str) -> Any:
    q, k, v = (linear(x, WIDTH).unflatten(-1, (HEADS, -1)).transpose(0, 1) for _ in range(3))
    if not word.endswith("nope"):
        q, k = turned(q), turned(k)
    logits = q @ k.mT / q.shape[-1] ** 0.5
    behind = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)
    seen = (behind >= 0) & ((behind < WINDOW) | (not word.startswith("window")))
    a = logits.masked_fill(~seen, -torch.inf).softmax(-1)
    return linear((a @ v).transpose(0, 1).flatten(1), WIDTH)


def ffn(x: Any) -> Any:
    return linear(torch.nn.functional.gelu(linear(x, 4 * WIDTH)), WIDTH)


def measured(placement: str, pattern: str, depth: int) -> tuple[Any, Any]:
    """Token cosine at every boundary and gradient at the input, of each network."""
    words, cosines, gradients = pattern.split(","), [], []
    for _ in range(NETWORKS):
        start = torch.randn(TOKENS, WIDTH, requires_grad=True)
        x, found = start, []
        for layer in range(depth + 1):
            gram = (x @ x.T).detach()
            found.append(float((gram.sum() / gram.trace() - 1) / (TOKENS - 1)))
            if layer == depth:
                break
            word = words[layer % len(words)]
            if placement == "parallel-pre":
                x = x + attention(norm(x), word) + ffn(norm(x))
            else:
                x = x + norm(attention(norm(x), word))
                x = x + norm(ffn(norm(x)))
        norm(x).backward(torch.randn(TOKENS, WIDTH))
        assert start.grad is not None
        cosines.append(found)
        gradients.append(float(start.grad.square().mean()))
    return np.array(cosines), np.array(gradients)


def architecture(design: tuple[str, str, str], depth: int, **fields: Any) -> Architecture:
    placement, pattern, positions = design
    return Architecture(
        placement,
        depth=depth,
        width=WIDTH,
        heads=HEADS,
        tokens=TOKENS,
        mask="causal",
        window=WINDOW,
        attention_pattern=pattern,
        positions=positions,
        **fields,
    )


@pytest.mark.statistical
@pytest.mark.parametrize(("design", "depth"), [(GEMMA, 4), (COHERE, 8)])
def test_patterns_of_published_models_against_plain_torch(design: tuple[str, str, str], depth: int) -> None:
    """Within three standard errors and what a finite width allows: 0.01 in cosine, 8 % in gradient."""
    arch = architecture(design, depth)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cosines, gradients = measured(arch.placement, design[1], depth)
    full = predict_gram(arch.with_(attention_pattern=None, window=None)).profiles["0", "token_cosine"]
    for theory in (predict_gram, predict_positions):
        profiles = theory(arch).profiles
        off = profiles["0", "token_cosine"] - cosines.mean(0)
        allowed = 3 * cosines.std(0, ddof=1) / NETWORKS**0.5 + 0.01
        assert (np.abs(off) < allowed).all()
        assert abs(full[-1] - cosines.mean(0)[-1]) > 2 * allowed[-1]  # without the pattern
        ratio = np.exp(profiles["0", "grad_variance"][0]) / gradients.mean()
        assert abs(ratio - 1) < 3 * gradients.std(ddof=1) / gradients.mean() / NETWORKS**0.5 + 0.08


@pytest.mark.statistical
@pytest.mark.parametrize(
    "fields",
    [
        {"window": 5},
        {"window": 4, "positions": "rope", "attention_pattern": "window,full-nope"},
        {"positions": "rope", "rotary_base": 20.0, "rotary_share": 0.5, "mask": "causal", "tokens": 70},
        {"positions": "rope", "rotary_base": 5.0, "rotary_share": 0.25},
        {"window": 4, "attention_pattern": "full,window", "mask": "causal", "tokens": 70},
    ],
    ids=str,
)
def test_networks_agree_with_the_theory(fields: dict[str, Any]) -> None:
    arch = Architecture("pre-norm", depth=4, width=128, heads=4, tokens=20, logit_variance=2.0)
    result = verify(arch.with_(**fields), networks=32, progress=False)
    assert result.passed, result.summary()


def blocks(x: Any, net: Any, *, window: int = 8) -> Any:
    """Two blocks with a window and rotary positions, then one with neither."""
    last = net.turn(3) == 2
    own = {"window": "full", "positions": "none"} if last else {"window": window, "positions": "rope"}
    x = net.add(x, net.attention(net.norm(x), **own))
    return net.add(x, net.ffn(net.norm(x)))


@pytest.mark.exact
@pytest.mark.usefixtures("registries")
def test_a_placement_says_the_reach_of_its_attention() -> None:
    st.placement("reach", title="Reach", source="here", readout=final_norm)(blocks)
    sizes: dict[str, Any] = {"depth": 5, "width": 64, "heads": 4, "tokens": 16, "mask": "causal"}
    own = Architecture("reach", **sizes)
    pattern = {"window": 8, "positions": "rope", "attention_pattern": "window,window,full-nope"}
    said = Architecture("pre-norm", **sizes, **pattern)
    assert own.attentions == said.attentions == ((8, "rope"), (None, "none"))
    assert own.narrowest == 8
    assert (len(own.traces), own.wirings[1]) == (2, (0, 0, 1, 0, 0))
    assert said.wirings[1] == own.wirings[1]
    for theory in ("sampled", "positions"):
        profiles = predict_profiles(said.with_(heads=2), theory).profiles
        for key, profile in predict_profiles(own.with_(heads=2), theory).profiles.items():
            np.testing.assert_array_equal(profile, profiles[key])
    one, other = (st.simulate(arch, networks=2, progress=False).samples for arch in (own, said))
    for key, sample in one.items():
        np.testing.assert_array_equal(sample, other[key])
    assert Architecture("reach(window=16)", **sizes).attentions == ((None, "rope"), (None, "none"))
    with pytest.raises(InputError, match="window=4 has no effect on reach, which says the window"):
        own.with_(window=4)
    with pytest.raises(InputError, match="has no effect on reach, which says those of its attention"):
        own.with_(positions="rope")
    for pattern, name in (("window,full", "window"), ("window,window-nope", "positions")):
        with pytest.raises(InputError, match=f"attention_pattern='{pattern}' has no effect on the {name} of"):
            own.with_(attention_pattern=pattern)
    with pytest.raises(InputError, match="needs an even head width, got 1"):
        own.with_(heads=64)
    assert "attention[window 8, rope]" in str(own.block(0))
    assert "attention[no window, no positions]" in str(own.block(2))


@pytest.mark.exact
@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"window": 1}, "window must be an integer of at least 2, got 1"),
        ({"window": "all"}, "window must be a number of tokens or 'full', got 'all'"),
        ({"positions": "alibi"}, "unknown positions 'alibi'"),
    ],
)
def test_a_reach_that_no_attention_has_is_refused(own: dict[str, Any], message: str) -> None:
    def block(x: Any, net: Any) -> Any:
        return net.add(x, net.attention(x, **own))

    with pytest.raises(InputError, match=message):
        st.placement("reach", title="Reach", source="here")(block)


@pytest.mark.exact
def test_blocks_of_one_wiring_keep_their_patterns_apart() -> None:
    arch = Architecture("pre-norm", depth=7, mask="causal", window=8, attention_pattern="window,window,full")
    assert arch.wirings[1] == (0, 0, 1, 0, 0, 1, 0)
    assert [seen.window for seen in arch.attentions] == [8, None]
    alike = [arch.with_(attention_pattern=None), arch.with_(window=None, attention_pattern=None)]
    first, last = (predict_profiles(a).profiles["0", "variance"] for a in alike)
    mixed = predict_profiles(arch).profiles["0", "variance"]
    np.testing.assert_array_equal(mixed[:3], first[:3])
    assert mixed[3] < first[3]
    assert last[3] < mixed[3]


@pytest.mark.exact
def test_a_window_tells_tokens_apart() -> None:
    arch = Architecture("pre-norm", depth=2, window=8)
    assert predict_profiles(arch).theory == "sampled"
    with pytest.raises(AssumptionError, match="with mask='none', window=8 they are not alike"):
        predict_pair(arch)
    assert predict_positions(arch).theory == "positions"
    assert len(st.predict(arch, by="position")["position"].unique()) == 64
