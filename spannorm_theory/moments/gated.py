"""Attention on token Grams of any kind, with its output gate where there is one (T6.18)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..gaussian.closed_forms import Array
from ..gaussian.sigmoids import LOGISTIC
from .tokens import Attended, Gains, TokenGrams


def attend(tokens: TokenGrams, attention: Any, gram: Array, gains: Gains, layer: int) -> Attended:
    """A branch of attention on a Gram of its inputs."""
    found = tokens.attend(attention, gram, gains, layer)
    return found._replace(output=found.output * _gate(tokens, gram, gains)[0])


def attend_back(
    tokens: TokenGrams,
    attention: Any,
    gram: Array,
    output: Array,
    grad: Array,
    gains: Gains,
    layer: int,
    v: float,
) -> tuple[Array, dict[str, float]]:
    """Gradient Gram at the input of attention, and squared gradients of its matrices."""
    if "attn.gate" not in gains:
        return tokens.attend_back(attention, gram, output, grad, gains, layer, v)
    last, heads = gains["attn.output"], {**gains, "attn.output": 1.0}
    mixed = tokens.attend(attention, gram, heads, layer).output
    kept, slope = _gate(tokens, gram, gains)
    stream, norms = tokens.attend_back(attention, gram, mixed, grad * kept, heads, layer, v)
    at_gate = mixed * grad * slope
    norms["attn.gate"] = tokens.arch.width**2 * tokens.total(gram * at_gate)
    norms = {name: norm if name == "attn.output" else last * norm for name, norm in norms.items()}
    return last * (stream + gains["attn.gate"] * at_gate), norms


def _gate(tokens: TokenGrams, gram: Array, gains: Gains) -> tuple[Any, Any]:
    """The kernel of the gate and its slope, for each entry of a Gram; 1 and 0 without one."""
    if "attn.gate" not in gains:
        return 1.0, 0.0
    pairs = [gains["attn.gate"] * np.asarray(x) for x in tokens.of_pairs(gram)]
    return LOGISTIC.value(*pairs), LOGISTIC.slope(*pairs)
