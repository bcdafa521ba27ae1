"""Compute one cell of the atlas: the laws of a placement under a scaling rule, and their check."""

from __future__ import annotations

import signal
import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import FrameType

import numpy as np
from sympy.polys.polyerrors import BasePolynomialError

from ..architecture import Architecture
from ..errors import AssumptionError, NoClosedForm, SpannormError
from ..theory import laws
from ..theory.bounds import bounds, sized
from ..theory.collapse import collapse_law
from ..theory.growth import Growth
from ..theory.predict import LEAST_OPEN, predict_pair
from ..theory.recursion import Recursion, derive
from .check import DEPTHS, mismatch
from .components import ends
from .iterated import Ends, Iteration
from .numbers import Trend, evaluate, fit
from .numeric import Gains
from .records import FAILED, LATER, OK, QUANTITIES, UNCHECKED, Cell, Found, Share

#: gains of the check: all different, so that no two of them can be swapped unnoticed
CHECK_GAINS: Gains = (0.3, 0.7, 0.4, 1.1)

#: an input so small that branches of any published size outweigh it early
SMALL_INPUT = 1e-14


class _TooLong(BaseException):
    """The time limit of a cell has passed; no Exception, which sympy might catch and go on."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Interrupt what takes more CPU time; without effect outside the main thread, where no signal arrives."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not usable:
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def compute(arch: Architecture, depths: Sequence[int], seconds: float) -> Cell:
    """Derive, check and predict one cell; what takes longer than ``seconds`` is reported, not awaited."""
    try:
        with limited(seconds):
            return _compute(arch, depths)
    except _TooLong:
        return Cell(arch, {}, problem=f"not computed: it took more than {seconds:g} s of CPU time")
    except (SpannormError, ArithmeticError) as error:
        return Cell(arch, {}, problem=f"not computed: {error}")


def _compute(arch: Architecture, depths: Sequence[int]) -> Cell:
    found, stream, problems = _known(_Formulas.of(derive(arch.placement, arch.scaling)), *ends(arch))
    shares, declined, closed = _shares(arch, depths, stream)
    limits = _limits(arch.with_(depth=depths[0]), stream)
    problem = "; ".join(dict.fromkeys([*problems, *declined]))
    return Cell(arch, found, stream, shares, limits, problem, tuple(_caveats(arch, found, limits, closed)))


@dataclass(frozen=True)
class _Formulas:
    """A recursion, equal to every other one whose blocks have the same formulas, and so the same laws."""

    key: Hashable
    recursion: Recursion = field(compare=False)
    iteration: Iteration = field(compare=False)

    @classmethod
    def of(cls, recursion: Recursion) -> _Formulas:
        iteration = Iteration(recursion)
        return cls(iteration.key(DEPTHS[-1]), recursion, iteration)


@lru_cache(maxsize=1024)
def _known(
    shared: _Formulas, aligned: Gains, independent: Gains
) -> tuple[dict[str, Found], int, tuple[str, ...]]:
    """What is known of each quantity, the stream that it is of, and what could not be computed."""
    known = _Laws(shared.recursion, shared.iteration, aligned, independent)
    return known.all(), known.stream, tuple(known.problems)


class _Laws:
    """The laws of one recursion, each held against the iterated step."""

    def __init__(
        self, recursion: Recursion, iteration: Iteration, aligned: Gains, independent: Gains
    ) -> None:
        self.recursion, self.iteration = recursion, iteration
        self.gains = {"check": CHECK_GAINS, "aligned": aligned, "independent": independent}
        self.problems: list[str] = []
        self._runs: dict[tuple[str, float], list[Ends]] = {}
        self.stream = self._first_largest([run.forward for run in self.runs("aligned")])
        self.kept = self._first_largest([run.identity for run in self.runs("aligned")])

    def runs(self, gains: str, q0: float = 1.0) -> list[Ends]:
        """The iterated stacks of the check's depths; empty where they leave float64's range."""
        key = gains, q0
        if key not in self._runs:
            try:
                self._runs[key] = [self.iteration.ends(depth, self.gains[gains], q0) for depth in DEPTHS]
            except AssumptionError as error:
                self._runs[key] = []
                self.problems.append(f"not iterated to depth {DEPTHS[-1]}: {error}")
        return self._runs[key]

    @staticmethod
    def _first_largest(rows: Sequence[tuple[float, ...]]) -> int:
        return int(np.argmax(np.round(rows[-1], 6))) if rows else 0

    def _logs(self, name: str, gains: str, q0: float = 1.0) -> list[float]:
        """ln of a quantity at the depths of the check."""
        runs = self.runs(gains, q0)
        if name == "gradient":
            return [run.gradient for run in runs]
        if name == "identity":
            return [run.identity[self.kept] for run in runs]
        if name == "collapse":
            return [run.collapse[self.stream] for run in runs]
        return [run.forward[self.stream] + float(np.log(q0)) for run in runs]

    def _derived(self, name: str) -> Growth:
        recursion = self.recursion
        if name == "forward":
            return laws.moment_law(recursion, (self.stream, self.stream))
        if name == "collapse":
            return collapse_law(recursion)
        if name == "identity":
            return laws.identity_law(recursion, self.kept)
        if len(recursion.block.trace.streams) > 1:
            raise NoClosedForm("the gradients of several streams mix in every block: a product of matrices")
        return laws.gradient_law(recursion)

    def all(self) -> dict[str, Found]:
        """What is known of each quantity."""
        found: dict[str, Found] = {}
        onset = False
        for name in QUANTITIES:
            try:
                law = self._derived(name)
            except (NoClosedForm, BasePolynomialError) as reason:
                logs = self._logs(name, "aligned")
                found[name] = Found(None, str(reason), fit(DEPTHS, logs) if logs else None)
                continue
            trends = {gains: evaluate(law, values) for gains, values in self.gains.items()}
            if name == "forward" and np.isfinite(trends["check"].constant):
                trend = trends["check"]
                size = trend.log_shape(DEPTHS[-1]) + trend.log_power * np.log(np.log(DEPTHS[-1]))
                grows = trend.power > 0 or trend.log_power > 0
                onset = bool(grows and size + np.log(trend.constant) < 0)
            status, late, detail = self._check(law, name, trends["check"], onset)
            found[name] = Found(law, "", trends["aligned"], trends["independent"], status, late, detail)
        return found

    def _check(self, law: Growth, name: str, trend: Trend, onset: bool) -> tuple[str, bool, str]:
        """Status, whether the law sets in beyond the check's depths, and what disagrees."""
        logs = self._logs(name, "check")
        if not logs:
            return UNCHECKED, False, ""
        detail = mismatch(trend, DEPTHS, logs)
        if not detail:
            return OK, False, ""
        if not onset:
            return FAILED, False, detail
        logs = self._logs(name, "check", SMALL_INPUT)
        again = mismatch(evaluate(law, CHECK_GAINS, SMALL_INPUT), DEPTHS, logs) if logs else detail
        return (LATER, True, again) if again else (OK, True, "")


def _own_logits(arch: Architecture) -> bool:
    """Whether attention's logits have another variance than the initialisation gives to a normed input."""
    for branch in arch.block(arch.depth - 1).branches:
        scaled = {"attn.query", "attn.key"} & set(branch.gains)
        if branch.kind == "attention" and scaled and "query" not in arch.normed(branch):
            return True
    return not sized(arch)


def _shares(
    arch: Architecture, depths: Sequence[int], stream: int
) -> tuple[dict[int, Share], list[str], list[int]]:
    """Shares by depth, why some are left out, and depths at which some attention is nearly a maximum."""
    found: dict[int, Share] = {}
    closed: list[int] = []
    if _own_logits(arch):
        reason = "attention logits differ from block to block, and each needs a quadrature of its own"
        return found, [f"shares left out: {reason}"], closed
    for depth in depths:
        deep = arch.with_(depth=depth)
        if found and len(deep.runs) > depths[0]:
            return found, [f"shares at L = {depth} left out: the wiring changes from block to block"], closed
        try:
            prediction = predict_pair(deep)
        except SpannormError as error:
            return found, [f"no shares at L = {depth}: {error}"], closed
        key, profiles = str(stream), prediction.profiles
        cosines = profiles[key, "layer_cosine"]
        found[depth] = Share(
            float(profiles[key, "branch_share"][-1]),
            float(np.prod(cosines)),
            float(profiles[key, "token_cosine"][-1]),
        )
        if prediction.undecided.min() < LEAST_OPEN * arch.heads * arch.tokens:
            closed.append(depth)
    return found, [], closed


def _caveats(
    arch: Architecture, found: Mapping[str, Found], limits: Mapping[str, object], closed: Sequence[int]
) -> Iterator[str]:
    """Where a stated limit of the theory applies: what the engine refused, or said of its own answer."""
    iterated = [name for name in found if found[name].law is None]
    if iterated:
        yield f"no law of {', '.join(iterated)}: iterated"
    if any(branch.elementwise for branch in arch.block(arch.depth - 1).branches):
        yield "an element-wise function in a norm's place: no argument from degree one"
    elif not sized(arch):
        yield "a branch reads an unnormed stream: its gains follow the stream's size, laws hold them constant"
    if closed:
        yield (
            f"attention is nearly a maximum at L = {', '.join(map(str, closed))}: rare near ties carry the "
            "mean gradient"
        )
    if not limits:
        yield "no bound that holds for every token correlation"


def _limits(arch: Architecture, stream: int) -> dict[str, tuple[float, float]]:
    single = arch.definition.streams == 1
    try:
        found = bounds(arch, gradients=single)
    except (SpannormError, NoClosedForm):
        return {}
    result = {}
    wanted = [("forward", "variance", -1), ("gradient", "grad_variance", 0)]
    # of several streams, the atlas speaks of the gradient at the embedding, which is their sum
    for name, quantity, layer in wanted if single else wanted[:1]:
        if (str(stream), quantity) in found:
            low, high = found[str(stream), quantity]
            result[name] = float(low[layer]), float(high[layer])
    return result
