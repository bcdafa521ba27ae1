r"""Hold a law against the iterated step.

ln f(L) less the law's shape must settle to the law's constant. It is taken at three depths, each
``RATIO`` times the one before. Corrections fall as a power of L, so the two differences of what is left
are below ``TOLERANCE``, or the later is at most ``SHRINK`` of the earlier: a power that is off leaves equal
differences, a missing factor ln L leaves 0.86. A law with a power of ln L converges only in ln ln L; there
f to one over that power must be linear in ln L, with the slope that the constant gives.

Stretched exponentials may have corrections ln L / sqrt(L), two of which can nearly cancel in a difference:
one that has not settled is taken again at ``DEEPER`` depths, and a law in ln L alone at ln L = ``DEEPER``.

A law with rivals is of the order of the largest of several terms, and what is left of it falls only as the
next one over the largest. With F_1 and F_2 the two largest, f/F_2 must be linear in F_1/F_2, and rise: its
slopes between the three depths agree within ``SLOPE``, which a power that is off by e changes by 4^e. Where
F_2/F_1 is below ``TOLERANCE`` at the second depth, F_1 is held alone.

Where these terms differ by powers of ln L, they hardly separate at any depth that can be iterated. Blocks
then act in bundles (:mod:`.bundled`), and the law is held to the same measures with ln L in the place of L.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import exp, isfinite, isnan, log, nan

from .trend import Trend

RATIO = 4
DEPTHS = (640, 2560, 10240)
DEEPER = (10240, 40960, 163840)

#: ln of the depths where a law of powers of ln L is checked, with powers of L in it and without
LOG_DEPTHS = (640 << 4, 2560 << 4, 10240 << 4)
FAR = (640 << 12, 2560 << 12, 10240 << 12)

#: of a difference of logarithms between two depths, absolute, and as a share of the law's own growth
TOLERANCE, SHARE = 2e-3, 1e-6

#: corrections that fall as L^-1/4 or faster shrink by this factor or more from depth to depth
SHRINK = 0.75

#: of slopes against ln L, and of the constant, relative
SLOPE, CONSTANT = 0.02, 0.02


def mismatch(trend: Trend, depths: Sequence[int], logs: Sequence[float]) -> str:
    """Why a law does not fit ln f at three depths; an empty string where it does."""
    first = [_size(term, depths[1]) for term in (trend, *trend.rivals)]
    alone = not trend.rivals or first[1] - first[0] < log(TOLERANCE)
    return _one_term(trend, depths, logs) if alone else _two_terms(trend, depths, logs)


def deep_mismatch(trend: Trend, logarithms: Sequence[int], logs: Sequence[float]) -> str:
    """The same of a law of powers of L and ln L, with ln f at ln L."""
    return _one_term(replace(trend.in_log, rivals=(), constant=nan), logarithms, logs)


def deep(trend: Trend) -> tuple[int, ...]:
    """The ln L at which a law of several powers of L and ln L is checked, if its blocks act in bundles, as
    one of exponentials and powers of ln L; empty for any other law."""
    terms = (trend, *trend.rivals)
    if not trend.rivals or any(one.factorial or one.rate for one in terms):
        return ()
    return LOG_DEPTHS if any(one.power for one in terms) else FAR


def _one_term(trend: Trend, depths: Sequence[int], logs: Sequence[float]) -> str:
    rest = [value - trend.log_shape(depth) for value, depth in zip(logs, depths, strict=True)]
    if trend.log_power:
        return _logarithmic(trend, depths, rest)
    one, two = rest[1] - rest[0], rest[2] - rest[1]
    grown = abs(trend.log_shape(depths[2]) - trend.log_shape(depths[1]))
    settled = abs(two) <= TOLERANCE + SHARE * grown
    if not settled and not abs(two) <= SHRINK * abs(one):
        return (
            f"from L = {depths[1]} to {depths[2]} ln f grows by {logs[2] - logs[1]:.6g}, "
            f"the law by {logs[2] - logs[1] - two:.6g}"
        )
    if isnan(trend.constant):
        return ""
    if not isfinite(trend.constant):
        return f"the law's constant is {trend.constant}"
    shrink = two / one if one and abs(two) < abs(one) else 0.0
    limit = rest[2] + two * shrink / (1 - shrink)
    allowed = CONSTANT + abs(limit - rest[2]) + SHARE * abs(trend.log_shape(depths[2]))
    if abs(limit - log(trend.constant)) > allowed:
        return f"the constant comes out as {exp(limit):.4g}, the law's is {trend.constant:.4g}"
    return ""


def _logarithmic(trend: Trend, depths: Sequence[int], rest: Sequence[float]) -> str:
    roots = [exp(value / trend.log_power) for value in rest]
    step = log(depths[1] / depths[0])
    one, two = ((b - a) / step for a, b in pairwise(roots))
    if not two or abs(one / two - 1) > SLOPE:
        return f"f^(1/{trend.log_power:.3g}) is not linear in ln L: slopes {one:.4g} and {two:.4g}"
    slope = trend.constant ** (1 / trend.log_power)
    if isfinite(slope) and abs(two / slope - 1) > SLOPE:
        return f"its slope against ln L comes out as {two:.4g}, the law's is {slope:.4g}"
    return ""


def _two_terms(trend: Trend, depths: Sequence[int], logs: Sequence[float]) -> str:
    large, small = ([_size(term, depth) for depth in depths] for term in (trend, trend.rivals[0]))
    scale = max(y - s for y, s in zip(logs, small, strict=True))
    top = max(x - s for x, s in zip(large, small, strict=True))
    over = [exp(y - s - scale) for y, s in zip(logs, small, strict=True)]
    ratio = [exp(x - s - top) for x, s in zip(large, small, strict=True)]
    one, two = ((b - a) / (v - u) for (a, b), (u, v) in zip(pairwise(over), pairwise(ratio), strict=True))
    if min(one, two) > 0 and abs(one / two - 1) <= SLOPE:
        return ""
    return f"over its second term, f is not linear in the first: slopes {one:.4g} and {two:.4g}"


def _size(trend: Trend, depth: float) -> float:
    """ln of a term without its constant."""
    return trend.log_shape(depth) + trend.log_power * log(log(depth))
