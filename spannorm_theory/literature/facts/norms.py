"""PostNorm and PreNorm (arXiv:2002.04745 and later readings of it)."""

from __future__ import annotations

import numpy as np
from sympy import Rational, simplify

from ...base import symbols
from ...base.formulas import IDENTITY, RATIO
from ..fact import Fact, balanced, growth_of, log_profile, predicted_ratio, recursion, slope

SIZES = "width=128 heads=4 tokens=32"
#: zero logits, one d x d ReLU layer's worth of gain, LayerNorm
XIONG = f"activation=relu ffn_ratio=1.0 logit_variance=1e-06 norm=layer {SIZES}"
UNIT = f"init=unit-branch activation=relu {SIZES}"
#: gains of Xiong's setting: attention of aligned tokens at most 1, ReLU branch exactly 1/2
SETTING = {symbols.sigma_a2: 1, symbols.sigma_f2: Rational(1, 2), symbols.initial_variance: 1}


def pre_norm_bounds() -> Fact:
    """The bounds of q for any token correlation, at the gains of Xiong's setting."""
    low, high = (bound.subs(SETTING) for bound in recursion("pre-norm").bounds()["q"])
    l = symbols.layer
    holds = simplify(low - (1 + l / 2)) == 0 and simplify(high - (1 + 3 * l / 2)) == 0
    return Fact(bool(holds), f"{low} <= q_l <= {high}")


def post_norm_sum() -> Fact:
    """The FFN's sum 1 + sigma_f^2 is 3/2: a block of aligned tokens keeps 1/sqrt(2 x 3/2) of its input."""
    gain = recursion("post-norm").step.identity[0].subs(SETTING)
    return Fact(
        bool(simplify(gain**2 - Rational(1, 3)) == 0),
        f"identity gain of a block {gain}, so its two sums have second moments 2 and 3/2",
        {"cosine": float(gain)},
    )


def _last_layer(placement: str) -> float:
    depths = [64, 128, 256, 512]
    logs = [
        log_profile(f"{placement} unit depth={depth} {XIONG}", "weight_grad_norm", "ffn.down")[-1]
        for depth in depths
    ]
    return slope(depths, logs)


def last_layer_post() -> Fact:
    """Depth exponent of the last block's squared FFN gradient in PostNorm."""
    found = _last_layer("post-norm")
    return Fact(abs(found) < 0.01, f"exponent in depth {found:.4f} (64 to 512 blocks)", {"exponent": 0.0})


def last_layer_pre() -> Fact:
    """Depth exponent of the last block's squared FFN gradient in PreNorm."""
    found = _last_layer("pre-norm")
    return Fact(abs(found + 1) < 0.1, f"exponent in depth {found:.3f} (64 to 512 blocks)", {"exponent": -1.0})


def vanishing_factor() -> Fact:
    """The rate of the whole gradient is 0 for omega = sigma, not ln(2/3)."""
    rate = balanced(growth_of("post-norm", "unit", RATIO).rate)
    text = f"rate of gamma_0/gamma_L: {rate} for omega = sigma, not ln(2/3) a block"
    return Fact(rate != 0, text, {"claimed, 23 blocks": (2 / 3) ** 23})


def skip_product() -> Fact:
    """2^-N is the squared skip product over N sublayers; the gradient's rate is 0."""
    rate = balanced(growth_of("post-norm", "unit", RATIO).rate)
    gain = 2 * growth_of("post-norm", "unit", IDENTITY).rate
    ones = {symbols.sigma_a2: 1, symbols.sigma_f2: 1}
    return Fact(
        bool(simplify(rate - gain) == 0),
        f"squared skip product exp({simplify(gain.subs(ones))} L) as published, gradient exp({rate} L)",
        {"claimed, 48 sublayers": 2.0**-48},
    )


def u_shape() -> Fact:
    """The gradient's minimum lies inside the stack, well below both ends, if tokens start uncorrelated."""

    def depth_of_dip(cosine: float) -> float:
        logs = log_profile(f"post-norm unit depth=24 input_cosine={cosine} {UNIT}", "grad_variance")
        return float(np.exp(logs.min() - min(logs[0], logs[-1])))

    plain, aligned = depth_of_dip(0.0), depth_of_dip(0.95)
    return Fact(
        plain < 0.5,
        f"least gradient variance over the smaller end: {plain:.2f}; {aligned:.2f} for tokens of cosine 0.95",
        outside=aligned < 0.5,
    )


def crossover() -> Fact:
    """Blocks from the output after which the gradient falls by less than a quarter a block."""

    def blocks(tokens: int) -> int:
        sizes = SIZES.replace("tokens=32", f"tokens={tokens}")
        text = f"post-norm unit depth=32 input_cosine=0.95 init=unit-branch activation=relu {sizes}"
        falls = np.diff(log_profile(text, "grad_variance"))[::-1]
        return int(np.argmax(falls < -np.log(0.75)))

    found = {tokens: blocks(tokens) for tokens in (8, 32, 128)}
    near = all(abs(count - np.log2(tokens)) <= 1.5 for tokens, count in found.items())
    text = ", ".join(f"{count} for {tokens} tokens" for tokens, count in found.items())
    return Fact(near, f"blocks from the output until the fall per block is under a quarter: {text}")


def linear_variance() -> Fact:
    """q at l = L is Theta(L)."""
    found = growth_of("pre-norm", "unit", "q")
    return Fact(found.power == 1 and found.rate == 0, f"q_L: {found}")


def _gradient_slope() -> float:
    layers = [64, 128, 256, 512, 1000]
    text = f"pre-norm unit depth=1024 {SIZES}"
    return slope(layers, log_profile(text, "weight_grad_norm", "ffn.up")[layers])


def gradient_against_depth() -> Fact:
    """Layer exponent of the squared FFN gradient."""
    found = _gradient_slope()
    return Fact(
        abs(found + 1) < 0.1,
        f"exponent of the squared ffn.up gradient in the layer {found:.3f} (64 to 1000 of 1024 blocks)",
        {"exponent": -1.0},
    )


def flat_gradients() -> Fact:
    """The exponent of PreNorm's weight gradients in the layer, against 0."""
    found = _gradient_slope()
    ratio = predicted_ratio(f"pre-norm unit depth=32 {SIZES}", "weight_grad_norm", 4, 31, "ffn.up")
    return Fact(abs(found) < 0.1, f"exponent {found:.3f}; block 4 over block 31 of 32: {ratio:.1f}")


def dilution() -> Fact:
    """A block adds (sigma_a^2 + sigma_f^2)/q_l of the stream, and q_l grows linearly."""
    found = growth_of("pre-norm", "unit", "q")
    return Fact(
        found.power == 1 and found.rate == 0,
        f"share (sigma_a^2 + sigma_f^2)/q_l, q_L: {found}",
        {"exponent": -1.0},
    )
