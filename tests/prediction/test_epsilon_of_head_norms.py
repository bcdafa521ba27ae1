"""Epsilon in norms of queries, keys and values: against plain torch, and theory against itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spannorm_theory as st
from spannorm_theory.base.errors import InputError
from spannorm_theory.bounds.intervals import bounds
from spannorm_theory.gaussian.head_norm import HeadNorm
from spannorm_theory.softmax.overlap_curve import overlap_plane
from spannorm_theory.softmax.overlaps import sphere_overlaps

SIZES = {"depth": 2, "width": 128, "heads": 4, "tokens": 16}
WEIGHTS = ("attn.query", "attn.key", "attn.value")


def values(table, quantity: str, stream: str = "0") -> np.ndarray:
    rows = table[(table["quantity"] == quantity) & (table["stream"] == stream)]
    return rows.sort_values("layer")["value"].to_numpy()


def plain_stack(seed: int, std: float, epsilon: float, over: str, causal: bool) -> np.ndarray:
    """Logarithms of second moments of the stream and of a probe's gradient, and of the squared gradients of
    ``WEIGHTS``, of x + F(x) with normed queries and keys whose logits are 3 q.k / sqrt(d_h)."""
    random = torch.Generator().manual_seed(seed)
    d, h, n = SIZES["width"], SIZES["heads"], SIZES["tokens"]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=random)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt()

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.view(n, h, d // h).transpose(0, 1)

    x = normal(n, d).requires_grad_()
    streams, weights = [x], {name: [] for name in WEIGHTS}
    for _ in range(SIZES["depth"]):
        for name in WEIGHTS:
            weights[name].append((std * normal(d, d)).requires_grad_())
        q, k, v = (x @ weights[name][-1] for name in WEIGHTS)
        q, k = (norm(heads(y)) if over == "head" else heads(norm(y)) for y in (q, k))
        logits = 3 * q @ k.mT / (d // h) ** 0.5
        if causal:
            logits = logits.masked_fill(torch.ones(n, n).triu(1).bool(), -torch.inf)
        mixed = (logits.softmax(-1) @ heads(v)).transpose(0, 1).reshape(n, d)
        x = x + mixed @ (std * normal(d, d))
        x = x + torch.relu(x @ (std * normal(d, 4 * d))) @ (std * normal(4 * d, d))
        streams.append(x)
    matrices = [w for name in WEIGHTS for w in weights[name]]
    grads = torch.autograd.grad(x, [*streams, *matrices], normal(n, d))
    sizes = [float(x.detach().square().mean()) for x in streams]
    sizes += [float(g.square().mean()) for g in grads[: len(streams)]]
    return np.log(sizes + [float(g.square().sum()) for g in grads[len(streams) :]])


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("over", "mask", "theory"),
    [("head", "none", "pair"), ("width", "none", "pair"), ("head", "causal", "sampled")],
)
def test_plain_torch(over: str, mask: str, theory: str) -> None:
    """Queries and keys of second moment 0.5 and more, of which epsilon takes a half."""
    epsilon, std = 0.5, 128**-0.5 / 2**0.5
    runs = [plain_stack(seed, std, epsilon, over, mask == "causal") for seed in range(40)]
    arch = st.Architecture(
        "no-norm", **SIZES, init=std, activation="relu", mask=mask, qk_norm=True, qk_norm_over=over,
        logit_variance=9.0, norm_epsilon=epsilon,
    )  # fmt: skip

    def predicted(arch: st.Architecture) -> np.ndarray:
        table = st.predict(arch, theory)
        found = [values(table, "variance"), values(table, "grad_variance")]
        return np.log(np.concatenate([*found, *(values(table, "weight_grad_norm", w) for w in WEIGHTS)]))

    mean, se = np.mean(runs, 0), np.std(runs, 0, ddof=1) / len(runs) ** 0.5
    assert (np.abs(predicted(arch) - mean) < 4 * se + 0.06).all()
    # and without it the theory is elsewhere
    queries = slice(2 * (SIZES["depth"] + 1), 2 * (SIZES["depth"] + 1) + 2 * SIZES["depth"])
    off = (predicted(arch.with_(norm_epsilon=0.0)) - mean)[queries]
    assert (off > 0.15).all()


@pytest.mark.statistical
@pytest.mark.parametrize(("kind", "epsilon"), [("rms", 0.3), ("rms", 2.0), ("layer", 0.3)])
def test_kernel_against_sampling(kind: str, epsilon: float) -> None:
    """Second moment, cosine and Jacobian of a norm over 24 coordinates of second moment one."""
    random, m, rho = np.random.default_rng(0), 24, 0.6
    u, z = random.normal(size=(2, 200_000, m))
    w = rho * u + (1 - rho**2) ** 0.5 * z
    if kind == "layer":
        u, w = (x - x.mean(1, keepdims=True) for x in (u, w))
    one, two = ((x**2).mean(1) + epsilon for x in (u, w))
    both = (u * w).mean(1) / np.sqrt(one * two)
    alone = (u * u).mean(1) / one
    free = m - (kind == "layer")  # |J|^2 of x -> x / root, over the free coordinates
    jacobian = (free - 1 + (epsilon / one) ** 2) / one / m
    norm = HeadNorm(m, kind, epsilon=epsilon)
    share = norm.share(1.0)
    size = norm.moment(share)
    expected = size, size * norm.value(rho, share**2), size * norm.slope(1.0, share**2)
    for samples, theory in zip((alone, both, jacobian), expected, strict=True):
        se = samples.std() / len(samples) ** 0.5
        assert abs(samples.mean() - theory) < 4 * se + 2 / m**2 * abs(theory)


@pytest.mark.reference
def test_plane_of_curves() -> None:
    plane = overlap_plane(4.0, 24, 16, 16)
    for v, rho in ((0.3, 0.1), (1.7, 0.5), (3.9, 0.9), (2.2, -0.02)):
        exact = sphere_overlaps(v * (1 - rho), rho, 24, 16)
        found = plane.all(np.array([v]), np.array([rho]))[:8, 0]
        np.testing.assert_allclose(found, exact, rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(plane.forward(v, rho)[:2], exact[:2], rtol=1e-5)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("theory", "mask", "within"),
    [("pair", "none", 1e-4), ("sampled", "none", 1e-4), ("positions", "causal", 1e-4)],
)
def test_large_epsilon_is_a_multiple(theory: str, mask: str, within: float) -> None:
    """N(q) -> q / sqrt(epsilon), which a factor on the logits undoes."""
    epsilon = 1e8
    none = st.Architecture("no-norm", **{**SIZES, "tokens": 48}, mask=mask)
    normed = none.with_(qk_norm=True, norm_epsilon=epsilon, logit_variance=epsilon**2)
    table, other = (st.predict(arch, theory) for arch in (normed, none))
    for stream, quantity in (
        ("0", "variance"), ("0", "grad_variance"), ("0", "token_cosine"),
        ("attn.query", "weight_grad_norm"), ("attn.key", "weight_grad_norm"),
    ):  # fmt: skip
        np.testing.assert_allclose(
            values(table, quantity, stream), values(other, quantity, stream), rtol=within
        )


@pytest.mark.reference
@pytest.mark.parametrize("norm", [{"qk_norm": True}, {"qkv_norm": True, "norm": "layer"}])
def test_positions(norm: dict[str, object]) -> None:
    """Ratios between a stack with epsilon and one without, of sampled heads and of positions."""
    sizes = {**SIZES, "tokens": 64, "heads": 2}
    arch = st.Architecture("no-norm", **sizes, mask="causal", logit_variance=4.0, **norm)
    for quantity, stream, most in (("variance", "0", 0.02), ("weight_grad_norm", "attn.query", 0.05)):
        ratios = [
            values(st.predict(arch.with_(norm_epsilon=0.5), name), quantity, stream)
            / values(st.predict(arch, name), quantity, stream)
            for name in ("positions", "sampled")
        ]
        np.testing.assert_allclose(*ratios, rtol=most)
        assert stream == "0" or (ratios[0] < 0.8).all()


def test_bounds() -> None:
    """Norms of values that pass a part of their size have no bound; of queries and keys they have."""
    arch = st.Architecture("no-norm", **SIZES, qkv_norm=True, norm_epsilon=0.1)
    assert bounds(arch) == {}
    arch = arch.with_(qkv_norm=False, qk_norm=True, placement="pre-norm")
    low, high = bounds(arch)["0", "grad_variance"]
    log = np.log(values(st.predict(arch), "grad_variance"))
    assert (low - 1e-9 <= log).all()
    assert (log <= high + 1e-9).all()


def test_fields() -> None:
    arch = st.Architecture("no-norm", qk_norm=True, norm_epsilon=1e-5)
    assert st.Architecture.parse(str(arch)) == arch
    with pytest.raises(InputError, match="norm_gain has no effect on no-norm"):
        arch.with_(norm_gain=2.0)
    with pytest.raises(InputError, match="norm_epsilon has no effect on no-norm"):
        arch.with_(qk_norm=False)
