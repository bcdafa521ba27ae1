"""The position-resolved theory against explicit sums, closed forms, the pair theory and Monte Carlo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import rounded

import spannorm_theory as st
from spannorm_theory.base.errors import InputError
from spannorm_theory.base.quantities import QUANTITIES, SPECTRAL
from spannorm_theory.gaussian.head_norm import HeadNorm
from spannorm_theory.layers import attention_gram
from spannorm_theory.layers.attention_gram import SampledAttention
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.prediction.exchangeable import predict_pair
from spannorm_theory.prediction.sampled import predict_gram, resolve
from spannorm_theory.spec.architecture import Architecture
from spannorm_theory.verification.verification import verify

WIDE = 2**20  # the theory's cost does not depend on it
UNIFORM = {"attn.query": 1e-9, "attn.key": 1e-9, "attn.value": 1.3, "attn.output": 0.7}
SHARP = {"attn.query": 2.0, "attn.key": 3.0, "attn.value": 1.3, "attn.output": 0.7}


def attention(width: int = 10**12, *, causal: bool = True) -> SampledAttention:
    return SampledAttention(width, causal, (), "rms", None)


def noise(heads: int, tokens: int, head_width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((2, heads, tokens, head_width))


def equal_tokens(n: int, rho: float) -> Any:
    return (1 - rho) * np.eye(n) + rho


def random_gram(n: int, seed: int) -> Any:
    x = np.random.default_rng(seed).standard_normal((n, 2 * n))
    return x @ x.T / (2 * n)


@pytest.mark.exact
def test_uniform_causal_attention() -> None:
    n, q, rho = 24, 1.7, 0.3
    draws, front = noise(1, n, 8), UNIFORM["attn.value"] * UNIFORM["attn.output"]
    gram = q * equal_tokens(n, rho)
    output, undecided = attention().forward(gram, UNIFORM, draws)
    position = np.arange(1, n + 1)
    later = np.maximum.outer(position, position)
    assert output == pytest.approx(front * q * (rho + (1 - rho) / later), rel=1e-9)
    harmonic = np.cumsum(1 / position)
    assert undecided == pytest.approx(n - harmonic[-1], rel=1e-9)
    # a gradient common to all tokens: column sums of A, whose squares have the mean 2 - H_n / n
    stream, _ = attention().backward(gram, output, np.ones((n, n)), UNIFORM, draws, 0.0)
    columns = harmonic[-1] - np.concatenate([[0], harmonic[:-1]])
    assert np.diag(stream) == pytest.approx(front * columns**2, rel=1e-9)
    assert np.mean(columns**2) == rounded(2 - harmonic[-1] / n)


@pytest.mark.reference
@pytest.mark.statistical
@pytest.mark.parametrize(("heads", "declined"), [(1, True), (4, False)])
def test_spectra_where_one_head_mixes_all(heads: int, declined: bool) -> None:
    """Covariances of pairs vary with the rows of one head, by more than those of d coordinates do; counting d
    alone is 7 % too high in the effective rank of one head, and 3 % of four."""
    shape = {"depth": 4, "width": 256, "tokens": 16, "mask": "causal", "activation": "silu"}
    arch = Architecture("keel", "depth-mup", **shape, heads=heads, input_variance=0.01)
    result = verify(arch, networks=40, progress=False)
    assert result.passed
    ranks = result.table[result.table["quantity"] == "effective_rank"].set_index("layer")
    assert ranks.loc[1:, "theory"].isna().all() == declined
    off = ranks.loc[1:, "theory"] / ranks.loc[1:, "estimate"] - 1
    assert declined or off.abs().max() < 0.03


@pytest.mark.exact
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("normed", "kind"), [((), "rms"), (("query", "key"), "rms"), (("query", "key"), "layer")]
)
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_backward_is_the_explicit_sum_over_softmax_jacobians(
    causal: bool, normed: tuple[str, ...], kind: str, spread: float
) -> None:
    n, size, width = 6, 5, 10**12
    gram, grad, draws = random_gram(n, 1), random_gram(n, 2), noise(2, n, size)
    branch = SampledAttention(width, causal, normed, kind, HeadNorm(size, kind) if normed else None)
    output, _ = branch.forward(gram, SHARP, draws)
    stream, norms = branch.backward(gram, output, grad, SHARP, draws, spread)
    free = size - (kind == "layer")  # coordinates that a norm leaves free
    root = np.linalg.cholesky(gram)
    along = {"query": np.zeros(n), "key": np.zeros(n)}
    shared = np.zeros((n, n))
    values, g = SHARP["attn.value"] * gram, SHARP["attn.output"] * grad
    expected, value, query, key = (np.zeros((n, n)) for _ in range(4))
    for head in range(2):
        for sign in (1, -1):
            queries = np.sqrt(SHARP["attn.query"]) * root @ draws[0, head]
            keys = np.sqrt(SHARP["attn.key"]) * root @ draws[1, head]
            if kind == "layer":
                queries, keys = (x - x.mean(axis=1, keepdims=True) for x in (queries, keys))
            if normed:
                queries, keys = (x / np.sqrt(np.mean(x**2, axis=1, keepdims=True)) for x in (queries, keys))
            z = queries @ keys.T / np.sqrt(size)
            logits = sign * queries @ keys.T / np.sqrt(size)
            if causal:
                logits[np.triu_indices(n, 1)] = -np.inf
            a = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            jacobians = [np.diag(row) - np.outer(row, row) for row in a]
            expected += SHARP["attn.output"] * a @ values @ a.T / 4
            value += a.T @ g @ a / 4
            t = np.array([np.trace(j @ values) for j in jacobians])
            shared += np.outer(t, t) / 4
            for i in range(n):
                along["query"][i] += g[i, i] * (z[i] @ jacobians[i] @ values @ jacobians[i] @ z[i]) / 4
                for k in range(n):
                    at_key = np.diag(jacobians[i] @ values @ jacobians[k])
                    along["key"] += g[i, k] * z[i] * z[k] * at_key / 4
                    between = jacobians[i] @ values @ jacobians[k] / 4
                    query[i, k] += g[i, k] * np.trace(between @ keys @ keys.T) / size
                    key += g[i, k] * (queries[i] @ queries[k]) / size * between
    scale, norm = np.sqrt(np.outer(np.diag(gram), np.diag(gram))), HeadNorm(size, kind)
    q, k, v = (
        norm.value(gram / scale) if name in normed else SHARP[f"attn.{name}"] * gram
        for name in ("query", "key", "value")
    )
    query += g * spread * shared * np.trace(k) / np.trace(v)
    for name, path in (("query", query), ("key", key)) if normed else ():
        # a norm's kernel takes a random direction's share, 1 - 1 / free is left
        path *= size / free
        path[np.diag_indices(n)] = (np.diag(path) - along[name] / free) / (1 - 1 / free)
        path *= norm.slope(gram / scale) / (SHARP[f"attn.{name}"] * scale)
    total = SHARP["attn.value"] * value + SHARP["attn.query"] * query + SHARP["attn.key"] * key
    twice = spread * float((q * g * shared).sum()) * np.trace(k) / np.trace(v) / SHARP["attn.key"]
    assert output == pytest.approx(expected, rel=1e-9)
    assert stream == pytest.approx((total + total.T) / 2, rel=1e-9, abs=1e-12)
    assert norms["attn.query"] == pytest.approx(width**2 * (gram * query).sum(), rel=1e-9)
    assert norms["attn.value"] == pytest.approx(width**2 * (gram * value).sum(), rel=1e-9)
    if not normed:  # the norm's kernel reads the Gram centred
        assert norms["attn.key"] == pytest.approx(width**2 * ((gram * key).sum() + twice), rel=1e-9)


@pytest.mark.exact
@pytest.mark.parametrize("normed", [(), ("query", "key", "value")])
def test_collapsed_tokens_pass_the_mean_gradient_alone(normed: tuple[str, ...]) -> None:
    n, gap = 16, 1e-10
    branch = SampledAttention(64, True, normed, "rms", HeadNorm(8, "rms") if normed else None)
    gram, grad, draws = equal_tokens(n, 1 - gap), random_gram(n, 3), noise(4, n, 8)
    output, _ = branch.forward(gram, SHARP, draws)
    stream, norms = branch.backward(gram, output, grad, SHARP, draws, 0.0)
    # row sums of one keep the token mean of values, and of the gradient
    front = SHARP["attn.output"] * (HeadNorm(8, "rms").slope(1.0) if normed else SHARP["attn.value"])
    assert stream.sum() == pytest.approx(front * grad.sum(), rel=1e-9)
    assert 1 - (output.sum() - np.trace(output)) / (n - 1) / np.trace(output) < gap
    for name in ("attn.query", "attn.key"):  # vanish as the square of the gap
        assert 1e-5 < norms[name] / (norms["attn.value"] * gap**2) < 10


@pytest.mark.exact
@pytest.mark.parametrize("strong", [1e6, 1e8])
def test_rows_that_are_one_maximum_pass_the_gradient_of_values_alone(strong: float) -> None:
    """Their Jacobian is zero, and not what rounding leaves of it times the logits."""
    n, gains = 16, {**SHARP, "attn.query": strong, "attn.key": strong}
    gram, grad, draws = random_gram(n, 1), random_gram(n, 2), noise(4, n, 16)
    output, undecided = attention(64).forward(gram, gains, draws)
    stream, norms = attention(64).backward(gram, output, grad, gains, draws, 1 / 64)
    assert undecided == pytest.approx(0, abs=1e-9)
    assert norms["attn.query"] == norms["attn.key"] == 0
    front = SHARP["attn.output"] * SHARP["attn.value"]  # row sums of one keep the token mean of a gradient
    assert stream.sum() == rounded(front * grad.sum())


@pytest.mark.exact
def test_grams_are_positive_and_draws_are_fixed_by_seed_and_layer() -> None:
    arch = Architecture(
        "siamese-norm", depth=4, width=64, heads=4, tokens=12, mask="causal", logit_variance=9.0
    )
    found = resolve(arch, draws=16, layers=(0, 2, 4))
    for grams in found.grams.values():
        for gram in grams.values():
            assert np.linalg.eigvalsh(gram)[0] > -1e-12 * np.trace(gram)
    again, other = (predict_gram(arch, draws=16, seed=seed).profiles for seed in (0, 1))
    deeper = predict_gram(arch.with_(depth=6, scaling="unit"), draws=16).profiles
    for key, profile in found.profiles.items():
        np.testing.assert_array_equal(profile, again[key])
        if key[1] in ("variance", "token_cosine"):
            assert profile == pytest.approx(deeper[key][: len(profile)], rel=1e-12)
    assert np.any(found.profiles["0", "grad_variance"] != other["0", "grad_variance"])


@pytest.mark.exact
@pytest.mark.parametrize("draws", [0, 24, 32.0, True])
def test_draws_must_fill_the_batches(draws: Any) -> None:
    with pytest.raises(InputError, match="multiple of 16"):
        predict_gram(Architecture("pre-norm", depth=1, width=64), draws=draws)


@pytest.mark.exact
@pytest.mark.parametrize("loss", ["probe", "mean"])
@pytest.mark.parametrize("placement", ["pre-norm", "span-norm", "siamese-norm", "dyt"])
def test_uniform_attention_is_the_pair_theory(placement: str, loss: str) -> None:
    """Up to logits of variance 1e-9, which sampled heads draw."""
    arch = Architecture(
        placement, depth=5, width=WIDE, heads=WIDE // 8, tokens=10, logit_variance=1e-9, input_cosine=0.2
    ).with_(loss=loss)
    theory, pair = resolve(arch, draws=16), predict_pair(arch)
    for key, profile in pair.profiles.items():
        if key[0] not in ("attn.query", "attn.key") and key[1] not in SPECTRAL:  # which are sampled
            assert theory.profiles[key] == pytest.approx(profile, rel=1e-5, abs=2e-6), key


@pytest.mark.exact
def test_experts_under_uniform_attention_are_the_pair_theory() -> None:
    """Up to logits of variance 1e-9, and to the spread over pairs, which routing leaves at any width."""
    arch = Architecture(
        "pre-norm", depth=4, width=WIDE, heads=WIDE // 8, tokens=10, logit_variance=1e-9, input_cosine=0.2
    ).with_(experts=8, top_k=2, shared_experts=1)
    theory, pair = resolve(arch, draws=16), predict_pair(arch)
    assert set(theory.profiles) == set(pair.profiles)
    for key, profile in pair.profiles.items():
        if key[0] not in ("attn.query", "attn.key") and key[1] not in SPECTRAL:
            assert theory.profiles[key] == pytest.approx(profile, rel=1e-4, abs=2e-5), key


@pytest.mark.exact
def test_rank_collapse_is_followed_to_rounding() -> None:
    """Up to logits of variance 1e-9, and to what is left of 1 - rho = 1e-12 in a cosine."""
    arch = Architecture(
        "post-norm", depth=40, width=WIDE, heads=WIDE // 8, tokens=8, activation="relu", logit_variance=1e-9
    )
    theory, pair = predict_gram(arch, draws=16).profiles, predict_pair(arch).profiles
    gap, expected = (1 - profiles["0", "token_cosine"] for profiles in (theory, pair))
    assert 1e-13 < expected[-1] < 1e-10
    assert gap == pytest.approx(expected, rel=1e-3, abs=0)
    assert theory["0", "grad_variance"] == pytest.approx(pair["0", "grad_variance"], abs=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("variance", [1.0, 4.0])
def test_pair_theory_without_a_mask(variance: float) -> None:
    """Heads of 256 coordinates, where the pair theory's infinite head width is good to v/d_h."""
    arch = Architecture(
        "pre-norm", depth=4, width=8192, heads=32, tokens=24, activation="relu", logit_variance=variance
    )
    theory, pair = resolve(arch), predict_pair(arch)
    for key, profile in pair.profiles.items():
        allowed = 4 * theory.errors[key] + variance / arch.head_size + 2 / arch.tokens / arch.head_size
        predicted = np.isfinite(profile)  # spectra of saturated attention are not
        assert predicted.all() or key[1] in (*SPECTRAL, "rank_residual")
        assert (np.abs(theory.profiles[key] - profile) < allowed)[predicted].all(), key


@pytest.mark.statistical
@pytest.mark.parametrize("variance", [1.0, 16.0])
def test_monte_carlo_under_a_causal_mask(variance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a theory without what comes back through queries and keys is off by far."""
    arch = Architecture(
        "pre-norm",
        depth=3,
        width=256,
        heads=16,
        tokens=24,
        activation="relu",
        init="unit-branch",
        mask="causal",
        logit_variance=variance,
    )
    ensemble = simulate(arch, networks=96, seed=3, engine="implicit", progress=False)
    theory = resolve(arch)

    def deviation(prediction: Any, key: tuple[str, str]) -> Any:
        """In standard errors of theory and ensemble, with 1/d allowed."""
        x = ensemble.samples[key]
        spread = x.var(axis=0, ddof=1)
        mean = x.mean(axis=0) + (spread / 2 if QUANTITIES[key[1]].logarithmic else 0)
        error = np.sqrt(spread / len(x) + spread**2 / (2 * len(x)) + prediction.errors[key] ** 2)
        return (np.abs(prediction.profiles[key] - mean) - 4 / arch.width) / error

    for key in ensemble.samples:
        # the theory leaves out the spread of covariances over pairs, which these see first
        if key[0] not in ("attn.query", "attn.key") and key[1] not in SPECTRAL:
            assert np.all(deviation(theory, key) < 4.5), key
    monkeypatch.setattr(attention_gram, "grams", lambda a, *rest: (0 * rest[-1], 0 * rest[-1]))
    without = deviation(resolve(arch), ("0", "grad_variance"))[0]
    assert without > 10


@pytest.mark.statistical
def test_spectra_of_more_tokens_than_coordinates() -> None:
    arch = Architecture("pre-norm", "gpt2", depth=3, width=32, heads=4, tokens=50, mask="causal")
    result = verify(arch, networks=40, progress=False)
    assert result.passed
    ranks = result.table[result.table["quantity"] == "effective_rank"]
    assert (ranks["theory"] / ranks["estimate"] - 1).abs().max() < 0.02
    table = st.spectra(arch, networks=4)
    assert (table.loc[table["index"] > 32, ["theory", "estimate"]] < 1e-6).all(axis=None)
    assert table["theory"].notna().all()
