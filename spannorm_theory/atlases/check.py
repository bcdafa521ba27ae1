r"""Hold a law against the iterated step.

ln f(L) less the law's shape must settle to the law's constant. It is taken at three depths, each
``RATIO`` times the one before. Corrections fall as a power of L, so the two differences of what is left
are below ``TOLERANCE``, or the later is at most ``SHRINK`` of the earlier: a power that is off leaves equal
differences, a missing factor ln L leaves 0.86. A law with a power of ln L converges only in ln ln L; there
f to one over that power must be linear in ln L, with the slope that the constant gives.

Of a law with rivals the largest at the gains of the check is held, which outgrows the others by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import exp, isfinite, isnan, log

from .trend import FLAT, Trend

#: depths at which a law is held against the step, and the ratio between them: deeper ones decide more
RATIO = 4
DEPTHS = (640, 2560, 10240)

#: depths at which values are given, and among which a law is said to set in; deeper ones cost time
LADDER = (12, 24, 48, 100, 200, 400, 1000, 2500)

#: those of them that pages and tables show
VALUES = (12, 48, 200, 1000)

#: largest difference of logarithms between two depths that counts as settled: absolute, and as a share of the
#: law's own growth
TOLERANCE, SHARE = 2e-3, 1e-6

#: corrections that fall as L^-1/4 or faster shrink by this factor or more from depth to depth
SHRINK = 0.75

#: difference of logarithms up to which a law holds at a depth: 10 %
CLOSE = log(1.1)

#: relative tolerances of slopes against ln L, and of the constant
SLOPE, CONSTANT = 0.02, 0.02


def holds_from(trend: Trend, at: Mapping[int, float]) -> int | None:
    """The least depth of ``at``, ln f by rising depth, from which on f is within 10 % of the law's shape at
    all of them; its constant, which tokens decide in the first blocks, is fitted at the deepest. None where
    it holds at no other."""
    depths = list(at)
    rest = [at[depth] - trend.log_at(depth) for depth in depths]
    held = [abs(own - rest[-1]) <= CLOSE for own in rest]
    first = len(held) - next((i for i, holds in enumerate(reversed(held)) if not holds), len(held))
    return depths[first] if first < len(depths) - 1 else None


def mismatch(trend: Trend, depths: Sequence[int], logs: Sequence[float]) -> str:
    """Why a law does not fit ln f at three depths; an empty string where it does."""
    rest = [value - trend.log_shape(depth) for value, depth in zip(logs, depths, strict=True)]
    if abs(trend.log_power) >= FLAT:
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
