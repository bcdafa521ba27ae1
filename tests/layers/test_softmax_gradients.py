"""Gradients at queries and keys against sums over softmax Jacobians, masks and rotations."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from helpers import rounded

from spannorm_theory.layers import softmax_gradients as softmax_paths
from spannorm_theory.layers.rotary import PUBLISHED, rotated
from spannorm_theory.layers.softmax_gradients import dropout_grams, grams, rotated_grams

N, SIZE, HEADS = 4, 6, 2


def pieces(seed: int, sink: float = 0.0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    logits = random.standard_normal((2, HEADS, N, N))
    weights = np.exp(logits) / (sink + np.exp(logits).sum(axis=-1, keepdims=True))
    values, grad = random.standard_normal((HEADS, N, 9)), random.standard_normal((N, 9))
    return {
        "a": weights,
        "values": values @ values.swapaxes(-1, -2) / 9,
        "queries": random.standard_normal((HEADS, N, SIZE)),
        "keys": random.standard_normal((HEADS, N, SIZE)),
        "grad": grad @ grad.T / 9,
    }


def turn(x: Any, position: int, back: bool) -> Any:
    """R_position x, by way of a sequence that holds x there."""
    padded = np.zeros((N, len(x)))
    padded[position] = x
    return rotated(padded, back=back)[position]


def explicit(p: dict[str, Any], rate: float, rotate: bool) -> tuple[Any, Any]:
    """Means over all masks of a row; gradients of each head as sums over every pair of queries and keys."""
    masks = np.array(list(product([0.0, 1 / (1 - rate)], repeat=N)))
    chance = np.prod(np.where(masks > 0, 1 - rate, rate), axis=1)
    same = np.einsum("m,mj,ml->jl", chance, masks, masks)
    at_queries, at_keys = np.zeros((2, HEADS, N, N))
    for sign, head, i, k in product(range(2), range(HEADS), range(N), range(N)):
        rows = p["a"][sign, head]
        left, right = (np.diag(rows[t]) - np.outer(rows[t], rows[t]) for t in (i, k))
        seen = p["values"][head] * (same if i == k else 1)
        between = p["grad"][i, k] * left @ seen @ right / (2 * SIZE)
        q, keys = p["queries"][head], p["keys"][head]
        for j, l in product(range(N), range(N)):
            own, other = (turn(x, t, rotate) if rotate else x for x, t in ((keys[j], i), (keys[l], k)))
            at_queries[head, i, k] += between[j, l] * own @ other
            own, other = (turn(x, t, rotate) if rotate else x for x, t in ((q[i], j), (q[k], l)))
            at_keys[head, j, l] += between[j, l] * own @ other
    return at_queries, at_keys


@pytest.mark.exact
@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("sink", [0.0, 1.0])
def test_closed_sums_and_dropout(rate: float, sink: float) -> None:
    """Rows that a sink leaves less than one see what all values have in common, others do not."""
    p = pieces(1, sink)
    centred = p["values"] - p["values"].mean(axis=-1, keepdims=True)
    centred = centred - centred.mean(axis=-2, keepdims=True)
    found = grams(**(p if sink else {**p, "values": centred}))
    sizes = rate / (1 - rate) * p["values"].diagonal(axis1=-2, axis2=-1)
    more = dropout_grams(p["a"], sizes, p["queries"], p["keys"], p["grad"])
    for closed, extra, expected in zip(found, more, explicit(p, rate, False), strict=True):
        assert closed + extra == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize(("rate", "sink"), [(0.0, 0.0), (0.3, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("mean", [0.0, 5.0])
def test_rotated_draws_have_the_mean_of_the_sums(
    rate: float, sink: float, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draws of dropout do not depend on PROBES: many calls average them."""
    p = pieces(2, sink)
    p["grad"] = p["grad"] + mean
    sizes = rate / (1 - rate) * p["values"].diagonal(axis1=-2, axis2=-1) if rate else None
    monkeypatch.setattr(softmax_paths, "PROBES", 30)
    random = np.random.default_rng(3)
    more = {"rotary": PUBLISHED, "random": random, "sizes": sizes, "centred": not sink}
    samples = [rotated_grams(**p, **more) for _ in range(400)]
    for path, expected in enumerate(explicit(p, rate, True)):
        draws = np.array([sample[path] for sample in samples])
        error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
        assert (np.abs(draws.mean(axis=0) - expected) < 4.5 * error + 1e-12).all()
    apart = np.abs(explicit(p, rate, True)[1] - explicit(p, rate, False)[1])
    assert apart.max() > 0.05 * np.abs(expected).max()


@pytest.mark.exact
def test_a_gradient_common_to_all_tokens_is_not_drawn() -> None:
    """It is one column, the same in every draw."""
    common = softmax_paths._gradients(np.full((N, N), 4.0), np.random.default_rng(0), 3)
    assert common == rounded(np.full((3, N, softmax_paths.PROBES), 2.0))


@pytest.mark.exact
def test_the_root_of_a_gram_that_rounding_makes_indefinite() -> None:
    whole = np.ones((N, N))
    whole[0, 1] = whole[1, 0] = 1 + 3e-10
    for gram in (np.eye(N), whole, np.stack([whole, np.eye(N)])):
        found = softmax_paths.root(gram)
        # two entries are off by 3e-10
        np.testing.assert_allclose(found @ found.swapaxes(-1, -2), gram, rtol=0, atol=1e-9)
