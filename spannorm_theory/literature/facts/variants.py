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
DOWN = "ffn.down"


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


def peri_bound() -> Fact:
    """Factor on the squared gradient of ffn.down when every weight doubles: h^2/a^2 falls to a quarter where
    the branch's output a is normed, and h^2 grows to four times where it is not."""
    found = {
        name: predicted(f"{name} unit depth=1 init=0.01 activation=relu {SIZES}", "weight_grad_norm", 0, DOWN)
        / predicted(f"{name} unit depth=1 init=0.005 activation=relu {SIZES}", "weight_grad_norm", 0, DOWN)
        for name in ("peri-ln", "pre-norm")
    }
    text = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    return Fact(
        abs(found["peri-ln"] - 0.25) < 0.01 and abs(found["pre-norm"] - 4) < 0.1,
        f"doubling every weight multiplies the squared gradient of ffn.down by: {text}",
        {"peri-ln": 0.25},
    )


def output_norm_growth() -> Fact:
    """q = q_0 + 2l for normed branch outputs: sublayer k multiplies the norm by sqrt((k + 1)/k)."""
    q = recursion("output-norm").moment_at((0, 0), symbols.layer)
    holds = simplify(q - symbols.initial_variance - 2 * symbols.layer) == 0
    return Fact(bool(holds), f"q = {q}, k = 2l + 1 sublayers' worth at q_0 = 1", {"block 4": 11 / 9})


def completep_alpha() -> Fact:
    """q at l = L under branches x L^(-alpha)."""
    powers = ("0.25", "0.5", "0.75", "1")
    found = {alpha: growth_of("pre-norm", f"completep(alpha={alpha})", "q") for alpha in powers}
    bounded = all(found[alpha].shape == 1 for alpha in ("0.5", "0.75", "1"))
    return Fact(
        bounded, "; ".join(f"alpha = {a}: {q}" for a, q in found.items()), outside=found["0.25"].shape == 1
    )


def esm_c_printed() -> Fact:
    """q at l = L with branches x sqrt(L), as printed, and with branches / sqrt(L)."""
    printed, meant = (growth_of("pre-norm", f"esm-c{o}", "q") for o in ("(as_printed=True)", ""))
    return Fact(printed.shape == 1, f"q_L as printed: {printed}; with branches / sqrt(L): {meant}")


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
