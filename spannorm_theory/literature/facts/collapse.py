"""Rank collapse (arXiv:2103.03404, 2206.03126, 2403.02579)."""

from __future__ import annotations

import numpy as np
from sympy import simplify

from ...base import symbols
from ...base.formulas import COLLAPSE, RATIO
from ..fact import Fact, growth_of, log_profile, predicted_ratio

SIZES = "width=128 heads=4 tokens=32"
UNIT = f"init=unit-branch activation=relu {SIZES}"
#: weights of standard deviation 10: the skip is 1e-8 of what a branch adds
NO_SKIP = (
    "post-norm unit depth=6 width=128 heads=4 tokens=16 activation=relu init=10.0 logit_variance=1.0 "
    "input_cosine=0.3"
)
SKIP = NO_SKIP.replace("init=10.0 ", "")


def doubly_exponential() -> Fact:
    """Growth of the fall of ln(residual) from block to block: about threefold without a skip."""

    def growths(text: str) -> list[float]:
        falls = -np.diff(log_profile(text, "rank_residual"))[:3]
        return [float(x) for x in falls[1:] / falls[:-1]]

    bare, skipped = growths(NO_SKIP), growths(SKIP)
    return Fact(
        min(bare) > 2,
        "each block's fall of ln(residual) over the block's before: "
        + ", ".join(f"{x:.2f}" for x in bare)
        + "; with a skip "
        + ", ".join(f"{x:.2f}" for x in skipped),
        outside=min(skipped) > 2,
    )


def query_key_vanish() -> Fact:
    """Squared query and value gradients at the last block over those at the first."""
    text = f"post-norm unit depth=16 {UNIT}"
    found = {
        name: predicted_ratio(text, "weight_grad_norm", -1, 0, name) for name in ("attn.query", "attn.value")
    }
    return Fact(
        found["attn.query"] < 1e-4 and found["attn.value"] > 1,
        "squared gradients at the last block over the first: "
        + ", ".join(f"{name} {value:.2g}" for name, value in found.items()),
    )


def square_root_cure() -> Fact:
    """1 - rho is Theta(1) with branches / sqrt(2L), geometric without."""
    scaled = growth_of("post-norm", "branch-sqrt-depth", COLLAPSE)
    plain = growth_of("post-norm", "unit", COLLAPSE)
    ones = {s: 1 for pair in symbols.GAINS.values() for s in pair}
    return Fact(
        scaled.shape == 1 and plain.rate.subs(ones).is_negative,
        f"1 - rho: {plain} without the factor, {scaled} with it",
    )


def same_rate() -> Fact:
    """The rate of 1 - rho is that of the gradient of token differences, which attention does not carry."""
    found = []
    for name in ("post-norm", "span-norm", "hybrid-norm"):
        angle = growth_of(name, "unit", COLLAPSE).rate
        gradient = growth_of(name, "unit", RATIO).rate.subs(symbols.omega_a2, 0)
        found.append(bool(simplify(angle - gradient) == 0))
    return Fact(
        all(found),
        "the laws of 1 - rho and of gamma_0/gamma_L at omega_a = 0 have one rate in PostNorm, SpanNorm and "
        "HybridNorm",
        {"block": 0.5, "residual": 2**-0.5},
    )
