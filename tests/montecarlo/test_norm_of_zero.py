"""N(0) = 0 with Jacobian 0: in the operation, in both engines, and where the theory declines."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spannorm_theory import Architecture, predict, simulate
from spannorm_theory.base.errors import AssumptionError
from spannorm_theory.layers.norm_op import normalise

#: whose first token has one key, which dropout takes away in three networks of ten
DROPPED = Architecture("peri-ln", depth=2, width=64, heads=2, tokens=6, mask="causal", attention_dropout=0.3)


@pytest.mark.exact
@pytest.mark.parametrize("kind", ["rms", "layer"])
def test_zero_stays_zero_and_takes_no_gradient(kind: str) -> None:
    x = torch.zeros(2, 3, 8, dtype=torch.float64)
    x[0] = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    y = normalise(x, kind)
    (grad,) = torch.autograd.grad(y.sum() + (y * y[0]).sum(), x)
    assert (y[1] == 0).all()
    assert (grad[1] == 0).all()
    assert torch.isfinite(grad).all()
    assert y[0].detach().square().mean(-1).numpy() == pytest.approx(np.ones(3), rel=1e-12)


@pytest.mark.statistical
def test_both_engines_have_it() -> None:
    """The share of first tokens whose attention is dropped, 0.3 of each head, leaves less than one behind its
    norm; the engines agree on every quantity within four standard errors."""
    tables = [
        simulate(DROPPED, networks=400, engine=e, seed=s, progress=False).table
        for s, e in enumerate(("explicit", "implicit"))
    ]
    rows = [t[t["quantity"].isin(["variance", "token_cosine", "grad_variance"])] for t in tables]
    assert np.isfinite(rows[0]["value"]).all()
    error = np.hypot(rows[0]["se"], rows[1]["se"].to_numpy())
    assert (np.abs(rows[0]["value"] - rows[1]["value"].to_numpy()) < 4 * error + 1e-6).all()


@pytest.mark.exact
def test_the_theory_declines_the_norm_of_a_mixture() -> None:
    with pytest.raises(AssumptionError, match="takes the only key of the first token away"):
        predict(DROPPED)
    assert predict(DROPPED.with_(placement="pre-norm"))["value"].notna().any()
