"""The variance of the token drop over networks: its rate near collapse, its law, and samples."""

from __future__ import annotations

import numpy as np
import pytest

from spannorm_theory.moments.branches import QUADRATIC_IN_DROP
from spannorm_theory.montecarlo.ensemble import Ensemble, simulate
from spannorm_theory.prediction.exchangeable import input_state, predict_pair
from spannorm_theory.prediction.forward import forward
from spannorm_theory.prediction.network_variance import network_variance
from spannorm_theory.prediction.sampled import predict_gram
from spannorm_theory.prediction.stack import Stack
from spannorm_theory.spec.architecture import Architecture

COLLAPSING = Architecture("post-norm", depth=20, width=96, heads=2, tokens=16)


def fluctuation(arch: Architecture) -> np.ndarray:
    """U at the attention input of each block."""
    stack = Stack.of(arch)
    moments = forward(stack, input_state(arch, stack))
    return stack.in_order(network_variance(stack, moments.wirings, arch.width))[:, 0]


@pytest.mark.exact
def test_rate_of_collapsed_tokens() -> None:
    """Shares g of a sum: 2 g (2 - g) / d from the feed-forward branch, 4 g / d from attention, whose mean
    mode passes two matrices; g = 1/3 and 1/2 for ReLU at fan-in initialisation. The next order is 1/d."""
    arch = Architecture("post-norm", depth=60, width=4096, heads=64, tokens=16, activation="relu")
    rate = np.diff(fluctuation(arch))[-20:] * arch.width
    assert rate == pytest.approx(2 * (1 / 3) * (5 / 3) + 4 / 2, rel=1 / arch.width)


@pytest.mark.law
@pytest.mark.parametrize("placement", ["pre-norm", "span-norm", "siamese-norm", "hybrid-norm"])
def test_it_is_of_order_one_over_width(placement: str) -> None:
    arch = Architecture(placement, depth=12, width=2**14, heads=2**8, tokens=16)
    one, two = fluctuation(arch), fluctuation(arch.with_(width=2**15, heads=2**9))
    assert (one >= 0).all()
    assert one[-1] > 0
    assert two == pytest.approx(one / 2, rel=1e-2, abs=1e-9)


@pytest.mark.exact
def test_it_stays_finite_where_the_drop_underflows() -> None:
    found = fluctuation(COLLAPSING.with_(depth=1000))
    assert np.isfinite(found).all()
    assert np.diff(found)[-1] == pytest.approx(np.diff(found)[100], rel=1e-9)


@pytest.fixture(scope="module")
def collapsing() -> Ensemble:
    return simulate(COLLAPSING, networks=160, seed=1, dtype="float64", progress=False)


@pytest.mark.statistical
def test_variance_over_networks(collapsing: Ensemble) -> None:
    sample = 2 * collapsing.samples["0", "rank_residual"][:, :-1]  # ln(1 - rho)
    measured = sample.var(axis=0, ddof=1)
    # U sums 1/d terms: the next order is d U / d = O(U / depth) of each
    error = measured * np.sqrt(2 / (len(sample) - 1))
    assert (np.abs(fluctuation(COLLAPSING) - measured) < 4 * error + 0.15 * measured + 2 / 96)[4:].all()


@pytest.mark.statistical
@pytest.mark.parametrize("theory", [predict_pair, predict_gram])
def test_query_and_key_gradients_need_it(theory, collapsing: Ensemble) -> None:  # type: ignore[no-untyped-def]
    profiles, u = theory(COLLAPSING).profiles, fluctuation(COLLAPSING)
    for name in QUADRATIC_IN_DROP:
        sample = collapsing.samples[name, "weight_grad_norm"][:, -1]
        variance = sample.var(ddof=1)
        mean = sample.mean() + variance / 2
        error = np.sqrt(variance / len(sample) + variance**2 / (2 * len(sample)))
        off = profiles[name, "weight_grad_norm"][-1] - mean
        assert abs(off) < 4 * error + u[-1] / 2
        assert abs(off - 2 * u[-1]) > 4 * error


@pytest.mark.statistical
def test_both_theories_agree_on_the_gradients_of_collapsed_tokens() -> None:
    arch = Architecture("post-norm", depth=20, width=512, heads=8, tokens=32)
    pair, resolved = predict_pair(arch), predict_gram(arch)
    assert resolved.errors is not None
    for name in QUADRATIC_IN_DROP:
        key = (name, "weight_grad_norm")
        gap = np.abs(pair.profiles[key] - resolved.profiles[key])[8:]
        assert (gap < 4 * resolved.errors[key][8:] + 0.02).all(), name
