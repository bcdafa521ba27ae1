r"""Products of two softmax residuals P - e_label over a vocabulary, of capped or plain logits (T8.4, T8.8).

Logits z of one token are independent N(0, s^2) over n types, those of two tokens have the correlation rho
at the same type; a soft cap C makes them c(z) = C tanh(z / C), whose slope is t = 1 - tanh^2(z / C). The
gradient at z is (P - e_label) t with P the softmax of c(z). With y = t e^c as in :mod:`.rows`, and the labels
independent of the logits, a product over two tokens needs

    sum_j E P_j P'_j t_j t'_j,    sum_j E P_j t_j t'_j,    E t t'

at one token with itself (rho = 1) and at two. Without a cap these are P2 or P11, 1 and 1.
"""

from __future__ import annotations

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np

from ..gaussian.closed_forms import Array
from .overlaps import overlaps
from .rows import LOG_STEP, cap_step, capped, gaussian_sum, log_grid


class Residuals(NamedTuple):
    """Of one token's residual with another's: what both softmaxes, one of them, and no one of them adds."""

    both: float
    one: float
    none: float


def residuals(s2: float, rho: float, types: int, cap: float | None = None) -> tuple[Residuals, Residuals]:
    """Of one token with itself, and of two tokens whose logits have the correlation ``rho``.

    Raises:
        AssumptionError: as :func:`.overlaps.overlaps`, without a cap.
    """
    if cap is None:
        plain = overlaps(s2, rho, types)
        return Residuals(plain.p2, 1.0, 1.0), Residuals(plain.p11, 1.0, 1.0)
    return _of_one(sqrt(s2), types, cap), _of_two(sqrt(s2), rho, types, cap)


@lru_cache(maxsize=4096)
def _of_one(s: float, n: int, cap: float) -> Residuals:
    z, density = gaussian_sum(s, cap_step(LOG_STEP, cap))
    c = capped(z, cap)
    y, squared = _keys(log_grid(s, n, LOG_STEP, cap), c), density * (1 - np.square(c / cap)) ** 2
    part = np.exp(-y)
    others = LOG_STEP * n * (part @ density) ** (n - 1)
    both, one = (float(others @ ((part * y**power) @ squared)) for power in (2, 1))
    return Residuals(both, one, float(squared.sum()))


@lru_cache(maxsize=4096)
def _of_two(s: float, rho: float, n: int, cap: float) -> Residuals:
    own, shared = s * sqrt(1 - abs(rho)), s * sqrt(abs(rho))
    (a, density), (common, weight) = (gaussian_sum(x, cap_step(LOG_STEP, cap)) for x in (own, shared))
    log_t = log_grid(s, n, LOG_STEP, cap)
    none, one = np.empty((2, len(log_t), len(common)))
    alone = np.empty(len(common))
    for i, part in enumerate(common):  # one by one: all of them are large
        z = capped(part + a, cap)
        y, slope = _keys(log_t, z), density * (1 - np.square(z / cap))
        left = np.exp(-y)
        none[:, i], one[:, i], alone[i] = left @ density, (left * y) @ slope, slope.sum()
    other_none, other_one = (x[:, ::-1] if rho < 0 else x for x in (none, one))  # opposite shared parts
    others = LOG_STEP**2 * ((none * weight) @ other_none.T) ** (n - 1)
    both = n * float(np.vdot((one * weight) @ other_one.T, others))
    single = n * LOG_STEP * float(((one * weight) @ alone) @ (none @ weight) ** (n - 1))
    return Residuals(both, single, float(weight @ alone**2))


def _keys(log_t: Array, logits: Array) -> Array:
    """t e^c, of which e^{-y} is zero long before it overflows."""
    return np.asarray(np.exp(np.minimum(np.add.outer(log_t, logits), 50)))
