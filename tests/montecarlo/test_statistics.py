"""Chunks merged are the whole: the same numbers, whatever their size and order."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import sem

from spannorm_theory.base.errors import StoreError
from spannorm_theory.base.quantities import QUANTITIES
from spannorm_theory.montecarlo.statistics import estimates, merge, summarise


def samples(networks, seed=0, offset=0.0, spread=1.0):
    rng = np.random.default_rng(seed)
    found = {
        ("0", "variance"): offset + spread * rng.normal(size=(networks, 3)),
        ("0", "token_cosine"): rng.random((networks, 3)),
        ("attn.query", "weight_grad_norm"): offset + spread * rng.normal(size=(networks, 2)),
    }
    found["0", "variance"][:2, 1] = -np.inf  # zeros in some networks
    found["attn.query", "weight_grad_norm"][:, 0] = -np.inf  # and in all
    return found


def part(whole, first, last):
    return {key: sample[first:last] for key, sample in whole.items()}


@pytest.mark.exact
@pytest.mark.parametrize("cuts", [(4,), (1, 2, 3), (2, 11), (1,)])
@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (-20_000, 1), (600, 3), (-800, 30)])
def test_merged_chunks_give_the_table_of_the_whole(cuts, offset, spread):
    whole = samples(12, offset=offset, spread=spread)
    ends = [0, *cuts, 12]
    merged = None
    for first, last in pairwise(ends):
        one = summarise(part(whole, first, last))
        merged = one if merged is None else merge(merged, one)
    found = estimates([({"depth": 2}, merged)])
    expected = estimates([({"depth": 2}, summarise(whole))])
    pd.testing.assert_frame_equal(found, expected, rtol=1e-9, atol=1e-13)
    at = 0
    for (_, quantity), sample in whole.items():
        rows = found[at : (at := at + sample.shape[1])]
        if QUANTITIES[quantity].logarithmic:
            with np.errstate(invalid="ignore"):  # where all networks have a zero
                units = np.exp(sample - sample.max(axis=0))
            np.testing.assert_allclose(rows["log_value"], logsumexp(sample, axis=0) - np.log(12), rtol=1e-9)
            np.testing.assert_allclose(rows["relative_se"], sem(units) / units.mean(axis=0), rtol=1e-9)
        else:
            np.testing.assert_allclose(rows["value"], sample.mean(axis=0), rtol=1e-9)
            np.testing.assert_allclose(rows["se"], sem(sample), rtol=1e-9)


@pytest.mark.exact
def test_zeros_first_do_not_swallow_what_is_small():
    whole = {("0", "variance"): np.array([[-np.inf], [-np.inf], [-900.0], [-901.0]])}
    merged = merge(summarise(part(whole, 0, 2)), summarise(part(whole, 2, 4)))
    expected = -900 + np.log((1 + np.exp(-1)) / 4)
    np.testing.assert_allclose(estimates([({"depth": 1}, merged)])["log_value"], expected, rtol=1e-12)


@pytest.mark.exact
def test_a_large_mean_does_not_cancel_the_variance():
    values = 1e9 + np.arange(8.0)[:, None]
    whole = {("0", "token_cosine"): values}
    merged = merge(summarise(part(whole, 0, 3)), summarise(part(whole, 3, 8)))
    np.testing.assert_allclose(merged.m2, ((np.arange(8) - 3.5) ** 2).sum(), rtol=1e-12)


def test_different_quantities_are_refused():
    one = samples(4)
    with pytest.raises(StoreError, match="different quantities"):
        merge(summarise(one), summarise({("0", "variance"): one["0", "variance"]}))
