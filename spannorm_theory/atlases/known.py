"""The laws of a stack: derived and checked once for all that differ by factors of the gains alone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import isfinite, log
from typing import Protocol

import numpy as np
from sympy import Expr
from sympy.polys.polyerrors import BasePolynomialError

from ..asymptotics import laws
from ..asymptotics.coupled_streams import differences_law
from ..asymptotics.growth import Growth
from ..base.errors import AssumptionError, NoClosedForm
from ..derivation.iteration import Ends, Iteration
from ..derivation.recurrence import Recurrence
from ..moments.constant_gains import GAINS, Gains
from ..moments.equivalence import Factors
from .check import DEPTHS, LADDER, holds_from, mismatch
from .records import FAILED, LATER, OK, QUANTITIES, UNCHECKED, Found
from .trend import Trend, evaluate, fit

#: gains of the check: all different, so that no two of them can be swapped unnoticed
CHECK_GAINS: Gains = (0.3, 0.7, 0.4, 1.1)

#: an input so small that branches of any published size outweigh it early
SMALL_INPUT = 1e-14


def known(
    recurrence: Recurrence, aligned: Gains, independent: Gains
) -> tuple[dict[str, Found], int, tuple[str, ...]]:
    """Laws and fits of each quantity, the stream that grows most, and what could not be computed.

    Args:
        aligned, independent: gains at which laws are evaluated; what has no law is fitted at the former.
    """
    iteration = Iteration(recurrence)
    key, factors = iteration.key(DEPTHS[-1])
    formulas = _Formulas(key, recurrence, iteration, factors)
    found, stream, problems = _known(formulas, factors, aligned, independent)
    return dict(found), stream, problems  # a cell's own values go into it


@dataclass(frozen=True)
class _Formulas:
    """A recurrence, equal to every other one whose blocks are the same up to factors of the gains."""

    key: Hashable
    recurrence: Recurrence = field(compare=False)
    iteration: Iteration = field(compare=False)
    factors: Factors = field(compare=False)


@lru_cache(maxsize=1024)
def _known(
    formulas: _Formulas, factors: Factors, aligned: Gains, independent: Gains
) -> tuple[dict[str, Found], int, tuple[str, ...]]:
    runs, checks = _Runs(formulas.iteration, aligned), _Runs(formulas.iteration, CHECK_GAINS)
    several = len(formulas.recurrence.block.trace.streams) > 1
    stream = runs.largest("forward") if several else 0
    kept = runs.largest("identity") if several else 0
    shared = _laws(formulas)
    found: dict[str, Found] = {}
    late = False
    for name in QUANTITIES:
        if name == "ratio" and several:
            continue
        place = kept if name == "identity" else stream
        law = shared.law(name, place, factors)
        if isinstance(law, str) and any(str(gain) in law for gain in GAINS):  # a formula with its own factors
            law = _Laws(formulas).law(name, place, formulas.factors)
        if isinstance(law, str):
            logs = runs.logs(name, place, DEPTHS)
            found[name] = Found(None, law, fit(DEPTHS, logs) if logs else None)
            continue
        if name == "forward":
            late = _late(evaluate(law, CHECK_GAINS))
        # gains of another size may set in at another depth; else all have one check
        status = _check(law, name, place, checks, late) if late else shared.check(name, place)
        if status[0] == LATER and shared.check(name, place)[0] == OK:
            status = (OK, True, "")  # the law of the same stack, at gains of a size at which it has set in
        if status[0] == FAILED and name == "gradient" and not several and _logarithmic(found):
            status = (OK, late, "")  # ratio over forward, whose corrections in 1/ln L no longer cancel
        _ = law.shape, law.prefactor  # worked out here, not where the table is made
        found[name] = Found(law, "", evaluate(law, aligned), evaluate(law, independent), *status)
    found["identity"] = placed(found["identity"], "identity", kept, runs)
    return found, stream, tuple(filter(None, (shared.checks.problem, checks.problem, runs.problem)))


@lru_cache(maxsize=512)
def _laws(formulas: _Formulas) -> _Laws:
    return _Laws(formulas)


class Logs(Protocol):
    """Stacks whose quantities are known at any depth."""

    def logs(self, name: str, stream: int, depths: Sequence[int]) -> list[float]:
        """ln of a quantity of a stream at ``depths``; empty where a stack leaves float64's range."""


def placed(found: Found, name: str, stream: int, runs: Logs) -> Found:
    """With the values of a quantity at the depths of the ladder, up to the first that is declined, and the
    depth at which its law sets in."""
    at: dict[int, float] = {}
    for depth in LADDER:
        value = runs.logs(name, stream, (depth,))
        if not value or not isfinite(value[0]):
            break
        at[depth] = value[0]
    since = None if found.trend is None else holds_from(found.trend, at)
    return replace(found, at=at, since=since)


class _Runs:
    """A stack iterated at given gains."""

    def __init__(self, iteration: Iteration, gains: Gains) -> None:
        self.problem, self.gains = "", gains
        self._iteration = iteration
        self._ends: dict[tuple[int, float], Ends | None] = {}

    def _at(self, depth: int, q0: float) -> Ends | None:
        """A stack of one depth, of an input moment ``q0``; None where it leaves float64's range."""
        if (depth, q0) not in self._ends:
            try:
                self._ends[depth, q0] = self._iteration.run(depth, self.gains, q0).ends()
            except AssumptionError as error:
                self._ends[depth, q0] = None
                self.problem = f"not iterated to depth {depth}: {error}"
        return self._ends[depth, q0]

    def largest(self, name: str) -> int:
        """The first of the streams that end with most of a quantity."""
        ends = self._at(DEPTHS[-1], 1.0)
        return int(np.argmax(np.round(getattr(ends, name), 6))) if ends else 0

    def logs(self, name: str, stream: int, depths: Sequence[int] = DEPTHS, q0: float = 1.0) -> list[float]:
        """ln of a quantity of a stream at ``depths``; empty where a stack leaves float64's range."""
        found = [ends for depth in reversed(depths) if (ends := self._at(depth, q0)) is not None][::-1]
        if len(found) < len(depths):
            return []
        if name in ("gradient", "ratio"):
            return [getattr(ends, name) for ends in found]
        start = log(q0) if name == "forward" else 0.0
        return [getattr(ends, name)[stream] + start for ends in found]


class _Laws:
    """The laws of one recurrence, and their checks.

    Attributes:
        checks: its iterations.
    """

    def __init__(self, formulas: _Formulas) -> None:
        # as large together with the factors as without: one check, whichever stack comes first
        factors = map(float, formulas.factors * 2)
        sizes = tuple(gain / factor for gain, factor in zip(CHECK_GAINS, factors, strict=True))
        self.checks = _Runs(formulas.iteration, (sizes[0], sizes[1], sizes[2], sizes[3]))
        self._recurrence, self._factors = formulas.recurrence, formulas.factors
        self._laws: dict[tuple[str, int], Growth | str] = {}
        self._checked: dict[tuple[str, int], tuple[str, bool, str]] = {}

    def law(self, name: str, stream: int, factors: Factors) -> Growth | str:
        """A law for the same stack with other factors of its gains, or the reason why there is none."""
        key = name, stream
        if key not in self._laws:
            try:
                self._laws[key] = self._derived(name, stream)
            except (NoClosedForm, BasePolynomialError) as reason:
                self._laws[key] = str(reason)
        law = self._laws[key]
        if isinstance(law, str):
            return law
        values: dict[Expr, Expr] = {}
        for gain, own, wanted in zip(GAINS, self._factors * 2, factors * 2, strict=True):
            if wanted != own:
                values[gain] = wanted / own * gain
        return law.subs(values) if values else law

    def _derived(self, name: str, stream: int) -> Growth:
        recurrence = self._recurrence
        if name == "forward":
            return laws.moment_law(recurrence, (stream, stream))
        if name == "identity":
            return laws.identity_law(recurrence, stream)
        several = len(recurrence.block.trace.streams) > 1
        if name == "collapse":
            return differences_law(recurrence, stream) if several else laws.collapse_law(recurrence)
        return laws.embedding_law(recurrence) if name == "gradient" else laws.ratio_law(recurrence)

    def check(self, name: str, stream: int) -> tuple[str, bool, str]:
        """:func:`_check` of a law that sets in within the check's depths."""
        key = name, stream
        if key not in self._checked:
            law = self._laws[key]
            assert isinstance(law, Growth)
            self._checked[key] = _check(law, name, stream, self.checks, late=False)
        return self._checked[key]


def _logarithmic(found: Mapping[str, Found]) -> bool:
    """Whether both laws of which the gradient's is the ratio agree, and have powers of ln L."""
    parts = found["ratio"], found["forward"]
    return all(part.status == OK and part.trend is not None and part.trend.log_power for part in parts)


def _late(forward: Trend) -> bool:
    """Whether what a stream grows by has not outweighed its input at the depths of the check."""
    if not isfinite(forward.constant):
        return False
    grows = forward.power > 0 or forward.log_power > 0
    size = forward.log_shape(DEPTHS[-1]) + forward.log_power * log(log(DEPTHS[-1]))
    return grows and size + log(forward.constant) < 0


def _check(law: Growth, name: str, stream: int, checks: _Runs, late: bool) -> tuple[str, bool, str]:
    """Status, whether the law sets in beyond the check's depths, and what disagrees."""
    logs = checks.logs(name, stream)
    if not logs:
        return UNCHECKED, False, ""
    detail = mismatch(evaluate(law, checks.gains), DEPTHS, logs)
    if not detail:
        return OK, False, ""
    if not late:
        return FAILED, False, detail
    # a small input is outweighed sooner
    logs = checks.logs(name, stream, DEPTHS, SMALL_INPUT)
    again = mismatch(evaluate(law, checks.gains, SMALL_INPUT), DEPTHS, logs) if logs else detail
    return (LATER if again else OK), True, again
