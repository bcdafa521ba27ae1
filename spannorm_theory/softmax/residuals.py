r"""Products of two softmax residuals P - e_label over a vocabulary, of capped or plain logits (T8.4, T8.8).

Logits z of one token are independent N(0, s^2) over n types, those of two tokens have the correlation rho
at the same type; a soft cap C makes them c(z) = C tanh(z / C), whose slope is t = 1 - tanh^2(z / C). The
gradient at z is (P - e_label) t with P the softmax of c(z). With y = t e^c as in :mod:`.rows`, and the labels
independent of the logits, a product over two tokens needs

    sum_j E P_j P'_j t_j t'_j,    sum_j E P_j t_j t'_j,    E t t'

at one token with itself (rho = 1) and at two. Without a cap these are P2 or P11, 1 and 1. By a tied head
the logit of a token's own type has a mean (:mod:`.own_logit`): one key of a row, or one of each row of two,
has another factor in the integrals.
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


def residuals(
    s2: float, rho: float, types: int, cap: float | None = None, mean: float = 0.0, collision: float = 0.0
) -> tuple[Residuals, Residuals]:
    """Of one token with itself, and of two tokens whose logits have the correlation ``rho``.

    Args:
        mean: of the logit of a token's own type, around which it varies as all others do.
        collision: probability that two ids, or labels, are of one type.

    Raises:
        AssumptionError: as :func:`.overlaps.overlaps`, without a cap and a mean.
    """
    if cap is None and not mean:
        plain = overlaps(s2, rho, types)
        return Residuals(plain.p2, 1.0, 1.0), Residuals(plain.p11, 1.0, 1.0)
    more = types, cap, mean, collision
    return _of_one(sqrt(s2), *more), _of_two(sqrt(s2), rho, *more)


@lru_cache(maxsize=4096)
def _of_one(s: float, n: int, cap: float | None, mean: float, collision: float) -> Residuals:
    z, density = gaussian_sum(s, cap_step(LOG_STEP, cap))
    log_t = _grid(s, n, cap, mean)

    def key(logits: Array) -> tuple[Array, Array, Array, float]:
        """E e^{-y}, E y t^2 e^{-y}, E (y t)^2 e^{-y} and E t^2."""
        y, squared = _keys(log_t, capped(logits, cap)), density * _slope(logits, cap) ** 2
        part = np.exp(-y)
        return part @ density, (part * y) @ squared, (part * y**2) @ squared, float(squared.sum())

    (none, one, two, slope), (own_none, own_one, own_two, own_slope) = key(z), key(z + mean)
    rest = LOG_STEP * none ** (n - 2)
    both = ((n - 1) * two * own_none + own_two * none) @ rest
    single = (collision * own_one * none + (1 - collision) * one * own_none) @ rest  # of a label's type
    return Residuals(float(both), n * float(single), collision * own_slope + (1 - collision) * slope)


@lru_cache(maxsize=4096)
def _of_two(s: float, rho: float, n: int, cap: float | None, mean: float, collision: float) -> Residuals:
    own, shared = s * sqrt(1 - abs(rho)), s * sqrt(abs(rho))
    (a, density), (common, weight) = (gaussian_sum(x, cap_step(LOG_STEP, cap)) for x in (own, shared))
    log_t = _grid(s, n, cap, mean)

    def key(shift: float) -> tuple[Array, Array, Array]:
        """E e^{-y} and E y t e^{-y}, (log t, shared part) each, and E t, given the shared part of a logit."""
        none, one = np.empty((2, len(log_t), len(common)))
        alone = np.empty(len(common))
        for i, part in enumerate(common):  # one by one: all of them are large
            y, slope = _keys(log_t, capped(part + a + shift, cap)), density * _slope(part + a + shift, cap)
            left = np.exp(-y)
            none[:, i], one[:, i], alone[i] = left @ density, (left * y) @ slope, slope.sum()
        return none, one, alone

    plain = key(0.0)
    tilted = key(mean) if mean else plain

    def pair(first: tuple[Array, Array, Array], second: tuple[Array, Array, Array]) -> tuple[Array, ...]:
        """Means over the shared part: of no, and of both weights of a key; of the first with a slope."""
        (none, one, _), others = first, second
        if rho < 0:  # opposite shared parts
            others = tuple(x[..., ::-1] for x in others)  # type: ignore[assignment]
        return (none * weight) @ others[0].T, (one * weight) @ others[1].T, (one * weight) @ others[2]

    (none, both, single), (first_none, first_both, first_single) = pair(plain, plain), pair(tilted, plain)
    (second_none, second_both, second_single), same = pair(plain, tilted), pair(tilted, tilted)
    # rows whose own types are two, and one
    apart = LOG_STEP**2 * none ** (n - 2)
    others = (n - 2) * LOG_STEP**2 * none ** max(n - 3, 0) * both
    unlike = np.vdot(others, first_none * second_none) + np.vdot(
        apart, first_both * second_none + second_both * first_none
    )
    alike = np.vdot(apart, (n - 1) * both * same[0] + same[1] * none)
    # a softmax at the type of the other token's label
    lone, own_lone = plain[0] @ weight, tilted[0] @ weight
    rest = LOG_STEP * lone ** (n - 2)
    other = (single * own_lone) @ rest
    of_unlike = collision * ((first_single * lone + second_single * own_lone) @ rest)
    of_unlike += (1 - 2 * collision) * other
    of_alike = collision * ((same[2] * lone) @ rest) + (1 - collision) * other
    mixed = (1 - collision) * np.array([unlike, of_unlike]) + collision * np.array([alike, of_alike])
    slopes = plain[2], plain[2][::-1] if rho < 0 else plain[2]
    return Residuals(float(mixed[0]), n * float(mixed[1]), float(weight @ (slopes[0] * slopes[1])))


def _grid(s: float, n: int, cap: float | None, mean: float) -> Array:
    """log t as :func:`.rows.log_grid` has it, and lower by the mean of the one logit that has one."""
    low, *_, high = log_grid(s, n, LOG_STEP, cap)
    return np.arange(low - max(mean, 0.0), high + LOG_STEP / 2, LOG_STEP)


def _slope(logits: Array, cap: float | None) -> Array:
    """t, of logits in front of the cap."""
    return np.ones_like(logits) if cap is None else 1 - np.tanh(logits / cap) ** 2


def _keys(log_t: Array, logits: Array) -> Array:
    """t e^c, of which e^{-y} is zero long before it overflows."""
    return np.asarray(np.exp(np.minimum(np.add.outer(log_t, logits), 50)))
