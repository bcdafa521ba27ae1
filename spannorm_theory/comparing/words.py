"""The numbers of a candidate in one sentence.

A curve is flat where it stays within the factor ``FLAT``. What a sentence says of a gradient are squared
norms over that at the embedding, read upwards from the first block.
"""

from __future__ import annotations

from math import exp, floor, isfinite, isinf, isnan, log, log10

import numpy as np

from ..gaussian.closed_forms import Array
from ..spec.architecture import Architecture
from .measures import FIRST, MARKS, Measures, kinds, spread

#: largest ratio between layers of what is called flat
FLAT = 2.0

#: share of a change, in logarithms, by the block that is named where it comes early
MOST = 2 / 3

#: growth of the stream in block 1 from which the embedding is called small
SMALL = 10.0

#: logarithm of the ratio from which on a power of ten says it
POWERS = log(1e4)

#: share of the blocks that a flat part must have to be worth saying
LONG = 0.5


def sentence(found: Measures) -> str:
    """One sentence, its parts separated by semicolons."""
    name = found.candidate.name
    if not found.theory:
        return f"{name}: not predicted: {found.problem}."
    parts = [
        gradient(found.gradient),
        embedding(found),
        attention(found.candidate.arch),
        tokens(found.cosine),
        _top(found),
        found.problem,
    ]
    return f"{name}: {'; '.join(part for part in parts if part)}."


def attention(arch: Architecture) -> str:
    """That no block has attention; empty where one has."""
    return "" if "attention" in kinds(arch) else "no attention"


def gradient(logs: Array) -> str:
    """How the squared gradient norm changes from the embedding upwards; empty where nothing is known."""
    if np.isnan(logs).all():
        return ""
    if np.isneginf(logs[-1]):  # of a stream that the model's output does not read
        logs = logs[: np.flatnonzero(~np.isneginf(logs))[-1] + 1] if not np.isneginf(logs).all() else logs
    if not np.isfinite(logs).all():
        return "no gradient reaches some block"
    depth = len(logs) - 1
    change = logs - logs[0]
    if np.ptp(logs) <= log(FLAT):
        return f"squared gradient flat, within a factor of {exp(np.ptp(logs)):.3g}"
    settled = _settled(logs)
    if settled <= LONG * depth:
        level = float(np.median(change[settled:]))
        return f"squared gradient {_moved(level)} by block {settled}, then is flat"
    kept = depth - _settled(logs[::-1])
    if kept >= LONG * depth:
        return f"squared gradient flat up to block {kept}, then {_moved(change[-1])} at the top"
    peak = int(np.argmax(np.abs(change)))
    if abs(change[peak]) > abs(change[-1]) + log(FLAT):
        return (
            f"squared gradient {_moved(change[peak])} by block {peak} and is {times(change[-1])} at the top"
        )
    if 0.4 <= change[depth // 2] / change[-1] <= 0.6:
        per = exp(change[-1] / depth)
        return f"squared gradient {_moved(change[-1])} at the top, by a factor of {per:.3g} a block"
    most = int(np.argmax(np.abs(change) >= MOST * abs(change[-1])))
    return f"squared gradient {_moved(change[most])} by block {most} and {times(change[-1])} at the top"


def embedding(found: Measures) -> str:
    """What a small embedding does to both gradients; empty where block 1 makes the stream less than ``SMALL``
    times larger."""
    gradient, grown = found.gradient, found.variance[1] - found.variance[0]
    if not grown > log(SMALL) or not np.isfinite(gradient[:2]).all():
        return ""
    share = found.numbers[FIRST]
    has = f" and has {_percent(share)} the squared global gradient norm" if isfinite(share) else ""
    falls, rest = times(gradient[0] - gradient[1]), factor(spread(gradient[1:]))
    return (
        f"the embedding (std {exp(found.variance[0] / 2):.2g}) is small: block 1 makes the stream "
        f"{times(grown)} larger, its squared gradient {falls} smaller{has}, and from there on gradients "
        f"differ by a factor of {rest} (input_variance=1 takes the embedding's size out)"
    )


def tokens(cosine: Array) -> str:
    """Where tokens become alike."""
    known = np.flatnonzero(np.isfinite(cosine))
    if not len(known):
        return ""
    top, last = _at(known[-1], cosine), float(cosine[known[-1]])
    above = [next((i for i, c in enumerate(cosine) if c > mark), None) for mark in MARKS]
    if above[1] is not None:
        return f"tokens are one vector from block {above[1]} (cosine above {MARKS[1]})"
    if above[0] is not None:
        return f"token cosine passes {MARKS[0]} at block {above[0]} and is {last:.2f} {top}"
    return f"tokens stay apart (cosine {last:.2g} {top})"


def _at(layer: int, profile: Array) -> str:
    """A layer in words."""
    return "at the top" if layer == len(profile) - 1 else f"at block {layer}"


def _top(found: Measures) -> str:
    """Variance, and what the last block adds, at the last layer that the theory has reached."""
    last = int(np.flatnonzero(~np.isnan(found.variance))[-1])
    size, share = number(found.variance[last]), found.numbers["branch_share"]
    top = f"variance {size} {_at(last, found.variance)}"
    return f"{top}, the last block's squared update {_percent(share)} it" if isfinite(share) else top


def _settled(logs: Array) -> int:
    """The first layer from which on a curve is flat."""
    high = np.maximum.accumulate(logs[::-1])[::-1]
    low = np.minimum.accumulate(logs[::-1])[::-1]
    return int(np.argmax(high - low <= log(FLAT)))


def _moved(change: float) -> str:
    return f"falls to {times(change)}" if change < 0 else f"grows to {times(change)}"


def times(change: float) -> str:
    """A ratio from its logarithm: "1/40", "30 times", or a power of ten."""
    if change >= 0:
        return f"{factor(change)} times"
    return f"1/{factor(-change)}" if change >= -POWERS else f"10^{change / log(10):.0f}"


def factor(change: float) -> str:
    """A ratio of at least 1 from its logarithm: "30", or a power of ten."""
    return _short(exp(change)) if change <= POWERS else f"10^{change / log(10):.0f}"


def number(log_value: float) -> str:
    """A positive number from its logarithm, to three digits."""
    if isnan(log_value):
        return "unknown"
    if isinf(log_value):
        return "inf" if log_value > 0 else "0"
    tens = log_value / log(10)
    if not -5 < tens < 6:
        return _scientific(tens)
    return _short(exp(log_value), 3)


def _scientific(tens: float) -> str:
    """A number from its logarithm to base ten, such as 1.2e7."""
    mantissa, power = round(10 ** (tens % 1), 1), floor(tens)
    return f"1.0e{power + 1}" if mantissa == 10 else f"{mantissa:.1f}e{power}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} % of" if share < 0.995 else f"{share:.2g} times"


def _short(x: float, digits: int = 2) -> str:
    if x == 0:
        return "0"
    places = digits - 1 - int(np.floor(log10(x)))
    rounded = round(x, places)
    return f"{rounded:,.0f}" if places <= 0 else f"{rounded:.{places}f}".rstrip("0").rstrip(".")
