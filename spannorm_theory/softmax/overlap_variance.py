r"""V_A: variance over pairs of tokens of the overlaps of attention rows in one head (T9.3).

With C = P A A^T P, P the projection off the token mean, V_A = [(n - 1) tr C^2 / (tr C)^2 - 1] / n. Over many
heads and keys it is 1/n and what the cosine of two queries over d_h coordinates adds; but weights are
log-normal, and at the n of interest their tails carry more than these leading orders. It is therefore
sampled, from heads of independent Gaussian queries and keys with a fixed seed, on a grid of the row variance
s^2, and interpolated in its logarithm. The standard error of a node is 1 to 6 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from ..base.tables import made_once
from ..gaussian.closed_forms import Array

#: row variances of the grid, and entries of weights drawn at each: the standard error falls as their root
GRID = np.logspace(-2, 2, 9)
ENTRIES = 1 << 17

#: tokens, and coordinates of a head, that are drawn at most: beyond, V_A falls as 1/n, and cosines vanish
LARGEST = 512


@made_once(maxsize=64)
def _curve(tokens: int, head_width: int) -> PchipInterpolator:
    random = np.random.default_rng((tokens, head_width))
    heads = max(4, min(64, ENTRIES // tokens**2))
    noise = random.standard_normal((2, heads, tokens, head_width))
    logits = noise[0] @ noise[1].swapaxes(-1, -2) / np.sqrt(head_width)
    return PchipInterpolator(np.log(GRID), [_spread(np.sqrt(s2) * logits) for s2 in GRID])


def _spread(logits: Array) -> float:
    a = np.exp(logits - logits.max(axis=-1, keepdims=True))
    a /= a.sum(axis=-1, keepdims=True)
    a -= a.mean(axis=-2, keepdims=True)
    c = a @ a.swapaxes(-1, -2)
    n = c.shape[-1]
    squares, traces = np.square(c).sum(axis=(-1, -2)), np.trace(c, axis1=-2, axis2=-1)
    return float(((n - 1) * squares.mean() / traces.mean() ** 2 - 1) / n)


def overlap_spread(s2: Any, tokens: int, head_width: int) -> Array:
    """V_A of one head whose rows of logits have variance ``s2``."""
    curve = _curve(min(tokens, LARGEST), min(head_width, LARGEST))
    return np.asarray(curve(np.log(np.clip(s2, GRID[0], GRID[-1]))) * min(1.0, LARGEST / tokens))
