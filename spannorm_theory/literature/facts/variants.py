"""Claims of later placements and scaling rules."""

from __future__ import annotations

from sympy import simplify

from ...base import symbols
from ...base.formulas import IDENTITY, RATIO
from ..fact import Fact, growth_of, predicted, predicted_ratio, recursion

SIZES = "width=128 heads=4 tokens=32"
UNIT = f"init=unit-branch activation=relu {SIZES}"
ONES = {symbols.sigma_a2: 1, symbols.sigma_f2: 1, symbols.omega_a2: 1, symbols.omega_f2: 1}
L = symbols.depth


def lns_linear() -> Fact:
    """q under LayerNorm Scaling is a harmonic sum, Theta(log L)."""
    found = growth_of("ln-scaling", "unit", "q")
    return Fact(found.power == 1, f"q_L: {found}")


def lns_gap() -> Fact:
    """First over last squared FFN gradient, against PreNorm's."""
    return _evener("ln-scaling", f"depth=32 {UNIT}", "ffn.up", "of 32 blocks")


def mix_ln_even() -> Fact:
    """First over last squared FFN gradient, against PreNorm's: with the gains of the released code (standard
    deviation 0.02 at width 768) and its embedding, and at fan-in gains."""
    small, swiglu = "width=192 ffn_width=512 heads=4 tokens=32", "activation=swiglu"
    released = f"depth=12 {swiglu} {small} init=0.04 input_variance=0.4"
    inside = _evener("mix-ln", released, "ffn.down", "as released")
    fan_in = _evener("mix-ln", f"depth=16 {swiglu} {SIZES}", "ffn.down", "at fan-in gains, of 16 blocks")
    return Fact(inside.holds, f"{inside.formula}; {fan_in.formula}", inside.numbers, fan_in.holds)


def _evener(placement: str, fields: str, matrix: str, where: str) -> Fact:
    """Whether a placement's first over last squared gradient is below PreNorm's."""
    ratio = {
        name: predicted_ratio(f"{name} unit {fields}", "weight_grad_norm", 0, -1, matrix)
        for name in (placement, "pre-norm")
    }
    text = ", ".join(f"{name} {value:.1f}" for name, value in ratio.items())
    return Fact(
        ratio[placement] < ratio["pre-norm"],
        f"first over last squared {matrix} gradient {where}: {text}",
        {"pre-norm": ratio["pre-norm"]},
    )


def peri_linear() -> Fact:
    """q = 2l + 1, in which no branch gain stands."""
    q = recursion("peri-ln").closed_form()["q"]
    return Fact(simplify(q - 2 * symbols.layer - 1) == 0, f"q = {q}", {"8 blocks": 17.0})


def deepnorm_identity() -> Fact:
    """Identity gain and gradient ratio tend to 1 (q_0 = 1)."""
    gain = growth_of("deepnorm", "deepnorm-init", IDENTITY)
    ratio = growth_of("deepnorm", "deepnorm-init", RATIO)
    ends = [float(g.prefactor.subs(symbols.initial_variance, 1)) for g in (gain, ratio)]
    flat = all(g.shape == 1 for g in (gain, ratio))
    return Fact(flat and ends == [1.0, 1.0], f"identity gain {gain}; gamma_0/gamma_L {ratio}")


def keel_product() -> Fact:
    """The skip product of every block but the first tends to 1."""
    r = recursion("keel", "keel")
    opening = simplify(r.first.identity[0].subs(symbols.variance, symbols.initial_variance))
    law = growth_of("keel", "keel", IDENTITY)
    rest = simplify(law.prefactor / opening)
    return Fact(
        law.shape == 1 and rest == 1,
        f"identity gain {law}, of which the first block alone makes {opening}",
    )


def b2t_path() -> Fact:
    """Rate of the identity gain against PostNorm's, at unit branch gains."""
    rates = {name: float(growth_of(name, "unit", IDENTITY).rate.subs(ONES)) for name in ("b2t", "post-norm")}
    text = ", ".join(f"{name} {value:.3f}" for name, value in rates.items())
    return Fact(
        rates["post-norm"] < rates["b2t"] <= 0,
        f"rate of the identity gain per block at unit branch gains: {text}",
    )


def deepscalelm_unit() -> Fact:
    """q at the last layer, for aligned tokens and for uncorrelated ones."""
    text = f"pre-norm deepscalelm depth=32 {UNIT}"
    aligned, plain = predicted(f"{text} input_cosine=0.95", "variance"), predicted(text, "variance")
    return Fact(
        abs(aligned - 1) < 0.05,
        f"q_L = {aligned:.3f} for tokens of cosine 0.95, {plain:.3f} for uncorrelated ones, whose attention "
        "branch is smaller than 1",
        outside=abs(plain - 1) < 0.05,
    )


def gpt2_constant() -> Fact:
    """q at l = L under gpt2 is Theta(1)."""
    found = growth_of("pre-norm", "gpt2", "q")
    return Fact(found.shape == 1, f"q_L: {found}")


def completep_embedding() -> Fact:
    """q at l = L under CompleteP tends to q_0."""
    found = growth_of("pre-norm", "completep", "q")
    q0 = symbols.initial_variance
    return Fact(found.shape == 1 and simplify(found.prefactor - q0) == 0, f"q_L: {found}")


def swin_identity() -> Fact:
    """A block with norm gains of zero is the identity."""
    block = recursion("swin-v2").block
    same = block.forward[0, 0] == symbols.variance and block.backward_matrix[0, 0] == 1
    return Fact(same, f"q' = {block.forward[0, 0]}, gamma = {block.backward_matrix[0, 0]} gamma'")
