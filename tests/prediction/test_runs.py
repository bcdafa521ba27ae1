"""Means over runs of the sampled theory, of token ids above all."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from helpers import rounded

from spannorm_theory import Architecture, predict, simulate
from spannorm_theory.prediction.runs import at_no_excess, average, balanced_ids
from spannorm_theory.spec.token_law import TokenLaw

ZIPF = Architecture(
    "pre-norm", depth=4, width=256, heads=8, tokens=32, mask="causal", inputs="zipf", vocabulary=1000
)


@pytest.mark.exact
def test_the_share_of_alike_pairs_is_counted() -> None:
    chosen, excess = balanced_ids(ZIPF, 8, np.random.default_rng(3))
    for row, found in zip(chosen, excess, strict=True):
        pairs = [a == b for a, b in combinations(row.tolist(), 2)]
        assert found == pytest.approx(np.mean(pairs) - ZIPF.token_law.collision, abs=1e-12)
    assert abs(excess.mean()) < 0.1 * excess.std()  # strata balance what single sequences differ by


@pytest.mark.exact
def test_what_is_linear_in_the_excess_is_exact_and_the_rest_has_an_error() -> None:
    excess = np.array([-0.01, 0.0, 0.02, 0.05])
    mean, error = at_no_excess(3.0 + 2.0 * excess[:, None], excess)
    assert mean == pytest.approx([3.0], rel=1e-12)
    assert error == pytest.approx([0.0], abs=1e-12)
    noise = np.array([1.0, -2.0, 0.5, 0.7])
    mean, error = at_no_excess(noise, np.zeros(4))
    assert mean == pytest.approx(noise.mean(), rel=1e-12)
    assert error == pytest.approx(noise.std(ddof=1) / 2, rel=1e-12)


@pytest.mark.exact
def test_of_squared_norms_the_mean_is_that_of_the_norms_and_the_error_relative() -> None:
    """Also of those too small for floating point, and of some that are zero."""
    norms, zeros = np.array([1.0, 2.0, 4.0, 0.5]), np.full(4, -np.inf)
    logs = np.stack([np.log(norms) - 5000, np.log(norms), zeros], axis=1)
    key = ("attn.key", "weight_grad_norm")
    mean, error = average([{key: row} for row in logs], np.zeros(4))
    assert mean[key] == rounded(np.array([np.log(norms.mean()) - 5000, np.log(norms.mean()), -np.inf]))
    assert error[key] == rounded(np.array([*[norms.std(ddof=1) / 2 / norms.mean()] * 2, 0.0]))


@pytest.mark.exact
@pytest.mark.parametrize("vocabulary", [1000, 50_257])
def test_the_input_has_the_collision_probability_for_its_cosine(vocabulary: int) -> None:
    table = predict(ZIPF.with_(vocabulary=vocabulary, depth=1))
    first = table[(table["quantity"] == "token_cosine") & (table["layer"] == 0)]
    assert first["value"].item() == pytest.approx(TokenLaw("zipf", vocabulary).collision, rel=1e-9)
    assert first["se"].item() < 1e-12


@pytest.mark.reference
def test_the_input_s_cosine_of_a_thousand_types() -> None:
    """1/v over 1000 types has the collision probability 0.0293; 24 sampled sequences have 0.0401."""
    table = predict(ZIPF)
    first = table[(table["quantity"] == "token_cosine") & (table["layer"] == 0)]
    assert abs(first["value"].item() - 0.0293) < 0.00005  # the digits that are stated


@pytest.mark.statistical
def test_cosines_above_are_those_of_networks() -> None:
    theory = predict(ZIPF)
    measured = simulate(ZIPF, networks=96, seed=5, progress=False).table
    rows = [t[t["quantity"] == "token_cosine"].set_index("layer") for t in (theory, measured)]
    off = rows[0]["value"] - rows[1]["value"]
    assert (off.abs() < 4 * np.hypot(rows[0]["se"], rows[1]["se"]) + 1e-12).all()
    assert (rows[0]["se"] < 0.01).all()
