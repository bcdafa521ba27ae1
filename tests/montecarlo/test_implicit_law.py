"""The implicit engine has the law of the explicit one; a wrong conditional does not pass for it."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from spannorm_theory.base.errors import InputError
from spannorm_theory.montecarlo import implicit
from spannorm_theory.montecarlo.ensemble import simulate
from spannorm_theory.montecarlo.implicit import ImplicitWeights
from spannorm_theory.montecarlo.metrics import token_modes
from spannorm_theory.montecarlo.randomness import Randomness
from spannorm_theory.montecarlo.weights import ExplicitWeights, Matrix, weight_grad_norm
from spannorm_theory.spec.architecture import Architecture

NETWORKS = 600
FAMILY = 1e-3  # chance that a right engine fails one test
CPU = torch.device("cpu")


def architecture(placement, **changes):
    return Architecture(placement, depth=4, width=64, heads=4, tokens=12, **changes)


def ensemble(arch, engine, seed):
    return simulate(arch, networks=NETWORKS, seed=seed, engine=engine, device="cpu", progress=False)


def observables(run):
    """What is compared: output statistics, the gradient that arrives, all weight gradients."""
    found = {}
    for (stream, quantity), sample in run.samples.items():
        backward = quantity in ("grad_variance", "grad_token_cosine")
        if quantity == "weight_grad_norm":
            found |= {(stream, quantity, l): sample[:, l] for l in (0, sample.shape[1] - 1)}
        elif backward or quantity in ("variance", "token_cosine"):
            found[stream, quantity] = sample[:, 0 if backward else -1]
    # a normalised stream's variance is one but for rounding
    return {key: sample for key, sample in found.items() if sample.std() > 1e-6}


@pytest.fixture(scope="module")
def explicit():
    """Observables of explicit networks."""
    return observables(ensemble(architecture("pre-norm"), "explicit", 1))


def smallest_p_value(left, right):
    """Bonferroni-corrected over all observables."""
    assert left.keys() == right.keys()
    return len(left) * min(ks_2samp(left[key], right[key]).pvalue for key in left)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("placement", "changes"),
    [
        ("pre-norm", {"logit_variance": 3.0}),
        ("post-norm", {"width": 96}),
        ("span-norm", {"activation": "swiglu"}),
        ("siamese-norm", {"mask": "causal"}),
        ("post-norm", {"depth": 2, "experts": 3, "top_k": 2, "gates": "softmax", "shared_experts": 1}),
        ("post-norm", {"kv_heads": 2, "positions": "rope", "attention_dropout": 0.2, "dropout": 0.1}),
    ],
)
def test_same_law_and_same_dependence(placement, changes):
    arch = Architecture(
        **{"placement": placement, "depth": 4, "width": 64, "heads": 4, "tokens": 12} | changes
    )
    explicit, drawn = observables(ensemble(arch, "explicit", 1)), observables(ensemble(arch, "implicit", 2))
    assert smallest_p_value(explicit, drawn) > FAMILY
    # joint law: Fisher's z of every correlation has variance 1/(N-3) in each engine
    z = [np.arctanh(np.clip(np.corrcoef(list(o.values())), -0.999999, 0.999999)) for o in (explicit, drawn)]
    pairs = np.triu_indices(len(explicit), 1)
    difference = (z[0] - z[1])[pairs] / np.sqrt(2 / (NETWORKS - 3))
    # heavier than normal tails of the statistics widen z by up to a half
    assert np.abs(difference).max() < 1.5 * 4.5


def without_projection(seen, root, e, basis):
    return (seen @ basis + root @ e)[..., : -basis.shape[1]]


def without_observation(seen, root, e, basis):
    return (root @ (e - e @ basis.mT @ basis))[..., : -basis.shape[1]]


@pytest.mark.statistical
@pytest.mark.parametrize("broken", [without_projection, without_observation])
def test_a_broken_conditional_is_caught(explicit, monkeypatch, broken):
    monkeypatch.setattr(implicit, "conditional", broken)
    drawn = observables(ensemble(architecture("pre-norm"), "implicit", 2))
    assert smallest_p_value(explicit, drawn) < FAMILY


def one_product(weights_type, x, g, networks, seed=0):
    """X W, G W^T and |X^T G|^2 of one matrix with std 0.5, over many networks."""
    random = Randomness(seed, range(networks), dtype=x.dtype, device=CPU)
    weights = weights_type({"ffn.down": Matrix(x.shape[1], g.shape[1], 0.5)}, random, 0)
    x = x.expand(networks, *x.shape).clone().requires_grad_()
    y = weights(x, "ffn.down")
    (back,) = torch.autograd.grad(y, x, g.expand(networks, *g.shape))
    return y.detach(), back, weights.grad_norms["ffn.down"]


def cases():
    make = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=make, dtype=torch.float64)

    same = normal(1, 20).expand(6, 20)
    repeated = normal(3, 20).repeat(2, 1)
    return {
        "generic": (normal(6, 20), normal(6, 12)),
        "identical tokens": (same, normal(6, 12)),
        "identical gradients": (normal(6, 20), normal(1, 12).expand(6, 12)),
        "repeated tokens": (repeated, normal(6, 12)),
        "zero": (torch.zeros(6, 20, dtype=torch.float64), normal(6, 12)),
        "more tokens than inputs": (normal(6, 4), normal(6, 12)),
        "nearly identical": (same + 1e-5 * normal(6, 20), normal(6, 12)),
    }


def rounded(x):
    """Row norms, no smaller than what float32 leaves of a row that cancels."""
    size = x.norm(dim=1)
    return torch.maximum(size, 1e-5 * size.max()) + 1e-30


@pytest.mark.statistical
@pytest.mark.parametrize("name", cases())
def test_covariances_of_one_product(name):
    """E[Y Y^T] = outputs s^2 X X^T, E[B B^T] = inputs s^2 G G^T and E[Y_ia B_jb] = s^2 G_ja X_ib,
    of Y = X W and B = G W^T, also where X or G lacks rank."""
    x, g = (t.float() for t in cases()[name])
    networks = 10_000
    y, back, norms = one_product(ImplicitWeights, x, g, networks)
    assert torch.isfinite(y).all()
    assert torch.isfinite(back).all()
    x, g, y, back = x.double(), g.double(), token_modes(y.double()), token_modes(back.double())
    xm, gm = token_modes(x), token_modes(g)
    s2 = 0.25
    for value, expected, scale in (
        (torch.einsum("kia,kja->ij", y, y) / networks, 12 * s2 * xm @ xm.T, xm),
        (torch.einsum("kia,kja->ij", back, back) / networks, x.shape[1] * s2 * gm @ gm.T, gm),
    ):
        size = rounded(scale)
        # the variance of an entry is at most twice the number of terms times (s^2 size size)^2
        error = (value - expected).abs() / torch.outer(size, size)
        assert error.max() < 5 * s2 * (2 * 20 / networks) ** 0.5
    cross = torch.einsum("kia,kjb->iajb", y, back) / networks
    expected = s2 * torch.einsum("ja,ib->iajb", gm, xm)
    size = torch.outer(rounded(xm), rounded(gm))[:, None, :, None]
    assert ((cross - expected).abs() / size).max() < 6 * s2 * (2 / networks) ** 0.5
    assert norms[0].item() == pytest.approx((x.T @ g).square().sum().item(), rel=1e-5, abs=1e-6)


@pytest.mark.exact
@pytest.mark.parametrize("name", cases())
def test_inner_products_that_weights_cannot_change(name):
    """<X W, G> = <X, G W^T> holds for every draw, but for the input that each row is given of its own, of
    relative size (16 n eps)^(1/2) = 1e-7."""
    x, g = cases()[name]
    y, back, _ = one_product(ImplicitWeights, x, g, 5)
    left, right = (y * g).sum((1, 2)), (back * x).sum((1, 2))
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.exact
def test_weight_gradient_survives_collapsed_tokens():
    """With equal gradients removed, only differences of 1e-6 between tokens carry the gradient."""
    make = torch.Generator().manual_seed(0)
    common, own = (torch.randn(1, n, 64, generator=make, dtype=torch.float64) for n in (1, 8))
    g = torch.randn(1, 8, 64, generator=make, dtype=torch.float64)
    g = g - g.mean(1, keepdim=True)
    x = common + 1e-6 * own
    exact = torch.einsum("kia,kib->kab", x - x.mean(1, keepdim=True), g).square().sum((1, 2))
    torch.testing.assert_close(weight_grad_norm(x, g), exact, rtol=1e-9, atol=0)


@pytest.mark.exact
@pytest.mark.parametrize("engine", [ExplicitWeights, ImplicitWeights])
def test_a_second_use_of_a_weight_is_refused(engine):
    random = Randomness(0, range(2), dtype=torch.float32, device=CPU)
    weights = engine({"ffn.down": Matrix(8, 8, 1.0)}, random, 0)
    x = torch.ones(2, 3, 8)
    weights(x, "ffn.down")
    with pytest.raises(InputError, match="applied twice"):
        weights(x, "ffn.down")


@pytest.mark.exact
def test_matrices_drawn_together_must_read_the_same_input():
    random = Randomness(0, range(2), dtype=torch.float32, device=CPU)
    weights = ImplicitWeights({f"attn.{n}": Matrix(8, 8, 1.0) for n in ("query", "key")}, random, 0)
    weights(torch.ones(2, 3, 8), "attn.query")
    with pytest.raises(InputError, match="engine='explicit'"):
        weights(torch.ones(2, 3, 8), "attn.key")
