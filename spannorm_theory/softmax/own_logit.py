r"""A vocabulary one of whose logits has a mean, as that of a token's own type under a tied head (T8.9).

The others are as in :mod:`.rows`, n in all; the integrals there have one factor with the mean m beside n - 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .rows import LOG_STEP, cap_step, capped, capped_moment, gaussian_sum, log_grid


class OwnLogit(NamedTuple):
    """Means with one logit around m.

    Attributes:
        partition: E ln sum_j e^{a_j} of all.
        weight: the softmax' weight of that one.
        value: its mean, behind a soft cap.
        second_moment: of all logits.
    """

    partition: float
    weight: float
    value: float
    second_moment: float


@lru_cache(maxsize=4096)
def own_logit(s: float, n: int, mean: float, cap: float | None = None) -> OwnLogit:
    """Means over ``n`` independent logits of N(0, s^2), one of which has the ``mean``; under a soft cap where
    one is given."""
    z, density = gaussian_sum(s, cap_step(LOG_STEP, cap))
    others, own = capped(z, cap), capped(z + mean, cap)
    low, *_, high = log_grid(s, n, LOG_STEP, cap)
    u = np.arange(low - max(mean, 0.0), max(high, 4.0), LOG_STEP)  # exp(-e^4) is zero
    y, at = (np.exp(np.minimum(np.add.outer(u, a), 50)) for a in (others, own))
    rest, part = (np.exp(-y) @ density) ** (n - 1), np.exp(-at)
    value = float(density @ own)
    return OwnLogit(
        LOG_STEP * float(np.sum(np.exp(-np.exp(u)) - rest * (part @ density))),
        LOG_STEP * float(rest @ ((part * at) @ density)),
        value,
        ((n - 1) * capped_moment(s, cap) + float(density @ np.square(own))) / n,
    )
