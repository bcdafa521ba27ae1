"""The numbers of a cell in words.

Thresholds, all on the law's numbers at aligned tokens (see :mod:`.branch_gains`):

    exponential          the rate of ln f per block changes it by ``LEAST`` or more within the check's depths
    power                |exponent| of L of at least ``EXPONENT``; within 0.02 of 1: "linearly"
    flat                 neither; ln L factors of at least the same exponent are named
    nearly the identity  cosine of a stream's input and output of at least ``IDENTITY``, at the deepest stack
    input lost           that cosine is below ``LOST``
    idle last blocks     a last block changes its stream by less than ``IDLE`` of its second moment
    tokens end aligned   token cosine of the output of at least ``ALIGNED``

A law that sets in beyond the depths of the check counts as flat, and is said to; so is what is only fitted.
"""

from __future__ import annotations

from math import exp, isfinite

from .check import DEPTHS
from .records import Cell, Found
from .trend import Trend

EXPONENT = 0.02
LEAST = 0.1
IDENTITY, LOST = 0.95, 0.05
IDLE = 1e-3
ALIGNED = 0.9

#: a flat gradient whose ratio lies within this factor of one is "flat", else "bounded"
FLAT_RATIO = 2.0


def verdict(cell: Cell) -> str:
    """One sentence, its parts separated by semicolons."""
    if not cell.found:
        return cell.problem
    parts = [_forward(cell.found["forward"]), _gradient(cell.found["gradient"])]
    parts += [_collapse(cell.found["collapse"]), *_shares(cell)]
    if any(found.late for found in cell.found.values()):
        parts.append(f"the laws set in beyond depth {DEPTHS[-1]}")
    return "; ".join(part for part in parts if part)


def regime(found: Found) -> str:
    """ "exponential", "power", "log" or "flat"; empty where nothing is known."""
    trend = found.trend
    if trend is None:
        return ""
    if found.late:
        return "flat"
    if trend.factorial or abs(trend.rate) * DEPTHS[-1] ** trend.root >= LEAST:
        return "exponential"
    if abs(trend.power) >= EXPONENT:
        return "power"
    return "log" if abs(trend.log_power) >= EXPONENT else "flat"


def _size(trend: Trend) -> str:
    """The exponential or power without its constant."""
    parts = []
    if trend.factorial:
        parts.append(f"e^({trend.factorial:.3g} L ln L)")
    if trend.rate:
        root = "" if trend.root == 1 else f"^{trend.root:.2g}"
        parts.append(f"e^({trend.rate:.3g} L{root})")
    elif trend.power:
        parts.append(f"L^{trend.power:.2f}")
    if trend.log_power and not trend.rate:
        parts.append(f"(ln L)^{trend.log_power:.2f}" if trend.log_power != 1 else "ln L")
    return " ".join(parts)


def _up(trend: Trend) -> bool:
    return next(
        (x > 0 for x in trend.order if x),
        True,
    )


def _forward(found: Found) -> str:
    kind, trend = regime(found), found.trend
    if not kind or trend is None:
        return ""
    if kind == "flat":
        settled = found.law is not None and not found.late
        return "forward bounded " + ("at every depth" if settled else f"up to L = {DEPTHS[-1]}")
    word = "grows" if _up(trend) else "falls"
    if kind == "power" and not trend.log_power and abs(trend.power - 1) < EXPONENT:
        return "forward grows linearly"
    how = "exponentially, " if kind == "exponential" else "as "
    return f"forward {word} {how}{_size(trend)}"


def _gradient(found: Found) -> str:
    kind, trend = regime(found), found.trend
    if not kind or trend is None:
        return ""
    if kind == "flat":
        ratio = float("nan") if found.late else trend.constant
        if isfinite(ratio) and not 1 / FLAT_RATIO < ratio < FLAT_RATIO:
            return f"gradient at the input bounded ({ratio:.2g} times the output's)"
        return "gradients flat"
    if kind == "exponential":
        return f"gradient {'explodes' if _up(trend) else 'vanishes'} towards the input, {_size(trend)}"
    return f"gradient at the input {'grows' if _up(trend) else 'falls'} as {_size(trend)}"


def _collapse(found: Found) -> str:
    kind, trend = regime(found), found.trend
    if not kind or trend is None:
        return ""
    if kind == "flat":
        return "token alignment bounded"
    if _up(trend):
        return f"aligned tokens drift apart as {_size(trend)}"
    how = "geometrically, " if kind == "exponential" else "as "
    return f"tokens align {how}{_size(trend)}"


def _shares(cell: Cell) -> list[str]:
    if not cell.shares:
        return []
    depth, share = max(cell.shares.items())
    parts = []
    if share.cosine >= IDENTITY:
        parts.append(f"nearly the identity at initialisation: cosine of input and output {share.cosine:.2g}")
    elif share.cosine < LOST:
        parts.append(f"the input is {_trace(share.cosine)} of the output at L = {depth}")
    if share.update < IDLE and share.cosine < IDENTITY:
        parts.append(f"last block changes its stream by {share.update:.1g}")
    if share.token_cosine >= ALIGNED:
        parts.append(f"output tokens of cosine {share.token_cosine:.2f}")
    return parts


def _trace(cosine: float) -> str:
    return "no part" if cosine < exp(-10) else f"a trace (cosine {cosine:.2g})"
