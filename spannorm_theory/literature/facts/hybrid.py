"""HybridNorm (arXiv:2503.04598)."""

from __future__ import annotations

from ...base import symbols
from ..fact import Fact, gains, predicted, predicted_ratio, recursion

SIZES = "width=128 heads=4 tokens=32"
FIRST_STEP = f"depth=16 activation=swiglu {SIZES}"


def fixed_variance() -> Fact:
    """q = 1 + sigma_f^2 behind every block."""
    q = recursion("hybrid-norm").closed_form()["q"]
    value = float(q.subs(gains()))
    return Fact(q == 1 + symbols.sigma_f2, f"q = {q} from layer 1 on", {"variance": value})


def _evenness(text: str) -> float:
    return predicted_ratio(f"{text} {FIRST_STEP}", "weight_grad_norm", 0, -1, "ffn.down")


def balanced_gradients() -> Fact:
    """First over last squared FFN gradient norm, each placement with the initialisation it was run with."""
    own, pre = _evenness("hybrid-norm gpt2"), _evenness("pre-norm unit")
    plain, post = _evenness("hybrid-norm unit"), _evenness("post-norm unit")
    return Fact(
        0.5 < own < 2 and pre > 5,
        f"first over last squared gradient of ffn.down, 16 SwiGLU blocks: HybridNorm {own:.2f} with output "
        f"projections / sqrt(2L) and {plain:.1f} without, PreNorm {pre:.1f}, PostNorm {post:.1f}",
        outside=0.5 < plain < 2,
    )


def _coupling(flag: str) -> dict[str, float]:
    """Factor on each squared weight-gradient norm when every weight doubles, for branches so small that the
    gradient at their output does not notice."""
    return {
        name: predicted(f"pre-norm unit depth=1 init=0.01{flag} {SIZES}", "weight_grad_norm", 0, name)
        / predicted(f"pre-norm unit depth=1 init=0.005{flag} {SIZES}", "weight_grad_norm", 0, name)
        for name in ("attn.query", "attn.value", "attn.output")
    }


def _couplings(flag: str, expected: dict[str, float]) -> Fact:
    found = _coupling(flag)
    holds = all(abs(found[name] / value - 1) < 0.01 for name, value in expected.items())
    text = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    return Fact(holds, f"doubling every weight multiplies squared gradient norms by: {text}", expected)


def coupling_pre() -> Fact:
    """Query gradients carry three other matrices (2^6), value gradients one (2^2)."""
    return _couplings("", {"attn.query": 64.0, "attn.value": 4.0, "attn.output": 4.0})


def coupling_qk() -> Fact:
    """With QK norm query gradients carry values and outputs and their own inverse (2^2)."""
    return _couplings(" qk_norm=True", {"attn.query": 4.0, "attn.value": 4.0, "attn.output": 4.0})


def coupling_qkv() -> Fact:
    """With QKV norm each gradient carries at most the output projection and its own inverse (2^0)."""
    return _couplings(" qkv_norm=True", {"attn.query": 1.0, "attn.value": 1.0, "attn.output": 1.0})


def star_first_block() -> Fact:
    """First over middle FFN gradient of the star, with a small embedding and with one of unit variance."""

    def ratio(placement: str, q0: float) -> float:
        text = f"{placement} gpt2 input_variance={q0} {FIRST_STEP}"
        return predicted_ratio(text, "weight_grad_norm", 0, 8, "ffn.down")

    star, hybrid = ratio("hybrid-norm-star", 0.01), ratio("hybrid-norm", 0.01)
    unit = ratio("hybrid-norm-star", 1.0)
    return Fact(
        star > 5 > hybrid,
        f"squared gradient of ffn.down at block 0 over block 8: star {star:.1f}, HybridNorm {hybrid:.2f} for "
        f"q_0 = 0.01; star {unit:.2f} for q_0 = 1",
        outside=unit > 5,
    )
