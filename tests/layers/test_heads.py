"""Rows of attention and gradients in heads of a finite width, against sampled rows and heads."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory import Architecture, predict
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.gaussian.head_norm import HeadNorm
from spannorm_theory.layers.attention import Attention
from spannorm_theory.softmax.overlaps import head_overlaps, overlaps, saturating_overlaps
from spannorm_theory.softmax.rows import one_row

UNIT = {f"attn.{name}": 1.0 for name in ("query", "key", "value", "output")}


@pytest.mark.statistical
@pytest.mark.parametrize(("s", "sphere"), [(0.7, 0), (2.0, 0), (4.0, 0), (1.0, 4), (2.0, 16)])
def test_one_row_is_the_mean_of_sampled_rows(s: float, sphere: int) -> None:
    n, samples = 24, 20000
    random = np.random.default_rng(3)
    if sphere:
        x = random.standard_normal((samples, n, sphere))
        z = np.sqrt(sphere) * x[..., 0] / np.linalg.norm(x, axis=-1)
    else:
        z = random.standard_normal((samples, n))
    a = np.exp(s * z)
    a /= a.sum(axis=1, keepdims=True)
    p2 = np.square(a).sum(axis=1)
    squares = (1 + p2)[:, None] * a**2 - 2 * a**3  # (M^2)_jj
    sampled = {
        "p2": p2,
        "j": squares.sum(axis=1),
        "along_query": np.square(a * (z - (a * z).sum(axis=1, keepdims=True))).sum(axis=1),
        "along_key": (z**2 * squares).sum(axis=1),
    }
    for name, values in sampled.items():
        error = values.std(ddof=1) / np.sqrt(samples)
        assert abs(values.mean() - getattr(one_row(s, n, sphere), name)) < 4 * error, name


@pytest.mark.exact
def test_a_row_of_two_keys() -> None:
    """M = x [[1, -1], [-1, 1]] with x = a (1 - a): J = 4 x^2, |M z|^2 = 2 x^2 (z_1 - z_2)^2."""
    s = 1.3
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    difference = np.sqrt(2) * z
    x = 1 / (2 + 2 * np.cosh(s * difference))
    weight = weight / weight.sum()
    row = one_row(s, 2)
    assert row.j == pytest.approx(weight @ (4 * x**2), rel=1e-9)
    assert row.along_query == pytest.approx(weight @ (2 * x**2 * difference**2), rel=1e-9)
    assert one_row(1e-4, 2).along_key == pytest.approx(one_row(0.0, 2).along_key, rel=1e-7)  # 1 + O(s^2)


def _head_gradients(rho: float, width: int, norm: str | None, *, keys: int, heads: int) -> np.ndarray:
    """What one token with a gradient of its own gives a query and a key, and what all tokens with one
    gradient add at a key: (heads, 3), per coordinate, with norms projected off the token and divided by
    the share of a random direction that these leave. The stream is infinitely wide."""
    random = np.random.default_rng(11)

    def tokens() -> np.ndarray:
        common, own = random.standard_normal((heads, 1, width)), random.standard_normal((heads, keys, width))
        return np.sqrt(rho) * common + np.sqrt(1 - rho) * own

    def normed(x: np.ndarray) -> np.ndarray:
        if norm == "layer":
            x = x - x.mean(axis=-1, keepdims=True)
        return x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True)) if norm else x

    def off(gradient: np.ndarray, token: np.ndarray) -> np.ndarray:
        along = (gradient * token).sum(axis=-1, keepdims=True) / width
        return gradient - along * token if norm else gradient

    q, k = normed(tokens()), normed(tokens())
    a = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(width))
    a /= a.sum(axis=-1, keepdims=True)
    # with independent values of variance 1 - rho; what they have in common the Jacobian takes away
    jacobian = a[..., None] * np.eye(keys) - a[..., None] * a[..., None, :]
    at_query = off(np.einsum("hijl,hja->hila", jacobian, k) / np.sqrt(width), q[:, :, None])
    added = off(np.einsum("hijl,hia->hjla", jacobian, q) / np.sqrt(width), k[:, :, None])
    at_key = (jacobian[:, i, ..., None] * q[:, i, None, None] / np.sqrt(width) for i in range(keys))
    alone = sum(np.square(off(one, k[:, :, None])).sum(axis=(1, 2, 3)) for one in at_key)
    found = np.square(at_query).sum(axis=(1, 2, 3)), alone, np.square(added).sum(axis=(1, 2, 3)) - alone
    left = 1.0
    if norm:  # LayerNorm's backward pass acts on fewer coordinates, which are larger
        m = width - (norm == "layer")
        left = m / width * (1 - 1 / m)
    return (1 - rho) * np.stack(found, axis=1) / keys / left


@pytest.mark.statistical
@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize(("norm", "width"), [(None, 8), (None, 32), ("rms", 8), ("rms", 32), ("layer", 8)])
def test_gradients_at_queries_and_keys_are_those_of_sampled_heads(
    rho: float, norm: str | None, width: int
) -> None:
    keys = 16
    sampled = _head_gradients(rho, width, norm, keys=keys, heads=1500)
    size = width - (norm == "layer")
    attention = Attention(
        10**9,
        keys,
        width,
        ("query", "key") if norm else (),
        HeadNorm(width, norm) if norm else None,
        width / size,
        logit_factor=width / size,
    )
    maps = attention.backward(attention.at(np.ones(1), np.array([1 - rho]), UNIT), 0.0)
    theory = np.array([maps["attn.query"][0, 0, 0], *maps["attn.key"][0, 0]])
    mean, error = sampled.mean(axis=0), sampled.std(axis=0, ddof=1) / np.sqrt(len(sampled))
    # left out are the second order in 1/d_h, and the first of what norms leave of like gradients
    allowed = np.array([5 / width**2, 5 / width**2, 1 / size])
    assert (abs(theory - mean) < 4 * error + allowed * mean).all(), (theory, mean, error)
    if width == 8 and rho == 0:  # what rows of independent logits would give
        assert abs(overlaps(1.0, 0.0, keys).j - mean[1]) > 5 * error[1]


@pytest.mark.law
def test_saturated_rows_hardly_answer_along_their_query() -> None:
    """Near ties of two keys: E |M z|^2 falls as 1/s^3."""
    for s in (12.0, 18.0):
        found = saturating_overlaps(s**2, 0.4, 24).along_query
        assert found == pytest.approx(one_row(s, 24).along_query, rel=0.03)


@pytest.mark.law
@pytest.mark.parametrize(("keys", "width"), [(64, 8), (256, 16), (256, 64)])
def test_pairs_differ_by_their_values_and_by_what_their_queries_have_in_common(keys: int, width: int) -> None:
    """Under weak logits V_f is 1/d of the values and d_h/d (1/n + 1/d_h) of rows, which follow logits."""
    attention = Attention(1024, keys, width, (), None, 1.0)
    at = attention.at(np.ones(1), np.ones(1), {**UNIT, "attn.query": 0.1, "attn.key": 0.1})
    scatter = float(attention.scatter(at, np.array([3.0]))[0])
    # rows are sampled, to a few hundredths
    assert scatter == pytest.approx(9 / 1024 * (2 + width / keys), rel=0.03)


@pytest.mark.reference
def test_strong_logits_are_read_off_the_table() -> None:
    """At their variance overlaps change within 1/4096 of rho = 1, which a curve in rho would miss."""
    attention = Attention(256, 8, 32, (), None, 4096.0)
    gains = {**UNIT, "attn.query": 64.0, "attn.key": 64.0}
    for rho in (0.945, 0.985, 0.9999):
        exact = head_overlaps(4096 * (1 - rho), rho, 8, 32)
        at = attention.at(np.ones(1), np.array([1 - rho]), gains)
        assert at.overlaps[:, 0] == pytest.approx(tuple(exact), rel=1e-3)
        apart = attention.forward(1.0, 1 - rho, gains)[1]
        assert apart == pytest.approx((1 - rho) * (exact.p2 - exact.p11), rel=0.05)  # and the lean


@pytest.mark.exact
def test_gradients_below_the_orders_of_the_theory_are_refused() -> None:
    """Two tokens that all but cancel, and a gradient alike for both: what is left has no leading order."""
    arch = Architecture(
        "output-norm",
        "depth-scaled-init",
        depth=5,
        width=16,
        heads=1,
        tokens=2,
        activation="linear",
        norm="layer",
        qk_norm=True,
        input_cosine=-0.999999,
        loss="mean",
    )
    with pytest.raises(AssumptionError, match=r"gradient of attn.query at layer 0 .* leaves out"):
        predict(arch)
    assert len(predict(arch.with_(input_cosine=0.2)))


@pytest.mark.exact
def test_experts_of_opposite_tokens_are_refused() -> None:
    arch = Architecture(
        "sandwich",
        "depth-scaled-init",
        depth=2,
        width=64,
        heads=1,
        tokens=2,
        activation="tanh",
        logit_variance=16.0,
        input_cosine=-0.999999,
        experts=4,
    )
    with pytest.raises(AssumptionError, match="no meaning for V"):
        predict(arch)
