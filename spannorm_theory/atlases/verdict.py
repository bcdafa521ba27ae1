"""The numbers of a cell in words.

Thresholds, all on the law's numbers at aligned tokens (see :mod:`.branch_gains`):

    flat                 the law changes by less than the factor ``CHANGE`` from 12 to 1,000 blocks, whatever
                         its kind; else exponential, power or logarithm, the first of its factors that do
    linearly             a power within 0.02 of L
    nearly the identity  cosine of a stream's input and output of at least ``IDENTITY``, at the deepest stack
    input lost           that cosine is below ``LOST``
    idle last blocks     a last block changes its stream by less than ``IDLE`` of its second moment
    tokens end aligned   token cosine of the output of at least ``ALIGNED``

A law that sets in beyond the depths of the check counts as flat, and is said to; so is what is only fitted.
"""

from __future__ import annotations

from math import exp, log

from .check import DEPTHS, VALUES
from .records import Cell, Found
from .trend import Trend

CHANGE = 1.25
EXPONENT = 0.02
IDENTITY, LOST = 0.95, 0.05
IDLE = 1e-3
ALIGNED = 0.9

#: depths at which a law's values are told in words
TOLD = VALUES[:3]


def verdict(cell: Cell) -> str:
    """One sentence, its parts separated by semicolons."""
    if not cell.found:
        return cell.problem
    parts = [_forward(cell.found["forward"]), _gradient(cell.found["gradient"])]
    parts += [_collapse(cell.found["collapse"]), *_shares(cell)]
    if any(found.late for found in cell.found.values()):
        parts.append(f"the laws set in beyond depth {DEPTHS[-1]}")
    return "; ".join(part for part in parts if part) or "no law has a name in words"


def regime(found: Found) -> str:
    """ "exponential", "power", "log" or "flat"; empty where nothing is known."""
    trend = found.trend
    if trend is None:
        return ""
    if found.late:
        return "flat"
    first, last = VALUES[0], VALUES[-1]
    changes = {
        "exponential": trend.log_shape(last) - trend.log_shape(first) - trend.power * log(last / first),
        "power": trend.power * log(last / first),
        "log": trend.log_power * log(log(last) / log(first)),
    }
    return next((kind for kind, change in changes.items() if abs(change) >= log(CHANGE)), "flat")


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
        return f"forward grows linearly{_told(found)}"
    how = "exponentially, " if kind == "exponential" else "as "
    return f"forward {word} {how}{_size(trend)}{_told(found)}"


def _gradient(found: Found) -> str:
    kind, trend = regime(found), found.trend
    if not kind or trend is None:
        return ""
    if kind == "flat":
        return f"gradient at the input flat in the long run{_told(found)}"
    if kind == "exponential":
        word = "explodes" if _up(trend) else "vanishes"
        return f"gradient {word} towards the input in the long run, {_size(trend)}{_told(found)}"
    return f"gradient at the input {'grows' if _up(trend) else 'falls'} as {_size(trend)}{_told(found)}"


def _told(found: Found) -> str:
    """The quantity at three depths, in brackets."""
    values = [f"{_number(found.at[depth])} at {depth}" for depth in TOLD if depth in found.at]
    return f" ({', '.join(values)} blocks)" if values else ""


def _number(logarithm: float) -> str:
    """A positive number to two digits, or as a power of ten."""
    if not -7 < logarithm < 9:
        return f"10^{logarithm / log(10):.0f}"
    return f"{float(f'{exp(logarithm):.2g}'):g}"


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
