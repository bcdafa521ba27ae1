"""What audits take from the profiles of a stack, predicted or measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...base.quantities import Key
from ...gaussian.closed_forms import Array

Statistic = Callable[[Mapping[Key, Array]], float]


def norm_ratio(stream: str, quantity: str, first: int = 0, last: int = -1) -> Statistic:
    """Gradient norm at layer ``first`` over that at layer ``last``."""
    key = (stream, quantity)
    return lambda profiles: float(np.exp((profiles[key][first] - profiles[key][last]) / 2))


def last_variance(profiles: Mapping[Key, Array]) -> float:
    """q after the last block."""
    return float(np.exp(profiles["0", "variance"][-1]))


def variance_ratio(layer: int, over: int) -> Statistic:
    """q at ``layer`` over q at layer ``over``."""
    return lambda profiles: float(np.exp(profiles["0", "variance"][layer] - profiles["0", "variance"][over]))


def growth(profiles: Mapping[Key, Array]) -> float:
    """What the blocks add to q, over the input's."""
    log_q = profiles["0", "variance"]
    return float(np.expm1(log_q[-1] - log_q[0]))


def last_cosine(profiles: Mapping[Key, Array]) -> float:
    """Cosine of the stream before and after the last block."""
    return float(profiles["0", "layer_cosine"][-1])


def output_share(profiles: Mapping[Key, Array]) -> float:
    """Gradient norm of the last block's attn.output over that of its ffn.down: it is proportional to the
    size of the values."""
    attention, ffn = (profiles[name, "weight_grad_norm"][-1] for name in ("attn.output", "ffn.down"))
    return float(np.exp((attention - ffn) / 2))
