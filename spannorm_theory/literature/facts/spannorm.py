"""SpanNorm (arXiv:2601.22580)."""

from __future__ import annotations

from math import exp, log

from sympy import limit, simplify

from ...base import symbols
from ...base.formulas import COLLAPSE, IDENTITY, RATIO
from ..fact import Fact, balanced, gains, growth_of, predicted, predicted_ratio, recursion

SIZES = "width=128 heads=4 tokens=32"
UNIT, SCALED = "span-norm unit", "span-norm depth-scaled-init"


def bounded_variance() -> Fact:
    """The closed form of q under depth scaling is 1."""
    q = recursion("span-norm", "depth-scaled-init").closed_form()["q"]
    return Fact(q == 1, f"q = {q} at every layer from 1 on", {"variance": float(q)})


def unbounded_without_scaling() -> Fact:
    """The closed form of q without scaling is 1 as well."""
    q = recursion("span-norm").closed_form()["q"]
    return Fact(bool(q.has(symbols.layer)), f"without any scaling q = {q} at every layer from 1 on")


def half_exponent() -> Fact:
    """Rate of the identity gain over PostNorm's: 1/2 at sigma_a = sigma_f, 1 where attention adds nothing."""
    span = growth_of("span-norm", "unit", IDENTITY).rate
    post = growth_of("post-norm", "unit", IDENTITY).rate
    equal = simplify((span / post).subs(symbols.sigma_a2, symbols.sigma_f2))
    apart = limit(span / post, symbols.sigma_a2, 0)
    return Fact(
        float(equal.subs(symbols.sigma_f2, 1)) == 0.5,
        f"rates {span} against {post}: half for equal branch gains, and {apart} where attention averages its "
        "branch away",
        {"span": 2**-0.5, "post": 0.5},
        outside=abs(float(apart) - 0.5) < 0.01,
    )


def gain_is_gradient() -> Fact:
    """The gradient's rate for omega = sigma is 0; the squared identity gain's is not."""
    gradient = balanced(growth_of("span-norm", "unit", RATIO).rate)
    gain = 2 * growth_of("span-norm", "unit", IDENTITY).rate
    return Fact(
        bool(simplify(gradient - gain) == 0),
        f"rate of gamma_0/gamma_L is {gradient} for omega = sigma, of the squared identity gain {gain}",
        {"squared gain at 16 blocks": 2.0**-16},
    )


def scaled_gradient() -> Fact:
    """gamma_0/gamma_L tends to exp(omega_f^2 - sigma_f^2)/q_0."""
    found = growth_of("span-norm", "depth-scaled-init", RATIO)
    bounded = found.shape == 1
    limit_ = float(found.prefactor.subs(gains()))
    return Fact(bounded, f"gamma_0/gamma_L: {found}; {limit_:.4f} for GELU", {"limit": limit_})


def scaled_identity_gain() -> Fact:
    """The identity gain tends to exp(-sigma_f^2/2)/sqrt(q_0)."""
    found = growth_of("span-norm", "depth-scaled-init", IDENTITY)
    f2 = gains()[symbols.sigma_f2]
    expected = exp(-f2 / 2)
    agrees = abs(float(found.prefactor.subs(gains())) - expected) < 1e-9
    block = (1 + f2 / 48) ** -0.5
    return Fact(
        found.shape == 1 and agrees,
        f"identity gain: {found}; {expected:.4f} for GELU",
        {"one block of 48": block},
    )


def constant_share() -> Fact:
    """SpanNorm's block keeps 1/sqrt(1 + sigma_f^2) of its input whatever its index; PreNorm's adds
    (sigma_a^2 + sigma_f^2)/q_l, and q_l grows linearly."""
    kept = recursion("span-norm").step.identity[0]
    pre = growth_of("pre-norm", "unit", "q")
    return Fact(
        not kept.has(symbols.layer) and pre.power == 1 and pre.rate == 0,
        f"SpanNorm's block keeps {kept} of its input at every l; PreNorm's stream grows as {pre}",
        {"span-norm": 0.0, "pre-norm": -1.0},
    )


def tokens_against_pre_norm() -> Fact:
    """1 - rho: constant with scaling, geometric without, a power of depth in PreNorm."""
    name = COLLAPSE
    scaled = growth_of("span-norm", "depth-scaled-init", name)
    plain = growth_of("span-norm", "unit", name)
    pre = growth_of("pre-norm", "unit", name)
    values = gains()
    falls = float(pre.power.subs(values)) < 0
    return Fact(
        scaled.shape == 1 and falls,
        f"1 - rho: {scaled} with depth scaling, {plain} without, PreNorm {pre}",
        outside=float(plain.rate.subs(values)) >= 0,
    )


def scaling_stops_collapse() -> Fact:
    """Under depth scaling the tokens' alignment is bounded in depth."""
    name = COLLAPSE
    scaled, plain = growth_of("span-norm", "depth-scaled-init", name), growth_of("span-norm", "unit", name)
    return Fact(
        scaled.shape == 1 and float(plain.rate.subs(gains())) < 0,
        f"1 - rho: {plain} without scaling, {scaled} with it",
    )


def experts() -> Fact:
    """Variance 1 and a gradient ratio that settles, with eight experts of which two are chosen."""
    ratios = [
        predicted_ratio(f"{SCALED} depth={depth} {SIZES} experts=8 top_k=2", "grad_variance", 0, -1)
        for depth in (64, 256, 1024)
    ]
    variance = predicted(f"{SCALED} depth=1024 {SIZES} experts=8 top_k=2", "variance")
    settles = abs(log(ratios[2] / ratios[1])) < abs(log(ratios[1] / ratios[0])) + 1e-3 and ratios[2] < 2
    text = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    return Fact(
        settles and abs(variance - 1) < 1e-9,
        f"q_L = {variance:.3f}; gamma_0/gamma_L = {text} at 64, 256, 1024 blocks",
        {"limit": ratios[2]},
    )


def scale_init_family() -> Fact:
    """Members c L^(-a) of Scale Init's readings by what the paper states: a skip path whose gradient neither
    vanishes nor explodes with depth; and by branches that are not lost in deep stacks."""
    found: dict[str, bool] = {}
    for on in ("output", "all"):
        for power in ("0", "0.125", "0.25", "0.5", "1"):
            text = f"span-scale-init(power={power}, on={on})"
            gain = growth_of("span-norm", text, IDENTITY)
            kept = gain.shape == 1
            lost = kept and simplify(gain.prefactor.subs(symbols.initial_variance, 1) - 1) == 0
            found[f"a = {power} on {on}"] = bool(kept and not lost)
    members = [name for name, both in found.items() if both]
    return Fact(
        members == ["a = 0.5 on output", "a = 0.25 on all"],
        f"skip gain bounded and other than one, of {len(found)} members: {', '.join(members)}",
    )
