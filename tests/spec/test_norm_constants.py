"""Epsilon and gain of norms: against plain torch, and theory against itself by another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spannorm_theory as st
from spannorm_theory.base.errors import InputError
from spannorm_theory.bounds.intervals import bounds
from spannorm_theory.spec.placements import placement

pytestmark = pytest.mark.usefixtures("registries")

SIZES = {"depth": 3, "width": 128, "heads": 4, "tokens": 16}


def values(table, quantity: str, stream: str = "0") -> np.ndarray:
    rows = table[(table["quantity"] == quantity) & (table["stream"] == stream)]
    return rows.sort_values("layer")["value"].to_numpy()


def plain_output_norm(seed: int, std: float, epsilon: float, gain: float) -> tuple[list[float], list[float]]:
    """Second moments of the stream of x + N(F(x)) twice, with a final norm, and of a probe's gradient."""
    random = torch.Generator().manual_seed(seed)
    d, h, n = SIZES["width"], SIZES["heads"], SIZES["tokens"]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=random)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return gain * x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt()

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return std * normal(rows, columns)

    x = (std * normal(n, d)).requires_grad_()
    streams = [x]
    for _ in range(SIZES["depth"]):
        q, k, v = ((x @ matrix(d, d)).view(n, h, d // h).transpose(0, 1) for _ in range(3))
        weights = (q @ k.mT / (d // h) ** 0.5).softmax(-1)
        x = x + norm((weights @ v).transpose(0, 1).reshape(n, d) @ matrix(d, d))
        x = x + norm(torch.relu(x @ matrix(d, 4 * d)) @ matrix(4 * d, d))
        streams.append(x)
    output = norm(x)
    grads = torch.autograd.grad(output, streams, normal(n, d))
    return [float(x.detach().square().mean()) for x in streams], [float(g.square().mean()) for g in grads]


@pytest.mark.parametrize(("epsilon", "gain"), [(1e-4, 1.0), (0.0, 2.0), (1e-4, 0.5)])
def test_plain_torch(epsilon: float, gain: float) -> None:
    """Branches of second moment near epsilon: it takes a part of each away, and gradients grow less."""
    std = 0.03
    runs = [plain_output_norm(seed, std, epsilon, gain) for seed in range(24)]
    arch = st.Architecture(
        "output-norm", init=std, input_variance=std**2, activation="relu", **SIZES,
        norm_epsilon=epsilon, norm_gain=gain,
    )  # fmt: skip
    table = st.predict(arch)
    for samples, quantity in zip(zip(*runs, strict=True), ("variance", "grad_variance"), strict=True):
        logs = np.log(np.array(samples))
        mean, se = logs.mean(0), logs.std(0, ddof=1) / len(runs) ** 0.5
        off = np.log(values(table, quantity)) - mean
        assert (np.abs(off) < 4 * se + 0.06).all(), (quantity, off, se)
    if epsilon:  # and without it the theory is elsewhere
        plain = values(st.predict(arch.with_(norm_epsilon=0.0)), "variance")
        assert plain[1] > 1.1 * values(table, "variance")[1]


@pytest.mark.parametrize("theory", ["pair", "sampled"])
def test_simulation(theory: str) -> None:
    arch = st.Architecture(
        "siamese-norm", "depth-scaled-init", **SIZES, norm="layer", norm_epsilon=0.3, norm_gain=1.5
    )
    result = st.verify(arch, networks=32, theory=theory, progress=False)
    assert result.passed, result.summary()


def test_gain_is_a_factor_behind_every_norm() -> None:
    @placement(
        "doubled-pre-norm", title="t", source="s", readout=lambda x, net: 2 * net.norm(x), replace=True
    )
    def doubled(x, net):
        x = net.add(x, net.attention(2 * net.norm(x)))
        return net.add(x, net.ffn(2 * net.norm(x)))

    one = st.predict(st.Architecture("pre-norm", norm_gain=2.0, **SIZES))
    other = st.predict(st.Architecture("doubled-pre-norm", **SIZES))
    np.testing.assert_allclose(one["value"], other["value"], rtol=1e-12)


def test_large_epsilon_is_a_multiple_of_what_is_normed() -> None:
    """N(x) -> x / sqrt(epsilon): PreNorm becomes a stack without norms."""
    epsilon = 1e10
    pre = st.Architecture("pre-norm", **SIZES, norm_epsilon=epsilon, norm_gain=epsilon**0.5)
    none = st.predict(st.Architecture("no-norm", **SIZES))
    for quantity in ("variance", "grad_variance", "token_cosine"):
        np.testing.assert_allclose(values(st.predict(pre), quantity), values(none, quantity), rtol=1e-6)


@pytest.mark.parametrize("theory", ["sampled", "positions"])
def test_theories_agree(theory: str) -> None:
    """Ratios between a stack with epsilon and gain and one without, of two theories."""
    mask = "none" if theory == "sampled" else "causal"
    arch = st.Architecture("output-norm", **{**SIZES, "tokens": 64}, mask=mask)
    other = "pair" if theory == "sampled" else "sampled"
    for quantity, most in (("variance", 0.01), ("grad_variance", 0.04)):
        ratios = [
            values(st.predict(arch.with_(norm_epsilon=0.2), name), quantity)
            / values(st.predict(arch, name), quantity)
            for name in (theory, other)
        ]
        assert abs(np.log(ratios[0][1:-1])).min() > 0.1
        np.testing.assert_allclose(*ratios, rtol=most)


def test_bounds_hold_the_prediction() -> None:
    arch = st.Architecture("span-norm", "depth-scaled-init", **SIZES, norm_epsilon=0.1, norm_gain=1.2)
    table = st.predict(arch)
    for quantity in ("variance", "grad_variance"):
        low, high = bounds(arch)["0", quantity]
        log = np.log(values(table, quantity))
        assert (low - 1e-9 <= log).all()
        assert (log <= high + 1e-9).all()
        assert high[0] - low[0] < 4


def test_text_form_and_refusals() -> None:
    arch = st.Architecture("pre-norm", norm_epsilon=1e-6, norm_gain=2)
    assert str(arch) == "pre-norm unit norm_epsilon=1e-06 norm_gain=2.0"
    assert st.Architecture.parse(str(arch)) == arch
    with pytest.raises(InputError, match="norm_epsilon must be"):
        st.Architecture("pre-norm", norm_epsilon=-1e-6)
    with pytest.raises(InputError, match="norm_gain has no effect on no-norm"):
        st.Architecture("no-norm", norm_gain=2.0)
