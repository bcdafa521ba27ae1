"""Gradients of learnt multipliers of branches, in theory and Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import equal, rounded

from spannorm_theory import Architecture, derive, verify
from spannorm_theory.base import symbols
from spannorm_theory.base.errors import InputError
from spannorm_theory.layers.multiplier_op import Multiply
from spannorm_theory.prediction.predict import predict_profiles
from spannorm_theory.spec.net import Net
from spannorm_theory.spec.scalings import SCALINGS

SMALL = {"depth": 3, "width": 64, "heads": 4, "tokens": 8}
#: branches that streams share, are added together, are normed first, and are of experts
KINDS = {
    "pre-norm": {},
    "siamese-norm": {},
    "parallel-pre": {"mask": "causal"},
    "hyper-connections": {},
    "post-norm": {"mask": "causal", "dropout": 0.1},
}


@pytest.mark.exact
@pytest.mark.parametrize("placement", KINDS)
def test_a_multiplier_and_the_last_matrix_scale_the_same_product(placement: str) -> None:
    """lambda enters with W_O alone, so that lambda^2 |dlambda|^2 = s_O / d |dW_O|^2 in the wide limit."""
    arch = Architecture(placement, "layerscale-18", **SMALL, **KINDS[placement])
    profiles = predict_profiles(arch).profiles
    for kind, last, inputs in (("attn", "attn.output", 64), ("ffn", "ffn.down", 256)):
        name = f"{kind}.multiplier"
        if name not in arch.learnt:
            name = "attn.ffn.multiplier"
        ratio = profiles[name, "weight_grad_norm"] - profiles[last, "weight_grad_norm"]
        if placement != "post-norm":  # dropout stands between the two
            assert np.exp(ratio) == rounded(np.full(3, 100 / inputs)), kind
        assert np.isfinite(ratio).all()


@pytest.mark.statistical
@pytest.mark.parametrize("placement", KINDS)
def test_real_networks(placement: str) -> None:
    arch = Architecture(placement, "layerscale-18", **SMALL, **KINDS[placement])
    result = verify(arch, networks=40, progress=False)
    assert result.passed
    rows = result.table[result.table["stream"].str.endswith("multiplier")]
    assert set(rows["verdict"]) <= {"ok", "within width"}


@pytest.mark.statistical
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_what_a_rezero_stack_learns(mask: str) -> None:
    """Its multipliers, though no matrix has a gradient."""
    arch = Architecture("no-norm", "rezero", **SMALL, mask=mask)
    result = verify(arch, networks=40, progress=False)
    assert result.passed
    learning = result.table[result.table["quantity"] == "weight_grad_norm"]
    learning = learning[learning["theory"] > 0]
    assert set(learning["stream"]) == {"attn.multiplier", "ffn.multiplier"}
    assert (learning["estimate"] > 0).all()


@pytest.mark.statistical
@pytest.mark.parametrize("placement", ["peri-ln", "olmo2", "swin-v2(gain=0.7)"])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_gains_of_output_norms(placement: str, mask: str) -> None:
    """Those of a rule that starts at 0.1, and swin-v2's own beside them: gain g and multiplier lambda scale
    the same values, so that lambda^2 |dlambda|^2 = g^2 |dg|^2."""
    arch = Architecture(placement, "layerscale-18", **SMALL, mask=mask)
    result = verify(arch, networks=40, progress=False)
    assert result.passed, result.summary()
    rows = result.table[result.table["quantity"] == "weight_grad_norm"].set_index("stream")["theory"]
    assert (rows[["attn.multiplier", "ffn.multiplier"]] > 0).all()
    for kind in ("attn", "ffn") if placement.startswith("swin") else ():
        assert 0.7**2 * rows[f"{kind}.gain"].to_numpy() == rounded(
            0.1**2 * rows[f"{kind}.multiplier"].to_numpy()
        )


@pytest.mark.reference
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_gains_that_start_at_zero_have_a_gradient(mask: str) -> None:
    """Where blocks are the identity a multiplier meets a unit gradient: d n times the second moment of what
    it multiplies, which is 1 behind a norm and E gelu(z)^2 of a feed-forward branch."""
    for placement, rule, moments in (
        ("swin-v2", "unit", {"attn.gain": 1, "ffn.gain": 1}),
        ("no-norm", "rezero", {"ffn.multiplier": 0.425225}),
    ):
        profiles = predict_profiles(Architecture(placement, rule, **SMALL, mask=mask)).profiles
        for name, moment in moments.items():
            found = np.exp(profiles[name, "weight_grad_norm"])
            assert found == pytest.approx(np.full(3, 64 * 8 * moment), rel=1e-5)
        assert np.isneginf(profiles["ffn.down", "weight_grad_norm"]).all()


@pytest.mark.exact
def test_a_gain_of_what_is_no_branch_is_refused() -> None:
    net = Net(SCALINGS["unit"])
    with pytest.raises(InputError, match=r"net\.gain\(branch, start\) needs what attention or ffn puts out"):
        net.gain(net.norm(net.stream(0)), 1)


@pytest.mark.exact
def test_the_recorded_gradient_is_autograd_s() -> None:
    x = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x.requires_grad_()
    norms: dict[str, torch.Tensor] = {}
    (Multiply.apply(x, 0.3, "own", norms) * weights).sum().backward()
    multipliers = torch.full((2, 1, 7), 0.3, dtype=torch.float64, requires_grad=True)
    (multipliers * x.detach() * weights).sum().backward()
    assert norms["own"].numpy() == rounded(multipliers.grad.square().sum((1, 2)).numpy())
    assert x.grad.numpy() == rounded(0.3 * weights.numpy())


@pytest.mark.exact
def test_formulas_do_not_ask_whether_a_multiplier_is_learnt() -> None:
    learnt = derive("pre-norm", "layerscale-18").closed_form()["q"]
    branches = (symbols.sigma_a2 + symbols.sigma_f2) / 100
    assert equal(learnt, symbols.initial_variance + symbols.layer * branches)
