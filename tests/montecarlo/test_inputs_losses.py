"""Inputs and losses: their laws, and that theory and Monte Carlo agree on each of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import rounded

from spannorm_theory import Architecture
from spannorm_theory.base.errors import AssumptionError, InputError
from spannorm_theory.moments.sampled_tokens import SampledTokens
from spannorm_theory.montecarlo.boundary import embedding, loss_at, token_ids
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.metrics import second_moments
from spannorm_theory.montecarlo.randomness import Purpose, Randomness
from spannorm_theory.prediction.boundary import (
    input_gram,
    input_moments,
    input_pair_variance,
    loss_gram,
    loss_moments,
)
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.spec.token_law import TokenLaw
from spannorm_theory.verification.verification import compare, verify

BASE = Architecture("span-norm", depth=4, width=128, heads=4, tokens=24)
ENDS = [
    {"loss": "mean"},
    {"loss": "last"},
    {"loss": "cross-entropy", "vocabulary": 64},
    {"inputs": "zipf", "vocabulary": 500},
    {"inputs": "zipf", "position_variance": 0.5, "vocabulary": 64, "loss": "cross-entropy"},
    {"input_cosine": -0.03},
]


def random(networks: int, dtype: torch.dtype = torch.float64) -> Randomness:
    return Randomness(0, range(networks), dtype=dtype, device=torch.device("cpu"))


@pytest.mark.statistical
@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("ends", ENDS, ids=str)
def test_every_input_and_loss_passes(ends: dict[str, object], mask: str) -> None:
    result = verify(BASE.with_(mask=mask, **ends), networks=32, progress=False)
    assert result.theory == ("pair" if mask == "none" else "sampled")
    assert result.passed, result.summary()


@pytest.mark.statistical
@pytest.mark.parametrize("placement", ["pre-norm", "siamese-norm"])
def test_readouts_with_a_norm_pass_the_loss_on(placement: str) -> None:
    arch = BASE.with_(placement=placement, inputs="zipf", loss="cross-entropy", vocabulary=2000)
    result = verify(arch, networks=32, progress=False)
    assert result.passed, result.summary()


@pytest.mark.statistical
def test_a_wrong_loss_or_input_is_rejected() -> None:
    arch = BASE.with_(loss="cross-entropy", vocabulary=64)
    ensemble = simulate(arch, networks=32, progress=False)
    right = predict_profiles(arch)
    assert compare(right, ensemble).passed
    for wrong in (BASE, BASE.with_(loss="mean"), arch.with_(vocabulary=16), arch.with_(inputs="zipf")):
        prediction = predict_profiles(wrong)
        logged = {key: x for key, x in right.profiles.items() if key[0] == "output"}
        profiles = {key: x for key, x in prediction.profiles.items() if key[0] != "output"}
        # the size of the gradient alone would give it away
        shift = right.profiles["0", "grad_variance"][-1] - profiles["0", "grad_variance"][-1]
        for key in profiles:
            if "grad" in key[1] and key[1] != "grad_token_cosine":
                profiles[key] = profiles[key] + shift
        assert not compare(replace(prediction, arch=arch, profiles=profiles | logged), ensemble).passed, wrong


@pytest.mark.reference
def test_collision_probability() -> None:
    assert TokenLaw("zipf", 32_000).collision == pytest.approx(0.01372, abs=5e-6)
    assert TokenLaw("zipf", 2).collision == rounded((1 + 1 / 4) / (1.5**2))
    for name in ("zipf", "uniform"):
        law = TokenLaw(name, 7)
        assert law.probabilities.sum() == rounded(1)
        assert law.collision == rounded(np.square(law.probabilities).sum())
        assert law.ids(np.array([0.0, 1 - 1e-12])).tolist() == [0, 6]


@pytest.mark.statistical
@pytest.mark.parametrize("inputs", ["zipf", "uniform"])
def test_ids_follow_the_law(inputs: str) -> None:
    arch = BASE.with_(inputs=inputs, vocabulary=50)
    drawn = token_ids(arch, random(2000), Purpose.IDS)
    frequency = torch.bincount(drawn.flatten(), minlength=50).numpy() / drawn.numel()
    law = arch.token_law.probabilities
    assert (np.abs(frequency - law) < 5 * np.sqrt(law / drawn.numel())).all()


@pytest.mark.statistical
@pytest.mark.parametrize(
    "ends", [{"input_cosine": 0.4}, {"input_cosine": -0.04}, *ENDS[3:5], {"input_variance": 3.0}], ids=str
)
def test_embedding_has_the_moments_of_the_theory(ends: dict[str, object]) -> None:
    arch = BASE.with_(**ends)
    q, rho = second_moments(embedding(arch, random(600)))
    expected, drop = input_moments(arch)
    for sample, value in ((q, expected), (q * rho, expected - drop)):
        error = sample.std().item() / len(sample) ** 0.5
        assert abs(sample.mean().item() - value) < 4 * error + 1e-12
    drawn = arch.token_law.ids(np.random.default_rng(0).random((600, arch.tokens)))
    tokens = SampledTokens((0, 0), 1, arch)
    grams = np.array([input_gram(tokens, one if arch.reads_ids else None) for one in drawn])
    q_gram = np.trace(grams, axis1=1, axis2=2).mean() / arch.tokens
    assert q_gram == rounded(expected)


@pytest.mark.exact
def test_equal_ids_have_one_embedding() -> None:
    arch = BASE.with_(inputs="zipf", vocabulary=5)
    x, drawn = embedding(arch, random(3)), token_ids(arch, random(3), Purpose.IDS)
    same = (x[:, :, None] == x[:, None, :]).all(-1)
    assert torch.equal(same, drawn[:, :, None] == drawn[:, None, :])
    repeats = input_pair_variance(arch) - 1 / arch.width
    assert repeats == rounded(arch.token_law.collision / (1 - arch.token_law.collision))


@pytest.mark.statistical
@pytest.mark.parametrize("ends", [{}, *ENDS[:3]], ids=str)
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_loss_gradient_has_the_moments_of_the_theory(ends: dict[str, object], rho: float) -> None:
    arch = BASE.with_(input_cosine=rho, **ends)
    output = embedding(arch, random(100))
    gradient = loss_at(arch, random(100), output / output.square().mean(-1, keepdim=True).sqrt()).gradient
    found, cosine = second_moments(gradient)
    gamma, c = loss_moments(arch, 1.0, 1 - rho)
    lean = 2 / arch.width
    for sample, value in ((found, gamma), (found * cosine, c)):
        error = sample.std().item() / len(sample) ** 0.5
        assert abs(sample.mean().item() - value) < 4 * error + lean * gamma
    resolved = loss_gram(SampledTokens((0, 0), 1, arch), (1 - rho) * np.eye(arch.tokens) + rho)
    assert np.trace(resolved) / arch.tokens == rounded(gamma)
    assert (resolved.sum() - np.trace(resolved)) / arch.tokens / (arch.tokens - 1) == pytest.approx(
        c, abs=1e-9
    )


@pytest.mark.reference
def test_cross_entropy_is_torch_s() -> None:
    arch = BASE.with_(loss="cross-entropy", vocabulary=30)
    draws, output = random(2), embedding(BASE, random(2)).requires_grad_()
    weights = draws.normal(0, Purpose.LOSS, 128 * 30).view(2, 128, 30) / 128**0.5
    labels = token_ids(arch, draws, Purpose.LABELS)
    for i in range(2):
        loss = torch.nn.functional.cross_entropy(output[i] @ weights[i], labels[i])
        (expected,) = torch.autograd.grad(loss, output)
        torch.testing.assert_close(loss_at(arch, draws, output).gradient[i], expected[i])


@pytest.mark.exact
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_cosine": -1 / 23}, r"input_cosine must lie in \(-0.04348, 1\)"),
        ({"input_cosine": 1.0}, "input_cosine must lie in"),
        ({"inputs": "zipf", "input_cosine": 0.1}, "belongs to inputs='gaussian'"),
        ({"position_variance": 0.1}, "belongs to token ids, inputs='zipf' or 'uniform'"),
        ({"head_gain": 2.0}, "head_gain belongs to loss='cross-entropy'"),
        ({"logit_multiplier": 2.0}, "logit_multiplier belongs to loss='cross-entropy'"),
        ({"inputs": "uniform", "embedding_multiplier": 2.0}, "no effect beside input_variance"),
        ({"inputs": "zipf", "position_variance": -1}, "at least 0"),
        ({"vocabulary": 100}, "vocabulary belongs to"),
        ({"inputs": "zipf", "vocabulary": 1}, "vocabulary must be an integer of at least 2"),
        ({"loss": "sum"}, "unknown loss 'sum'"),
        ({"inputs": "zip"}, "did you mean zipf"),
    ],
)
def test_bad_ends_are_one_clear_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        BASE.with_(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.exact
def test_huge_logits_are_refused() -> None:
    arch = Architecture("no-norm", loss="cross-entropy")
    with pytest.raises(AssumptionError, match="cross-entropy needs logits of variance below 400"):
        loss_moments(arch, 500.0, 50.0)


@pytest.mark.statistical
@pytest.mark.parametrize(("tokens", "vocabulary", "declined"), [(8, 32_000, False), (32, 1_000, True)])
def test_attention_of_repeated_tokens_is_declined(tokens: int, vocabulary: int, declined: bool) -> None:
    """Rows weight tokens of one id alike: gradients of values are 9 % more at one other token of each id."""
    shape = {"depth": 2, "width": 256, "heads": 4, "inputs": "zipf"}
    arch = Architecture("pre-norm", **shape, tokens=tokens, vocabulary=vocabulary)
    result = verify(arch, networks=40, progress=False)
    assert result.passed
    rows = result.table[result.table["quantity"] == "weight_grad_norm"].set_index("stream")
    assert rows.loc["attn.value", "theory"].isna().all() == declined
    assert rows.loc["ffn.up", "theory"].notna().all()
